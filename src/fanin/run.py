"""One run, from its configuration to its folder."""

from __future__ import annotations

import logging
import math
import platform
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import torch
from omegaconf import DictConfig

from fanin.batches import Batches, probe_batch
from fanin.build import Recipe, load_data, recipe
from fanin.data import Dataset
from fanin.identity import Identity
from fanin.learner import SingleLearner
from fanin.loop import Interrupted, Loop, Run
from fanin.overlay import Overlay
from fanin.record.folder import RunFolder
from fanin.record.recorder import Recorder
from fanin.streams import generator, stream_seed

log = logging.getLogger(__name__)

NO_PROGRESS = 0.98
"""A final training loss above this share of ln K, the loss of guessing, counts as no progress."""

Shown = Callable[[int, int, float, float], None]  # step, steps, loss, error


def run(
    cfg: DictConfig,
    identity: Identity,
    folder: RunFolder,
    stop_requested: Callable[[], bool] = lambda: False,
    shown: Shown = lambda *_: None,
) -> dict[str, Any]:
    """Train one configuration in its folder, going on from a checkpoint where there is a fitting one.

    Args:
        cfg: the composed configuration.
        identity: its name, its hash and what it varies.
        folder: owned by this process.
        stop_requested: asked before each step.
        shown: told the progress at each logged row.

    Returns:
        The content of result.json.

    Raises:
        Interrupted: a stop was requested; the run is checkpointed and marked.
        UserError: the configuration cannot be run.
    """
    made = recipe(cfg)
    if made.trainer.threads is not None:
        torch.set_num_threads(made.trainer.threads)
    state = None if cfg.force else _checkpoint(folder, identity)
    data = load_data(cfg, made.device, made.dtype)
    recorder = Recorder(folder, None if state is None else state["step"])
    steps = made.trainer.total_steps(len(data.train_x) // made.trainer.batch_size)
    folder.write_status("running", step=0 if state is None else state["step"], steps=steps)
    if state is None:
        recorder.describe(identity.name, identity.hparams)
    loop, overlay = assemble(made, data, recorder, identity.config_hash, stop_requested, shown)
    one = loop.runs[0]
    try:
        loop.train(0 if state is None else _resumed(loop, overlay, state))
    except Interrupted:
        folder.write_status("interrupted", error="stopped by the user", **loop.position(one))
        recorder.close()
        raise
    result = {
        "run": identity.name,
        "experiment": identity.experiment,
        "state": one.state,
        "outcome": _outcome(one, data.classes),
        "verdict": overlay.analysis.verdict if overlay.analysis else None,
        "stopped_by": one.stopped_by or None,
        "steps": one.step,
        "epochs": one.step / loop.batches.steps_per_epoch,
        "seconds": loop.seconds,
        "metrics": _final_metrics(one),
        "init": _initial(overlay),
        "diverged": None if one.diverged is None else {"step": one.diverged[0], **one.diverged[1]._asdict()},
        "overrides": identity.overrides,
        "config_hash": identity.config_hash,
        "seeds": {"run": made.seed}
        | {name: stream_seed(made.seed, name) for name in ("init", "data", "dropout", "probe")},
        "versions": versions(),
        "git": git_state(),
        "device": str(made.device),
        "parameters": sum(parameter.numel() for parameter in loop.learner.model.parameters()),  # type: ignore[attr-defined]
    }
    recorder.close(one.state)
    folder.write_status(one.state, **loop.position(one))
    folder.write_result(result)
    return result


def assemble(
    made: Recipe,
    data: Dataset,
    recorder: Recorder,
    config_hash: str = "",
    stop_requested: Callable[[], bool] = lambda: False,
    shown: Shown = lambda *_: None,
) -> tuple[Loop, Overlay]:
    """The loop of one run, ready to train from step 0."""
    seed, device = made.seed, made.device
    model = made.make_model(data.in_features, data.classes).to(device=device, dtype=made.dtype)
    made.initializer(model, lambda name: generator(seed, "init", name))
    overlay = made.overlay(model)
    trainer = made.trainer
    batches = Batches(data.train_x, data.train_y, trainer.batch_size, [seed])
    steps = trainer.total_steps(batches.steps_per_epoch)
    made.schedule.fit(steps)
    learner = SingleLearner(
        model=model,
        optimizer=made.make_optimizer([parameter for parameter in model.parameters() if parameter.requires_grad]),
        penalties=made.penalties,
        dropout=generator(seed, "dropout", device=device) if made.dropout else None,
        probe_dropout=(lambda: generator(seed, "probe", "dropout", device=device)) if made.dropout else None,
        autocast=made.autocast,
        stop_when_diverged=trainer.stop_when_diverged,
    )
    one = Run(
        recorder=recorder,
        lr=made.lr,
        schedule=made.schedule,
        patience=made.early_stopping.new() if made.early_stopping else None,
        monitor=made.early_stopping.monitor if made.early_stopping else "val_loss",
        annotate=overlay.annotate,
        config_hash=config_hash,
        shown=lambda step, loss, error: shown(step, steps, loss, error),
    )
    fixed = probe_batch(data.train_x, data.train_y, made.probe.batch_size, [seed])
    return Loop(learner, batches, data, trainer, made.probe, fixed, [one], stop_requested), overlay


def _checkpoint(folder: RunFolder, identity: Identity) -> dict[str, Any] | None:
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


def _resumed(loop: Loop, overlay: Overlay, state: dict[str, Any]) -> int:
    """Load a state; the profile at init, which a verdict needs, comes from the fresh weights before that."""
    if loop.probe.profile_due(0):
        loop.annotate_init()
    return loop.resume([state])


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
def git_state() -> dict[str, Any] | None:
    """Commit of the current folder, and whether it has uncommitted changes; None outside a repository."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
        dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(dirty.stdout.strip())} if commit.returncode == 0 else None
