"""One job: the folder of one configuration is locked, then skipped, run or marked as failed. All launchers call it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fanin.errors import UserError, file_line
from fanin.record.run_folder import FolderBusy, RunFolder
from fanin.record.summary import update_summary
from fanin.run.identity import identify
from fanin.run.request import Request
from fanin.sweep.run_view import Display
from fanin.sweep.signals import stop_on_signal

log = logging.getLogger(__name__)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

Outcome = dict[str, Any]
"""{"run", "folder", "state": done | diverged | paused | failed | interrupted | skipped | busy, "error": a line}."""

outcomes: list[Outcome] = []
"""The outcomes of the jobs of this process, in order."""


def run_job(cfg: DictConfig, *, bar: bool = True, abandoned: Callable[[], bool] = lambda: False) -> Outcome:
    """Run one composed configuration in the folder that Hydra has made for it: the task of Hydra's own launchers.

    Args:
        cfg: without its hydra node.
        bar: whether a progress bar may be shown.
        abandoned: whether nobody waits for the run any more, which then stops.

    Raises:
        KeyboardInterrupt: the user asked to stop; the run is checkpointed and marked as interrupted.
    """
    hydra_cfg = HydraConfig.get()
    identity = identify(cfg, hydra_cfg)  # type: ignore[arg-type]  # HydraConf is its schema, a DictConfig its value
    folder = RunFolder(Path(hydra_cfg.runtime.output_dir))
    with stop_on_signal() as stop, Display(folder.path, enabled=bar and bool(cfg.trainer.progress)) as display:
        (outcome,) = execute_together([Request(cfg, identity, folder, display)], lambda: stop() or abandoned())
    outcomes.append(outcome)
    if outcome["state"] == "interrupted":
        stop.pass_on()
        raise KeyboardInterrupt
    return outcome


def execute_together(requests: Sequence[Request], stop_requested: Callable[[], bool]) -> list[Outcome]:
    """Run the requests that are not finished and that no other process runs, several of them as one program.

    Whatever goes wrong is written into the run's own log and status and returned as its state: one run never takes
    the others of its grid with it. Where several together fail, each is tried alone.

    Args:
        requests: what to run; several must be of one structure.
        stop_requested: asked before each step.
    """
    outcomes: dict[str, Outcome] = {}
    with ExitStack() as owned:
        ours = []
        for one in requests:
            outcome = outcomes[one.name] = {"run": one.name, "folder": str(one.folder.path), "error": None}
            try:
                if refusal := one.folder.refusal(one.identity.config_hash, force=one.force):
                    outcome |= {"state": "failed", "error": refusal}
                    one.viewer.line(refusal, "red")
                    continue
                owned.enter_context(one.folder.owned())
            except FolderBusy:
                one.viewer.line("is being run by another process", "yellow")
                outcome["state"] = "busy"
                continue
            except OSError as error:  # not ours: what is in it stays as it is
                outcome |= {"state": "failed", "error": file_line(error)}
                one.viewer.line(f"failed: {outcome['error']}", "red")
                continue
            if one.finished:
                edited = "".join(f"; {name} has changed since" for name in one.folder.edited(one.identity.code))
                state = one.folder.status.get("state", "done")
                style = "yellow" if edited else "dim"
                one.viewer.line(f"{state} before, not run again (force=true does){edited}", style)
                outcome["state"] = "skipped"
                continue
            try:
                one.prepare()
            except OSError as error:
                outcome |= {"state": "failed", "error": _mark_failed(error, one)}
                continue
            ours.append(one)
        for name, state in _attempt(ours, stop_requested).items():
            outcomes[name] |= state
        grids: dict[Path, list[Path]] = {}
        for one in ours:
            grids.setdefault(one.folder.path.parent, []).append(one.folder.path)
        for grid, folders in grids.items():
            update_summary(grid, folders)
    return list(outcomes.values())


def _attempt(ours: Sequence[Request], stop_requested: Callable[[], bool]) -> dict[str, Outcome]:
    """Run requests whose folders are owned; those that fail or were checkpointed elsewhere in their course, alone."""
    if not ours:
        return {}
    from fanin.run.resume import checkpoint_of  # torch: not before it is known that there is something to run

    by_step: dict[int, list[Request]] = {}
    for one in ours:
        state = checkpoint_of(one.folder, one.identity) if len(ours) > 1 and not one.force else None
        by_step.setdefault(0 if state is None else int(state["step"]), []).append(one)
    outcomes: dict[str, Outcome] = {}
    for group in by_step.values():
        outcomes |= _attempt_group(group, stop_requested)
    return outcomes


@dataclass
class Told:
    """The viewer of a run that passes on to another; the outcome is stored first; showing never changes it.

    Args:
        request: of the run; its viewer shows the progress.
        outcomes: where what came of the run is put.
    """

    request: Request
    outcomes: dict[str, Outcome]

    def step(self, step: int, steps: int, loss: float, error: float) -> None:
        """Where the run is."""
        self._tell(lambda: self.request.viewer.step(step, steps, loss, error))

    def ended(self, result: dict[str, Any]) -> None:
        """It ended, and its result is written."""
        self.outcomes[self.request.name] = {"state": result["state"]}
        said = f"{result['state']} after {result['steps']} steps: {result['outcome']}"
        note(self.request.folder, said)
        self._tell(lambda: self.request.viewer.ended(result))

    def line(self, text: str, style: str = "") -> None:
        """Anything else."""
        self._tell(lambda: self.request.viewer.line(text, style))

    @staticmethod
    def _tell(tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as error:
            log.warning("what the run says could not be told: %s: %s", type(error).__name__, error)


def _attempt_group(group: Sequence[Request], stop_requested: Callable[[], bool]) -> dict[str, Outcome]:
    from fanin.run.execute import run_together
    from fanin.train.loop import Interrupted

    outcomes: dict[str, Outcome] = {}
    with ExitStack() as logs:
        for one in group:
            logs.enter_context(logging_to(one.folder.path / "run.log"))
            beside = f", as one of {len(group)} runs trained together" if len(group) > 1 else ""
            note(one.folder, f"run {one.name}, configuration {one.identity.config_hash}{beside}")
        try:
            run_together([replace(one, viewer=Told(one, outcomes)) for one in group], stop_requested)
            for one in group:
                outcomes.setdefault(one.name, {"state": "paused"})  # all others have told how they ended
            return outcomes
        except Interrupted:
            said = "interrupted; the same command resumes it"
        except KeyboardInterrupt:
            said = "interrupted; the same command resumes it from its last checkpoint"
        except (Exception, SystemExit) as error:  # a part that calls exit() takes no other run with it
            if len(group) == 1:
                if not outcomes:
                    outcomes[group[0].name] = {"state": "failed", "error": _mark_failed(error, group[0])}
                return outcomes
            log.warning("failed together, each is tried alone: %s", error)
            said = ""
    for one in group:
        if one.name in outcomes:
            continue
        if not said:
            outcomes |= _attempt_group([one], stop_requested)
            continue
        with suppress(OSError):  # a full disk
            if one.folder.status.get("state") != "interrupted":
                one.folder.write_status("interrupted", error="stopped by the user at once")
        one.viewer.line(said, "yellow")
        outcomes[one.name] = {"state": "interrupted"}
    return outcomes


def note(folder: RunFolder, text: str, level: int = logging.INFO) -> None:
    """A line in the log of this run alone, where it can be written."""
    record = logging.LogRecord(__name__, level, "", 0, text, None, None)
    with suppress(OSError), (folder.path / "run.log").open("a", encoding="utf-8") as file:
        file.write(logging.Formatter(LOG_FORMAT).format(record) + "\n")


def _mark_failed(error: BaseException, request: Request) -> str:
    """Put the traceback into the run's own log and the last line into its status; returns that line."""
    folder = request.folder
    said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    said = file_line(error) if isinstance(error, OSError) and error.errno is not None else said
    line = (said.strip() or type(error).__name__).splitlines()[0]
    if folder.resumed:
        line += " (it resumed from its last checkpoint; force=true starts afresh)"
    note(folder, f"failed: {line}\n{traceback.format_exc()}", logging.ERROR)
    try:
        (folder.path / "result.json").unlink(missing_ok=True)
        folder.write_status("failed", error=line)
    except OSError as full:  # a disk so full that not even this fits: the terminal is all that is left
        line += f" ({file_line(full)})" if file_line(full) not in line else ""
    request.viewer.line(f"failed: {line} (see {folder.path / 'run.log'})", "red")
    return line


class _RunLog(logging.FileHandler):
    """A log file that may fail to be written: the status and the terminal have what matters."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Nothing, where logging's own prints a traceback."""


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Everything that is logged while the block runs goes into a file, and to no other handler."""
    handler = _RunLog(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    root = logging.getLogger()
    level, others = root.level, list(root.handlers)

    def as_before(record: logging.LogRecord) -> bool:
        return record.levelno >= level

    for other in others:
        other.addFilter(as_before)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for other in others:
            other.removeFilter(as_before)
        handler.close()
