"""One job: the folder of one configuration is owned, skipped, run or marked as failed. Every launcher ends here."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fanin.errors import UserError
from fanin.identity import Identity, identify
from fanin.record.folder import FolderBusy, RunFolder
from fanin.sweep.display import Display
from fanin.sweep.signals import stop_on_signal
from fanin.sweep.summary import update_summary

log = logging.getLogger(__name__)

Outcome = dict[str, Any]
"""{"run": name, "folder": path, "state": done | diverged | failed | interrupted | skipped | busy, "error": line}."""

outcomes: list[Outcome] = []
"""What the jobs of this process came to, in order."""


@dataclass
class Job:
    """One configuration and where it is to be run."""

    cfg: DictConfig
    identity: Identity
    folder: Path


class Viewer(Protocol):
    """Who is told how a job goes: a progress bar, or the process that waits for it."""

    def step(self, step: int, steps: int, loss: float, error: float) -> None:
        """Where the run is."""

    def ended(self, result: dict[str, Any]) -> None:
        """It ended, with this result."""

    def line(self, text: str, style: str = "") -> None:
        """Anything else there is to say of it."""


def run_job(cfg: DictConfig) -> Outcome:
    """Run one composed configuration in the folder that Hydra has made for it: the task of Hydra's own launchers.

    Raises:
        KeyboardInterrupt: the user asked to stop; the run is checkpointed and marked as interrupted.
    """
    hydra_cfg = HydraConfig.get()
    identity = identify(cfg, hydra_cfg)  # type: ignore[arg-type]  # HydraConf is its schema, a DictConfig its value
    job = Job(cfg, identity, Path(hydra_cfg.runtime.output_dir))
    with stop_on_signal() as stop, Display(job.folder, enabled=bool(cfg.trainer.progress)) as display:
        outcome = execute(job, display, stop)
    outcomes.append(outcome)
    if outcome["state"] == "interrupted":
        raise KeyboardInterrupt
    return outcome


def execute(
    job: Job,
    viewer: Viewer,
    stop_requested: Callable[[], bool],
    prepare: Callable[[Path], None] = lambda folder: None,
) -> Outcome:
    """Run a job if it is not finished and nobody else is at it.

    Whatever goes wrong is written into the run's own log and status and returned as its state: one job never takes
    the others of its grid with it.

    Args:
        job: what to run.
        viewer: told how it goes.
        stop_requested: asked before each step.
        prepare: called with the folder once it is owned and there is something to run.
    """
    folder = RunFolder(job.folder)
    outcome: Outcome = {"run": job.identity.name, "folder": str(folder.path), "error": None}
    try:
        with folder.owned():
            if folder.finished(job.identity.config_hash) and not job.cfg.force:
                viewer.line(f"{folder.status['state']} before, not run again (force=true does)", "dim")
                return outcome | {"state": "skipped"}
            prepare(folder.path)
            with logging_to(folder.path / "run.log"):
                outcome |= _attempt(job, folder, viewer, stop_requested)
            update_summary(folder.path.parent, folder.path)
    except FolderBusy:
        viewer.line("is being run by another process", "yellow")
        return outcome | {"state": "busy"}
    return outcome


def _attempt(job: Job, folder: RunFolder, viewer: Viewer, stop_requested: Callable[[], bool]) -> Outcome:
    from fanin.loop import Interrupted  # torch: not before it is known that there is something to run
    from fanin.run import run

    log.info("run %s, configuration %s", job.identity.name, job.identity.config_hash)
    try:
        result = run(job.cfg, job.identity, folder, stop_requested, viewer.step)
    except Interrupted:
        viewer.line("interrupted; the same command goes on", "yellow")
        return {"state": "interrupted"}
    except KeyboardInterrupt:
        folder.write_status("interrupted", error="stopped by the user at once")
        viewer.line("interrupted; the same command goes on from its last checkpoint", "yellow")
        return {"state": "interrupted"}
    except (Exception, SystemExit) as error:  # a part that calls exit() takes no other run with it
        return {"state": "failed", "error": _mark_failed(error, folder, viewer)}
    log.info("%s after %d steps: %s", result["state"], result["steps"], result["outcome"])
    viewer.ended(result)
    return {"state": result["state"]}


def _mark_failed(error: BaseException, folder: RunFolder, viewer: Viewer) -> str:
    """Put the traceback into the run's own log and the last line into its status; returns that line."""
    said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    line = said.strip().splitlines()[0]
    log.error("failed: %s\n%s", line, traceback.format_exc())
    try:
        (folder.path / "result.json").unlink(missing_ok=True)
        folder.write_status("failed", error=line)
    except OSError as full:  # a disk so full that not even this fits: the terminal is all that is left
        line += f" (and its folder cannot be written: {full})"
    viewer.line(f"failed: {line} (see {folder.path / 'run.log'})", "red")
    return line


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Everything that is logged while the block runs goes into a file."""
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
