"""The content of result.json: the numbers of a run, and the configuration and versions that made it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fanin.parts.data import Dataset
from fanin.probes.jacobians import SPECTRUM
from fanin.process import typed_path
from fanin.record.columns import FINAL, names
from fanin.record.outcome import TASKS, outcome
from fanin.run.identity import Identity
from fanin.run.phase_point import phase_point
from fanin.run.recipe import Recipe
from fanin.run.theory_overlay import Expected, Overlay
from fanin.streams import stream_seed
from fanin.train.run_state import Run

AGAIN = ("force", "pause_at")
"""Keys of a configuration that result.json leaves out: what it keeps is typed to run it again, to its end."""


def result_of(
    one: Run,
    config: Mapping[str, Any],
    identity: Identity,
    made: Recipe,
    overlay: Overlay,
    data: Dataset,
    epochs: float,
) -> dict[str, Any]:
    """The content of result.json, key by key as `columns.RESULT` says."""
    purposes = ("init", "data", "dropout", "augment", "probe")
    task, metrics, chance = made.method.loss.task, _final_metrics(one), _chance(made, data)
    word = outcome(
        task,
        metrics,
        steps=one.step,
        diverged=one.diverged is not None,
        first_loss=one.first_loss,
        examples={"train": len(data.train_x), "val": len(data.val_x), "test": len(data.test_x)},
        **chance,
    )
    ends_high = one.diverged is None and one.ends_with_best is None  # else the run ends with its best weights
    return {
        "run": identity.name,
        "experiment": identity.experiment,
        "state": one.state,
        "outcome": word,
        "overfits_from": one.lowest.overfits_from if ends_high and word == TASKS[task].falls else None,
        "task": task,
        **chance,
        "first_loss": one.first_loss,
        "verdict": overlay.analysis.verdict if overlay.analysis else None,
        "stopped_by": one.stopped_by or None,
        "steps": one.step,
        "epochs": epochs,
        "seconds": one.seconds,
        "metrics": metrics,
        "evaluation": None if one.evaluation is None else {"test": one.evaluation},
        "generalization": one.generalization,
        "init": initial(overlay, one.spectrum),
        "curvature": dict(one.curvature.found) or None,
        "diverged": None if one.diverged is None else {"step": one.diverged[0], **one.diverged[1]._asdict()},
        "overrides": identity.overrides,
        "choices": identity.choices,
        "config": {key: value for key, value in config.items() if key not in AGAIN},
        "config_hash": identity.config_hash,
        "classes": data.classes,
        "seeds": {"run": made.seed} | {name: stream_seed(made.seed, name) for name in purposes},
        "versions": versions(),
        "code": identity.code,
        "git": git_state(typed_path(".")),
        "device": str(made.device),
    }


def _chance(made: Recipe, data: Dataset) -> dict[str, float | None]:
    """Loss and error of the best constant answer; None where they are unknown."""
    if made.method.loss.task == "regression":
        return {"chance_loss": float(data.train_y.double().var(correction=0)), "chance_error": None}
    if not made.method.loss.classification:
        return {"chance_loss": None, "chance_error": None}
    share = data.train_y.bincount().max().item() / len(data.train_y)
    return {"chance_loss": made.method.loss.guess(data.classes), "chance_error": 1 - share}


def _final_metrics(one: Run) -> dict[str, float | None]:
    """Losses and errors of the weights that the run ends with, on each part, and the gap between test and training."""
    found = {name: one.final.get(name) for name in names(FINAL)}
    test, training = found["test_error"], found["train_error"]
    return found | {"generalization_gap": None if test is None or training is None else test - training}


def initial(overlay: Overlay, spectrum: Mapping[str, float] = MappingProxyType({})) -> dict[str, Any] | None:
    """What the profile at init says; None without a probe."""
    if overlay.analysis is None:
        return None
    expected = overlay.expected or Expected()
    chain = expected.layout.chain
    law = {
        "law": chain.critical.law if chain and chain.critical else None,
        "no_law": overlay.no_law or None,
        "stopped_at": expected.stopped_at or None,
        "no_redraw": expected.no_redraw or None,
    }
    measured = {name: spectrum.get(name) for name in SPECTRUM}
    return asdict(overlay.analysis) | overlay.ends | law | {"unseen": overlay.unseen, **phase_point(chain)} | measured


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Of what computed the run."""
    packages = ("fanin", "torch", "hydra-core", "omegaconf", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


@lru_cache(maxsize=1)
def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of a folder, and whether it has uncommitted changes; None outside a repository."""
    try:
        commit, dirty = (
            subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=5)
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(dirty.stdout.strip())} if commit.returncode == 0 else None
