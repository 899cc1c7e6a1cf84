"""`fanin ... --dry-run` of a search: its configurations where they are known beforehand, its rungs, its steps."""

from __future__ import annotations

from collections.abc import Iterator

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from fanin.errors import counted
from fanin.process import cores
from fanin.record.search_files import read_rungs
from fanin.search.random_proposals import Job, QuasiRandomProposals, RandomProposals
from fanin.search.rung_runs import Runs
from fanin.search.same_search import check_same, content_of
from fanin.search.schedule import Bracket
from fanin.search.settings import AT_ONCE, Settings
from fanin.search.space import Space
from fanin.sweep.grid_view import clock
from fanin.sweep.plan import Plan
from fanin.sweep.step_time import StepTime

TRIED = 20
"""Draws of which the first that can be run says how long a step takes."""


def rehearse_search(
    master: DictConfig, loader: ConfigLoader, launcher: Launcher, settings: Settings, space: Space, seeds: list[int]
) -> None:
    """Print what a search would run; every mistake in it is told as the search itself would.

    Args:
        master, loader, launcher, settings, space: as `run_search` has them.
        seeds: of each configuration.

    Raises:
        UserError: it cannot be done.
    """
    runs = Runs(master, loader, launcher)
    kind = QuasiRandomProposals if settings.method == "qmc" else RandomProposals
    draws = kind(space, settings.seed)
    tried = [found[0] for number in range(TRIED) if (found := draws.draw(number)) is not None]
    steps = runs.first_length(tried)
    if "force=true" not in space.fixed:
        check_same(runs.grid, content_of(settings, space, seeds, steps))
    brackets = list(settings.brackets(steps))
    trials = sum(bracket.count for bracket in brackets)
    print(
        f"{settings.method} search of {counted(trials, 'configuration')} at {counted(len(seeds), 'seed')}: {runs.grid}"
    )
    rows = read_rungs(runs.grid)
    if rows and "force=true" not in space.fixed:
        print(f"{counted(len(rows), 'run')} of its rungs are written down and will not be made again")
    if settings.method in AT_ONCE:
        _print_configurations(draws.propose(trials))
    else:
        print(f"{settings.method} proposes {settings.batch} at a time, from what came of those before")
    print("bracket  rung  configurations  seeds   steps  to make")
    total = 0
    for bracket in brackets:
        for index, (rung, more) in enumerate(zip(bracket.rungs, added(bracket, steps), strict=True)):
            ends = max(1, round(steps * rung.share))
            print(f"{bracket.number:7}  {index:4}  {rung.keep:14}  {rung.seeds:5}  {ends:6,}  {more:7,}")
            total += more
    print(f"{'at most ' if settings.budget == 'racing' else ''}{total:,} steps in all{_estimate(runs, tried, total)}")
    print("nothing was run, and nothing written")


def added(bracket: Bracket, steps: int) -> Iterator[int]:
    """The updates that each rung adds: seeds that were there go on, new ones start.

    Args:
        bracket: whose rungs they are.
        steps: of a whole run.
    """
    before, seeds = 0, 0
    for rung in bracket.rungs:
        ends = max(1, round(steps * rung.share))
        yield rung.keep * (min(seeds, rung.seeds) * (ends - before) + max(0, rung.seeds - seeds) * ends)
        before, seeds = ends, rung.seeds


def _print_configurations(jobs: dict[int, Job]) -> None:
    """A line for each, as it is typed, without what all have in common."""
    shared = set.intersection(*map(set, jobs.values())) if len(jobs) > 1 else set()
    for trial, job in jobs.items():
        print(f"trial {trial:<5} {' '.join(word for word in job if word not in shared)}")


def _estimate(runs: Runs, tried: list[Job], total: int) -> str:
    """About how long, as if all configurations took as long as the first that can be run."""
    size = getattr(runs.launcher, "n_jobs", 1) or cores()
    for job in tried:
        plan = Plan(runs.grid)
        plan.add(runs.composer([*job, "seed=0"]))
        if not plan.mistakes and (step := StepTime(runs.grid, 1).of(list(plan.runs.values()))) is not None:
            seconds = total * step / max(1, min(size, cores()))
            return f", about {clock(seconds)} of training alone, one run a core, if all take as long as the first"
    return ""
