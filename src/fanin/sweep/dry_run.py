"""`fanin ... --dry-run`: what a command would run, how it would be grouped and about how long it would take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from fanin.errors import counted
from fanin.process import cores
from fanin.record.run_folder import RunFolder
from fanin.sweep.grid_view import clock
from fanin.sweep.other_launchers import check_launcher
from fanin.sweep.plan import Plan, Planned, plan_grid, plan_run, tell
from fanin.sweep.step_time import StepTime


def rehearse_grid(master: DictConfig, loader: ConfigLoader, launcher: Launcher, jobs: Sequence[Sequence[str]]) -> None:
    """Print what a grid would run; every mistake in it is told as the grid itself would.

    Args:
        master, loader, launcher, jobs: as `run_grid` has them.

    Raises:
        InvalidRuns, OptionError: some jobs cannot be run, or not by this launcher.
    """
    name = str(master.hydra.runtime.choices.get("hydra/launcher"))
    grouped = getattr(launcher, "grouped", None)
    if grouped is not None:
        launcher.check_options()  # type: ignore[attr-defined]
    check_launcher(name, launcher)
    plan = plan_grid(master, loader, jobs, own_launcher=grouped is not None)
    tell(plan.notes)
    waiting = [run for run in plan.runs.values() if not run.finished]
    if grouped is None:
        wanted = getattr(launcher, "n_jobs", 1)
        groups, threads = [[run] for run in waiting], None
        size = wanted if isinstance(wanted, int) and wanted > 0 else cores()
    else:
        groups, size, *_ = grouped(list(plan.runs.values())) if waiting else ([], 1)
        threads = 1
    _print(plan, groups, size, name, threads)


def rehearse_run(cfg: DictConfig) -> None:
    """Print what a single run would be.

    Args:
        cfg: its configuration, hydra node included.
    """
    run = plan_run(cfg)
    plan = Plan(run.folder.parent, {run.identity.name: run})
    _print(plan, [] if run.finished else [[run]], 1, "", None)


def _print(plan: Plan, groups: Sequence[Sequence[Planned]], size: int, launcher: str, threads: int | None) -> None:
    """The list of runs and the lines below it."""
    place = {id(run): number for number, group in enumerate(groups, 1) for run in group}
    fused = any(len(group) > 1 for group in groups)
    known = f", {plan.finished} of them finished before" if plan.finished else ""
    print(f"{counted(len(plan.runs), 'run')} in {plan.folders[0].parent}{known}")
    print(f"{'state':12}{'steps left':>10}  {'program  ' if fused else ''}run")
    lengths = _Lengths()
    left = {id(run): lengths.left(run) for run in plan.runs.values()}
    for name, run in plan.runs.items():
        program = f"{place.get(id(run), ''):>7}  " if fused else ""
        print(f"{_state(run):12}{left[id(run)]:>10,}  {program}{name}")
    total = sum(left.values())
    if groups and launcher:
        how = f"{size} at a time" if size > 1 and len(groups) > 1 else "one after another"
        as_programs = f" as {counted(len(groups), 'program')} of up to {max(map(len, groups))} runs" if fused else ""
        print(f"hydra/launcher={launcher}: {counted(len(place), 'run')}{as_programs}, {how}")
    print(f"{total:,} steps in all{_estimate(plan, groups, size, threads, left) if total else ''}")
    print("nothing was run, and nothing written")


def _state(run: Planned) -> str:
    """What the folder says of it: "new" is what starts at step 0."""
    said = RunFolder(run.folder).status.get("state")
    return str(said or "done") if run.finished else str(said) if said and _resumes(run) else "new"


def _resumes(run: Planned) -> bool:
    return (run.folder / "checkpoints" / "last.pt").is_file() and not run.composed.plain.get("force")


class _Lengths:
    """Updates that runs still have to make; epochs are counted once for all runs that differ in their seed alone."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def left(self, run: Planned) -> int:
        """By the step that status.json tells of, where there is a checkpoint to resume from."""
        if run.finished:
            return 0
        values = run.composed.resolved
        steps = values["trainer"]["steps"]
        if steps is None:
            key = repr({name: values[name] for name in ("data", "batch", "trainer", "optimizer")})
            if key not in self._known:
                self._known[key] = _whole_length(run)
            steps = self._known[key]
        done = RunFolder(run.folder).status.get("step") or 0 if _resumes(run) else 0
        return max(0, int(steps) - int(done))


def _whole_length(run: Planned) -> int:
    from fanin.run.build import load_data, recipe  # torch
    from fanin.run.execute import batches_of, steps_of

    made = recipe(run.composed.task)
    data = load_data(run.composed.task, made.device, made.dtype, indices=made.takes_indices)
    return steps_of(made, batches_of([made], data))


def _estimate(
    plan: Plan, groups: Sequence[Sequence[Planned]], size: int, threads: int | None, left: dict[int, int]
) -> str:
    """The end of a line: the time of the training, and where the estimate comes from."""
    times = StepTime(Path(plan.folders[0].parent), threads)
    busy, all_of_it = [0.0] * size, 0.0
    for group in groups:
        step = times.of(group)
        if step is None:
            return ""
        seconds = step * max(left[id(run)] for run in group)
        busy[busy.index(min(busy))] += seconds
        all_of_it += seconds
    seconds = max(*busy, all_of_it / cores())  # more workers than cores share these
    runs, trials = times.sources["runs"], times.sources["trials"]
    by = [f"{counted(runs, 'run')} before"] if runs else []
    by += ["a few steps tried now"] if trials else []
    return f", about {clock(seconds)} of training alone, by {' and '.join(by)}"
