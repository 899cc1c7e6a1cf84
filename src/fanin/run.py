"""Runs, from their configurations to their folders."""

from __future__ import annotations

import logging
import math
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from fanin.batches import Batches, probe_batch
from fanin.build import Recipe, load_data, recipe
from fanin.data import Dataset
from fanin.fused import FusedLearner
from fanin.identity import Identity
from fanin.learner import SingleLearner
from fanin.loop import Interrupted, Loop
from fanin.member import Run
from fanin.overlay import Overlay
from fanin.record.folder import RunFolder
from fanin.record.recorder import Recorder
from fanin.streams import generator, stream_seed

log = logging.getLogger(__name__)

NO_PROGRESS = 0.98
"""A final training loss above this share of ln K, the loss of guessing, counts as no progress."""

Shown = Callable[[int, int, float, float], None]  # step, steps, loss, error


@dataclass
class Member:
    """One configuration that is to be trained, maybe together with others.

    Args:
        cfg: the composed configuration.
        identity: its name, its hash and what it varies.
        folder: owned by this process.
        shown: told the progress at each logged row.
        ended: told the content of result.json as soon as it is written.
    """

    cfg: DictConfig
    identity: Identity
    folder: RunFolder
    shown: Shown = lambda *_: None
    ended: Callable[[dict[str, Any]], None] = lambda result: None


def run(
    cfg: DictConfig,
    identity: Identity,
    folder: RunFolder,
    stop_requested: Callable[[], bool] = lambda: False,
    shown: Shown = lambda *_: None,
) -> dict[str, Any]:
    """Train one configuration in its folder; see `run_together`. Returns the content of result.json."""
    results: list[dict[str, Any]] = []
    run_together([Member(cfg, identity, folder, shown, results.append)], stop_requested)
    return results[0]


def run_together(members: Sequence[Member], stop_requested: Callable[[], bool] = lambda: False) -> None:
    """Train configurations together, each in its folder, going on from checkpoints where there are fitting ones.

    Args:
        members: one, or several of one structure (see `structure_key`) whose checkpoints, if any, are of one step.
        stop_requested: asked before each step.

    Raises:
        Interrupted: a stop was requested; the runs are checkpointed and marked.
        UserError: a configuration cannot be run.
    """
    recipes = [recipe(member.cfg) for member in members]
    made = recipes[0]
    if made.trainer.threads is not None:
        torch.set_num_threads(made.trainer.threads)
    states = [None if one.cfg.force else checkpoint_of(one.folder, one.identity) for one in members]
    data = load_data(members[0].cfg, made.device, made.dtype)
    steps = made.trainer.total_steps(len(data.train_x) // made.trainer.batch_size)
    recorders, by_recorder = [], {}
    for member, state in zip(members, states, strict=True):
        recorder = Recorder(member.folder, None if state is None else state["step"])
        member.folder.write_status("running", step=0 if state is None else state["step"], steps=steps)
        if state is None:
            recorder.describe(member.identity.name, member.identity.hparams)
        recorders.append(recorder)
        by_recorder[id(recorder)] = member
    loop, overlays = assemble(
        recipes,
        data,
        recorders,
        [member.identity.config_hash for member in members],
        [member.shown for member in members],
        stop_requested,
    )
    theories = dict(zip(map(id, recorders), zip(recipes, overlays, strict=True), strict=True))
    parameters = loop.learner.parameter_count

    def ended(one: Run) -> None:
        member, (its_recipe, overlay) = by_recorder[id(one.recorder)], theories[id(one.recorder)]
        result = _result(one, member.identity, its_recipe, overlay, data.classes, loop.batches.steps_per_epoch)
        one.recorder.close(one.state)
        member.folder.write_status(one.state, **loop.position(one))
        result["parameters"] = parameters
        member.folder.write_result(result)
        member.ended(result)

    loop.ended = ended
    start = 0
    if states[0] is not None:
        start = loop.resume([state for state in states if state is not None])
    try:
        loop.train(start)
    except Interrupted:
        for one in loop.runs:
            folder = by_recorder[id(one.recorder)].folder
            folder.write_status("interrupted", error="stopped by the user", **loop.position(one))
            one.recorder.close()
        raise


def _result(
    one: Run, identity: Identity, made: Recipe, overlay: Overlay, classes: int, steps_per_epoch: int
) -> dict[str, Any]:
    """The content of result.json."""
    purposes = ("init", "data", "dropout", "probe")
    return {
        "run": identity.name,
        "experiment": identity.experiment,
        "state": one.state,
        "outcome": _outcome(one, classes),
        "verdict": overlay.analysis.verdict if overlay.analysis else None,
        "stopped_by": one.stopped_by or None,
        "steps": one.step,
        "epochs": one.step / steps_per_epoch,
        "seconds": one.seconds,
        "metrics": _final_metrics(one),
        "init": _initial(overlay),
        "diverged": None if one.diverged is None else {"step": one.diverged[0], **one.diverged[1]._asdict()},
        "overrides": identity.overrides,
        "config_hash": identity.config_hash,
        "seeds": {"run": made.seed} | {name: stream_seed(made.seed, name) for name in purposes},
        "versions": versions(),
        "git": git_state(Path.cwd()),
        "device": str(made.device),
    }


def assemble(
    recipes: Sequence[Recipe],
    data: Dataset,
    recorders: Sequence[Recorder],
    hashes: Sequence[str],
    shown: Sequence[Shown],
    stop_requested: Callable[[], bool] = lambda: False,
) -> tuple[Loop, list[Overlay]]:
    """The loop of R runs, ready to train from step 0, and the theory of each."""
    first = recipes[0]
    models = [initialized(made, data) for made in recipes]
    overlays = [made.overlay(model) for made, model in zip(recipes, models, strict=True)]
    seeds = [made.seed for made in recipes]
    batches = Batches(data.train_x, data.train_y, first.trainer.batch_size, seeds)
    steps = first.trainer.total_steps(batches.steps_per_epoch)
    runs = []
    for made, recorder, overlay, config_hash, show in zip(recipes, recorders, overlays, hashes, shown, strict=True):
        made.schedule.fit(steps)
        one = Run(
            recorder=recorder,
            lr=made.lr,
            schedule=made.schedule,
            patience=made.early_stopping.new() if made.early_stopping else None,
            monitor=made.early_stopping.monitor if made.early_stopping else "val_loss",
            annotate=overlay.annotate,
            config_hash=config_hash,
            shown=lambda step, loss, error, show=show: show(step, steps, loss, error),  # type: ignore[misc]
        )
        runs.append(one)
    singles = [single_learner(made, model) for made, model in zip(recipes, models, strict=True)]
    learner = FusedLearner(singles) if len(singles) > 1 else singles[0]
    fixed = probe_batch(data.train_x, data.train_y, first.probe.batch_size, seeds)
    return Loop(learner, batches, data, first.trainer, first.probe, fixed, runs, stop_requested), overlays


def initialized(made: Recipe, data: Dataset) -> nn.Module:
    """The model of a recipe on its device, its weights drawn."""
    model = made.make_model(data.in_features, data.classes).to(device=made.device, dtype=made.dtype)
    made.initializer(model, lambda name: generator(made.seed, "init", name))
    return model


def single_learner(made: Recipe, model: nn.Module) -> SingleLearner:
    """The learner of one run."""
    return SingleLearner(
        model=model,
        optimizer=made.make_optimizer([parameter for parameter in model.parameters() if parameter.requires_grad]),
        penalties=made.penalties,
        dropout=generator(made.seed, "dropout", device=made.device) if made.dropout else None,
        probe_dropout=partial(generator, made.seed, "probe", "dropout", device=made.device) if made.dropout else None,
        autocast=made.autocast,
        stop_when_diverged=made.trainer.stop_when_diverged,
    )


def checkpoint_of(folder: RunFolder, identity: Identity) -> dict[str, Any] | None:
    """The state to go on from; None where there is none that fits."""
    path = folder.checkpoints / "last.pt"
    if not path.exists() or folder.status.get("state") in (None, "done", "diverged"):
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        if state["config_hash"] == identity.config_hash and not state["ended"]:
            log.info("going on from %s at step %d", path, state["step"])
            return state
        reason = "it is the end of a run" if state["ended"] else "it belongs to another configuration"
    except Exception as error:
        reason = f"it cannot be read ({type(error).__name__})"
    log.warning("%s is left aside: %s; starting afresh", path, reason)
    return None


def _outcome(one: Run, classes: int) -> str:
    """The run's outcome in the words of the study."""
    if one.diverged:
        return "diverged"
    if one.step == 0:
        return "init only"
    loss = _final_metrics(one)["train_loss"]
    return "no progress" if loss is None or loss > NO_PROGRESS * math.log(classes) else "learns"


def _final_metrics(one: Run) -> dict[str, float | None]:
    """Training loss and error over the last window of batches, the other parts as evaluated at the end."""
    pairs = list(one.window)
    train = [
        math.fsum(column) / len(pairs) if _finite(column) else column[-1] for column in zip(*pairs, strict=True)
    ] or [None] * 2
    parts = {f"{part}_{what}": one.row.get(f"{part}_{what}") for part in ("val", "test") for what in ("loss", "error")}
    return {"train_loss": train[0], "train_error": train[1]} | parts


def _finite(column: tuple[float, ...]) -> bool:
    return all(math.isfinite(value) for value in column)


def _initial(overlay: Overlay) -> dict[str, Any] | None:
    """What the profile at init says; None without a probe."""
    return None if overlay.analysis is None else asdict(overlay.analysis) | overlay.ends


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
