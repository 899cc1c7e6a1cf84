"""A grid: checked as a whole before its first run, launched, and ended with a summary, figures and a verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from fanin.errors import UserError, counted, file_line
from fanin.record.run_folder import RunFolder
from fanin.run.identity import NO_EXPERIMENT, experiment_of
from fanin.sweep.followers import jobs_of_followers
from fanin.sweep.hydra_keys import check_folders
from fanin.sweep.job import Outcome, outcomes
from fanin.sweep.other_launchers import check_launcher, launch
from fanin.sweep.plan import Plan, plan_grid, tell

runs_of_the_grid: list[tuple[Path, bool]] = []
"""The folders of the runs of this process's grid, in order, and whether each was finished before."""


class FailedRuns(UserError):
    """Some runs of a grid failed; the others are complete."""


def run_grid(
    master: DictConfig, loader: ConfigLoader, launcher: Launcher, batches: Sequence[Sequence[Sequence[str]]]
) -> list[Any]:
    """Check, launch and report a grid.

    Args:
        master: the configuration of the multirun, with its hydra node.
        loader: composes the jobs.
        launcher: runs them; any of Hydra's.
        batches: the overrides of each job, in the batches to launch.

    Raises:
        InvalidRuns, OptionError: before anything has been written, if any job cannot be run, or not by this launcher.
        FailedRuns: at the end, if any run failed.
    """
    ours = getattr(launcher, "launch_runs", None)  # fanin's own launchers take what has been composed already
    if ours is not None:
        launcher.check_options()  # type: ignore[attr-defined]
        launcher.warm_up()  # type: ignore[attr-defined]
    name = str(master.hydra.runtime.choices.get("hydra/launcher"))
    check_launcher(name, launcher)
    plan = plan_grid(master, loader, [job for batch in batches for job in batch], own_launcher=ours is not None)
    folders, grid = plan.folders, plan.folders[0].parent
    runs_of_the_grid[:] = [(run.folder, run.finished) for run in plan.runs.values()]
    known = f", {plan.finished} of them finished before (force=true runs them again)" if plan.finished else ""
    Console(highlight=False, stderr=True).print(f"{counted(len(folders), 'run')} in {grid}{known}", soft_wrap=True)
    changed = [f"{file} has changed since {count} of those" for file, count in plan.edited.items()]
    tell([*(f"{one}; force=true runs them again" for one in changed), *plan.notes])
    grid.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(master, grid / "multirun.yaml")
    plans, returns = [plan], []
    try:
        returns.append(_launched(name, launcher, plan, batches))
        if more := jobs_of_followers(plan):
            later = plan_grid(master, loader, more, own_launcher=ours is not None)
            known = f", {later.finished} of them finished before" if later.finished else ""
            tell([f"{counted(len(later.folders), 'run')} more, which start from those{known}", *later.notes])
            runs_of_the_grid.extend((run.folder, run.finished) for run in later.runs.values())
            plans.append(later)
            returns.append(_launched(name, launcher, later, [more]))
    finally:
        # A study's folder is the study, however often it was extended; without one, other runs lie beside these.
        report_grid(grid, [grid] if experiment_of(master.hydra) != NO_EXPERIMENT else folders)
    for one, returned in zip(plans, returns, strict=True):
        _tell_what_is_missing(one, returned if ours is not None else outcomes)
    return returns if ours is not None else [job for returned in returns for job in returned]


def _launched(name: str, launcher: Launcher, plan: Plan, batches: Sequence[Sequence[Sequence[str]]]) -> Any:
    """What a launcher returns for what is planned: fanin's own outcomes, another of Hydra's a list of jobs."""
    ours = getattr(launcher, "launch_runs", None)
    return launch(name, launcher, plan, batches) if ours is None else ours(list(plan.runs.values()))


@contextmanager
def ended_with_a_report(master: DictConfig, sweeper: Sweeper) -> Iterator[None]:
    """Run a sweeper; where it is not fanin's own, see to what that one does itself: folders, report, exit code.

    Args:
        master: the configuration of the multirun, with its hydra node.
        sweeper: any of Hydra's.

    Raises:
        OptionError: at the start, for folders that are none.
        FailedRuns: at the end, if any run failed.
    """
    if getattr(sweeper, "checks_and_reports", False):
        yield
        return
    check_folders(master.hydra, grid=True)
    grid, began = Path(master.hydra.sweep.dir), time.time() - 1  # clocks of file systems are coarse
    try:
        yield
    finally:
        here = {Path(outcome["folder"]): outcome["state"] for outcome in outcomes}
        new = {path.parent: "" for path in grid.glob("*/status.json") if path.stat().st_mtime >= began}
        folders = list({folder.absolute(): folder for folder in (*here, *new)}.values())
        runs_of_the_grid[:] = [(folder, here.get(folder) == "skipped") for folder in folders]
        report_grid(grid, [grid] if experiment_of(master.hydra) != NO_EXPERIMENT else folders)
    failed = [folder for folder in folders if "failed" in (here.get(folder), RunFolder(folder).status.get("state"))]
    if failed:
        raise FailedRuns(f"{len(failed)} of {counted(len(folders), 'run')} failed; the first: {failed[0] / 'run.log'}")


def _tell_what_is_missing(plan: Plan, outcomes: Sequence[Outcome]) -> None:
    """Raise FailedRuns where runs are not complete, going by their folders and by what was told of them here.

    Raises:
        FailedRuns: some failed or were interrupted, or all that were not finished are being run elsewhere.
    """
    told = {outcome["run"]: outcome["state"] for outcome in outcomes}
    states = {
        run.folder: told.get(name) or RunFolder(run.folder).status.get("state") for name, run in plan.runs.items()
    }
    failed = [folder for folder, state in states.items() if state == "failed"]
    if failed:
        raise FailedRuns(f"{len(failed)} of {counted(len(states), 'run')} failed; the first: {failed[0] / 'run.log'}")
    if stopped := sum(state == "interrupted" for state in states.values()):
        raise FailedRuns(f"{stopped} of {counted(len(states), 'run')} interrupted; the same command resumes them")
    wanted = [states[run.folder] for run in plan.runs.values() if not run.finished]
    if wanted and all(state in ("busy", "running") for state in wanted):
        many = f"{len(wanted)} of {counted(len(states), 'run')} {'is' if len(wanted) == 1 else 'are'}"
        raise FailedRuns(f"nothing was run: {many} being run by another process")


def report_grid(grid: Path, wanted: Sequence[Path]) -> None:
    """Figures, tables and the page of what has been run so far, and the study's table on the terminal."""
    there = [folder for folder in wanted if folder == grid or (folder / "status.json").exists()]
    if not there or not any(grid.glob("*/status.json")):
        return
    from fanin.landscape.of_study import make_landscapes
    from fanin.report.make import write_report
    from fanin.report.write.terminal import print_study
    from fanin.sweep.prunings_of_study import make_prunings

    try:
        make_prunings(there)
        make_landscapes(there)
        report = write_report(there, grid / "report", redraw=False)
    except OSError as error:
        raise UserError(f"the report could not be written: {file_line(error)}; fanin-report {grid} makes it") from None
    print_study(report, Console(highlight=False))
