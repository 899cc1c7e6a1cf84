"""One job: the folder of one configuration is owned, skipped, run or marked as failed. Every launcher ends here."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fanin.errors import UserError
from fanin.record.run_folder import FolderBusy, RunFolder
from fanin.run.identity import Identity, identify
from fanin.sweep.grid_summary import update_summary
from fanin.sweep.run_view import Display
from fanin.sweep.signals import stop_on_signal

log = logging.getLogger(__name__)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

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


def run_job(cfg: DictConfig, *, bar: bool = True) -> Outcome:
    """Run one composed configuration in the folder that Hydra has made for it: the task of Hydra's own launchers.

    Args:
        cfg: without its hydra node.
        bar: whether a progress bar may be shown.

    Raises:
        KeyboardInterrupt: the user asked to stop; the run is checkpointed and marked as interrupted.
    """
    hydra_cfg = HydraConfig.get()
    identity = identify(cfg, hydra_cfg)  # type: ignore[arg-type]  # HydraConf is its schema, a DictConfig its value
    job = Job(cfg, identity, Path(hydra_cfg.runtime.output_dir))
    with stop_on_signal() as stop, Display(job.folder, enabled=bar and bool(cfg.trainer.progress)) as display:
        outcome = execute(job, display, stop)
    outcomes.append(outcome)
    if outcome["state"] == "interrupted":
        stop.pass_on()
        raise KeyboardInterrupt
    return outcome


def execute(
    job: Job,
    viewer: Viewer,
    stop_requested: Callable[[], bool],
    prepare: Callable[[Job], None] = lambda job: None,
) -> Outcome:
    """Run one job; see `execute_together`."""
    return execute_together([(job, viewer)], stop_requested, prepare)[0]


def execute_together(
    jobs: Sequence[tuple[Job, Viewer]],
    stop_requested: Callable[[], bool],
    prepare: Callable[[Job], None] = lambda job: None,
) -> list[Outcome]:
    """Run jobs, those that are not finished and that nobody else is at, as one program where they are several.

    Whatever goes wrong is written into the run's own log and status and returned as its state: one job never takes
    the others of its grid with it. Where several together fail, each is tried alone.

    Args:
        jobs: what to run, each with whom to tell how it goes; several must be of one structure.
        stop_requested: asked before each step.
        prepare: called with a job once its folder is owned and there is something to run.
    """
    outcomes: dict[str, Outcome] = {}
    with ExitStack() as owned:
        ours = []
        for job, viewer in jobs:
            folder = RunFolder(job.folder)
            outcome = outcomes[job.identity.name] = {"run": job.identity.name, "folder": str(job.folder), "error": None}
            try:
                owned.enter_context(folder.owned())
            except FolderBusy:
                viewer.line("is being run by another process", "yellow")
                outcome["state"] = "busy"
                continue
            if folder.finished(job.identity.config_hash) and not job.cfg.force:
                viewer.line(f"{folder.status['state']} before, not run again (force=true does)", "dim")
                outcome["state"] = "skipped"
                continue
            try:
                prepare(job)
            except OSError as error:
                outcome |= {"state": "failed", "error": _mark_failed(error, folder, viewer)}
                continue
            ours.append((job, folder, viewer))
        for name, state in _attempt(ours, stop_requested).items():
            outcomes[name] |= state
        grids: dict[Path, list[Path]] = {}
        for job, folder, _ in ours:
            grids.setdefault(job.folder.parent, []).append(folder.path)
        for grid, folders in grids.items():
            try:
                update_summary(grid, folders)
            except OSError as error:  # a full disk; what the runs left is whole, and a report makes the table anew
                log.warning("summary.csv was not written: %s", error)
    return list(outcomes.values())


Owned = tuple[Job, RunFolder, Viewer]


def _attempt(ours: Sequence[Owned], stop_requested: Callable[[], bool]) -> dict[str, Outcome]:
    """Run jobs whose folders are owned; those that fail or were checkpointed elsewhere in their course, alone."""
    if not ours:
        return {}
    from fanin.run.execute import checkpoint_of  # torch: not before it is known that there is something to run

    by_step: dict[int, list[Owned]] = {}
    for one in ours:
        state = checkpoint_of(one[1], one[0].identity) if len(ours) > 1 and not one[0].cfg.force else None
        by_step.setdefault(0 if state is None else int(state["step"]), []).append(one)
    outcomes: dict[str, Outcome] = {}
    for group in by_step.values():
        outcomes |= _attempt_group(group, stop_requested)
    return outcomes


def _attempt_group(group: Sequence[Owned], stop_requested: Callable[[], bool]) -> dict[str, Outcome]:
    from fanin.run.execute import Member, run_together
    from fanin.train.loop import Interrupted

    outcomes: dict[str, Outcome] = {}

    def ended(job: Job, folder: RunFolder, viewer: Viewer, result: dict[str, Any]) -> None:
        note(folder, f"{result['state']} after {result['steps']} steps: {result['outcome']}")
        viewer.ended(result)
        outcomes[job.identity.name] = {"state": result["state"]}

    members = []
    with ExitStack() as logs:
        for job, folder, viewer in group:
            logs.enter_context(logging_to(folder.path / "run.log"))
            beside = f", as one of {len(group)} runs trained together" if len(group) > 1 else ""
            note(folder, f"run {job.identity.name}, configuration {job.identity.config_hash}{beside}")
            members.append(Member(job.cfg, job.identity, folder, viewer.step, partial(ended, job, folder, viewer)))
        try:
            run_together(members, stop_requested)
            return outcomes
        except Interrupted:
            said = "interrupted; the same command goes on"
        except KeyboardInterrupt:
            said = "interrupted; the same command goes on from its last checkpoint"
        except (Exception, SystemExit) as error:  # a part that calls exit() takes no other run with it
            if len(group) == 1:
                ((job, folder, viewer),) = group
                return {job.identity.name: {"state": "failed", "error": _mark_failed(error, folder, viewer)}}
            log.warning("failed together, each is tried alone: %s", error)
            said = ""
    for one in group:
        job, folder, viewer = one
        if job.identity.name in outcomes:
            continue
        if not said:
            outcomes |= _attempt_group([one], stop_requested)
            continue
        if folder.status.get("state") != "interrupted":
            folder.write_status("interrupted", error="stopped by the user at once")
        viewer.line(said, "yellow")
        outcomes[job.identity.name] = {"state": "interrupted"}
    return outcomes


def note(folder: RunFolder, text: str) -> None:
    """A line in the log of this run alone."""
    record = logging.LogRecord(__name__, logging.INFO, "", 0, text, None, None)
    with (folder.path / "run.log").open("a") as file:
        file.write(logging.Formatter(LOG_FORMAT).format(record) + "\n")


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
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
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
