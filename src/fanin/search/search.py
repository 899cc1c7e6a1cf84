"""A search: configurations are proposed, run rung by rung, and left or trained on, until its trials are made.

What is done is a function of the settings and of what is written down: `search/rungs.csv` has the rungs that are over,
the runs' folders what has come of the one that is not. So the same command goes on after a kill at any moment.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from fanin.errors import OptionError, UserError, counted, did_you_mean
from fanin.record.columns import FINISHED
from fanin.record.run_files import read_run
from fanin.record.run_folder import FolderBusy, RunFolder
from fanin.record.search_files import FOLDER, RungRow, read_rungs, write_rungs, write_search
from fanin.record.summary import rewrite_summary
from fanin.run.identity import NO_EXPERIMENT, experiment_of
from fanin.search.measured import READY, Measured, measured
from fanin.search.methods import proposer_of
from fanin.search.random_proposals import Job, Proposer, RandomProposals
from fanin.search.rung_results import by_trial, halved, raced, ranked, result_of, with_reasons
from fanin.search.rung_runs import RungPlan, Runs
from fanin.search.same_search import check_same, content_of
from fanin.search.schedule import Bracket, Rung
from fanin.search.settings import Settings
from fanin.search.space import Space
from fanin.search.view import RungLine, RungView
from fanin.sweep.grid import FailedRuns, report_grid, runs_of_the_grid
from fanin.sweep.signals import stopped_after

PROBED = 20
"""Configurations that are tried before a search in which none can be run is refused."""


def run_search(master: DictConfig, loader: ConfigLoader, launcher: Launcher, settings: Settings, space: Space) -> None:
    """Search, and report.

    Args:
        master: the configuration of the multirun, with its hydra node.
        loader: composes the runs.
        launcher: runs them; any of Hydra's.
        settings: how to search.
        space: what.

    Raises:
        UserError: before anything has been written, if it cannot be done; at its end, if runs failed.
    """
    runs = Runs(master, loader, launcher)
    draws = RandomProposals(space, settings.seed)
    steps = runs.first_length([one[0] for number in range(PROBED) if (one := draws.draw(number)) is not None])
    content = content_of(settings, space, seeds_of(settings, space), steps)
    fresh = "force=true" in space.fixed
    if not fresh:
        check_same(runs.grid, content)
    proposer = proposer_of(settings, space, runs.grid, fresh=fresh)
    search = Search(runs, settings, space, proposer, seeds_of(settings, space), steps, content)
    search.rows = [] if fresh else read_rungs(runs.grid)
    try:
        with ExitStack() as owned, stopped_after(settings.timeout):
            search.run(owned)
    finally:
        search.view.close()
        runs_of_the_grid[:] = list(runs.folders.values())
        if search.begun or search.rows:
            study = experiment_of(master.hydra) != NO_EXPERIMENT
            report_grid(runs.grid, [runs.grid] if study else [folder for folder, _ in runs.folders.values()])
    failed = [row for row in search.rows if row.state == "failed"]
    if failed:
        many = f"{len({row.run for row in failed})} of {counted(len({row.run for row in search.rows}), 'run')} failed"
        raise FailedRuns(f"{many} and count as the worst; the first: {runs.grid / failed[0].run / 'run.log'}")


def seeds_of(settings: Settings, space: Space) -> list[int]:
    """The seeds at which each configuration is run: those that were typed, and on from there.

    Raises:
        OptionError: several were typed, and another number of them is wanted.
    """
    typed = space.seeds or [0]
    if len(typed) > 1 and settings.seeds not in (1, len(typed)):
        raise OptionError("hydra.sweeper.seeds", settings.seeds, f"left out, or the {len(typed)} that seed=... lists")
    return typed if len(typed) > 1 else list(range(typed[0], typed[0] + settings.seeds))


@dataclass
class Search:
    """A search on its way.

    Args:
        runs: composes and launches.
        settings: how to search.
        space: what.
        proposer: proposes configurations.
        seeds: of each configuration.
        steps: R, the updates of a whole run.
        content: of search.json.

    Attributes:
        rows: of rungs.csv.
    """

    runs: Runs
    settings: Settings
    space: Space
    proposer: Proposer
    seeds: list[int]
    steps: int
    content: dict[str, Any]
    rows: list[RungRow] = field(default_factory=list)
    begun: bool = False
    view: RungView = field(init=False)

    def __post_init__(self) -> None:
        self.view = RungView(self.settings.metrics[0], self.settings.budget != "none")
        self.began = time.monotonic()
        self.known = {(row.bracket, row.rung, row.trial, row.seed): row for row in self.rows}

    def run(self, owned: ExitStack) -> None:
        """Climb bracket after bracket, the folder owned by this process from the first run on."""
        self.known = {(row.bracket, row.rung, row.trial, row.seed): row for row in self.rows}
        self.owned = owned
        for row in self.rows:
            if row.run:
                self.runs.folders[row.run] = (self.runs.grid / row.run, row.state in FINISHED)
        for bracket in self.settings.brackets(self.steps):
            if self.out_of_time() or not self.climb(bracket):
                return

    @property
    def late(self) -> bool:
        """Whether the time that was given is over."""
        return self.settings.timeout is not None and time.monotonic() - self.began >= self.settings.timeout

    def out_of_time(self, stopped: str = "") -> bool:
        """Whether the time that was given is over; says so, and which runs were stopped."""
        if not self.late:
            return False
        trials = counted(len({row.trial for row in self.rows}), "configuration")
        print(f"timeout={self.settings.timeout:g} s is over after {trials}{stopped}; the same command goes on")
        return True

    def climb(self, bracket: Bracket) -> bool:
        """Run one bracket; false where nothing is left to propose or the time is over."""
        jobs = self.proposer.propose(bracket.count)
        alive, rows = dict(jobs), list[RungRow]()
        for index, rung in enumerate(bracket.rungs):
            if not alive:
                break
            if index and self.out_of_time():
                return False
            following = bracket.rungs[index + 1] if index + 1 < len(bracket.rungs) else None
            here = self.rung(bracket.number, index, rung, alive, following)
            if not here:
                return False
            rows += here
            leave = {row.trial for row in here if row.reason}
            alive = {trial: job for trial, job in alive.items() if trial not in leave}
        self.proposer.tell([result_of(trial, own) for trial, own in by_trial(rows).items()])
        return len(jobs) == bracket.count

    def rung(
        self, bracket: int, index: int, rung: Rung, alive: dict[int, Job], following: Rung | None
    ) -> list[RungRow]:
        """Run one rung, or take it as it is written down; its rows, with the reason of those that leave.

        No row where the time was over before all of its runs were: they stopped with a checkpoint each.
        """
        seeds = self.seeds[: rung.seeds]
        places = [(bracket, index, trial, seed) for trial in alive for seed in seeds]
        if all(place in self.known for place in places):
            return [self.known[place] for place in places]
        plan = self.runs.plan(alive if index == 0 else _unforced(alive), seeds, rung.share)
        if len(plan.refused) == len(alive) and not self.rows:
            raise UserError(next(iter(plan.refused.values())))
        self.begin(plan)
        steps = max(1, round(self.steps * rung.share))
        self.view.begun(RungLine(bracket, index, len(alive), len(plan.names), steps))
        try:
            self.runs.launch(plan)
        except KeyboardInterrupt:
            if not self.late:
                raise
            if left := len(plan.left):
                self.out_of_time(f", {left} of {counted(len(plan.plan.runs), 'run')} of a rung not over")
                return []
        rows = self.results(bracket, index, alive, seeds, plan)
        rows = with_reasons(rows, self.leaving(rows, following))
        self.record(rows)
        best = ranked(rows, self.settings.signs[0])
        told = f"{self.settings.signs[0] * best[0][0]:.4g} (trial {best[0][1]})" if best else "none"
        self.view.ended(told, len({row.trial for row in rows if row.reason}))
        if self.settings.budget != "none":
            with suppress(OSError):  # the report writes it again
                rewrite_summary(self.runs.grid, [read_run(folder) for folder, _ in self.runs.folders.values()])
        return rows

    def leaving(self, rows: Sequence[RungRow], following: Rung | None) -> dict[int, str]:
        """Who leaves before the following rung, and why."""
        if following is None:
            return {}
        if self.settings.budget == "racing":
            return raced(rows, self.settings.level, self.settings.signs[0], self.settings.test)
        return halved(rows, following.keep, self.settings.signs[0])

    def begin(self, plan: RungPlan) -> None:
        """Write down what is searched, before the first run; then what is proposed, before it is run.

        Raises:
            UserError: another process searches here.
        """
        grid = self.runs.grid
        if not self.begun:
            try:
                (grid / FOLDER).mkdir(parents=True, exist_ok=True)
                self.owned.enter_context(RunFolder(grid / FOLDER).owned())
            except FolderBusy:
                raise UserError(f"{grid}: another process searches here; wait for it, or hydra.sweep.dir=DIR") from None
            write_search(grid, self.content)
            if not self.rows:
                write_rungs(grid, [])
            OmegaConf.save(self.runs.master, grid / "multirun.yaml")
            Console(highlight=False, stderr=True).print(f"search in {grid}: {self.words()}", soft_wrap=True)
            self.begun = True
        self.proposer.record()

    def words(self) -> str:
        """The search in a few words."""
        settings = self.settings
        size = "" if math.isinf(self.space.size) else f" of {counted(int(self.space.size), 'configuration')}"
        seeds = f", {counted(len(self.seeds), 'seed')} each" if len(self.seeds) > 1 else ""
        budget = "" if settings.budget == "none" else f", {settings.budget}"
        return f"{settings.method}{budget} over {counted(len(self.space.all_axes), 'key')}{size}{seeds}"

    def record(self, rows: Sequence[RungRow]) -> None:
        """Write down a rung that is over."""
        self.known |= {(row.bracket, row.rung, row.trial, row.seed): row for row in rows}
        self.rows = list(self.known.values())
        write_rungs(self.runs.grid, self.rows)

    def results(
        self, bracket: int, index: int, jobs: dict[int, Job], seeds: Sequence[int], plan: RungPlan
    ) -> list[RungRow]:
        """The rows of a rung that has been run.

        Raises:
            FailedRuns: some of its runs are not over.
            OptionError: none of its runs has the metric.
        """
        folders = {name: run.folder for name, run in plan.plan.runs.items()}
        found = {name: measured(folder, self.settings.metrics) for name, folder in folders.items()}
        if left := [one.state for one in found.values() if one.state not in READY]:
            why = "interrupted; the same command goes on" if set(left) == {"interrupted"} else "being run elsewhere"
            raise FailedRuns(f"{len(left)} of {counted(len(found), 'run')} {why}")
        self.check_metrics(found, folders)
        rows = []
        for trial in jobs:
            for seed in seeds:
                place = bracket, index, trial
                if trial in plan.refused:
                    worst = tuple(sign * math.inf for sign in self.settings.signs)
                    rows.append(RungRow(*place, "", seed, 0, worst, "refused", plan.refused[trial]))
                else:
                    name = plan.names[trial, seed]
                    rows.append(self.row(place, name, seed, found[name]))
        return rows

    def row(self, place: tuple[int, int, int], name: str, seed: int, one: Measured) -> RungRow:
        """The row of a run; the worst value where it has none."""
        reason, values = one.error if one.state in ("diverged", "failed") else "", []
        for metric, value, sign in zip(self.settings.metrics, one.values, self.settings.signs, strict=True):
            if value is None or not math.isfinite(value):
                reason = reason or (one.state if one.state == "failed" else f"{metric} is {value}")
                values.append(sign * math.inf)
            else:
                values.append(value)
        return RungRow(*place, name, seed, one.steps, tuple(values), one.state, reason)

    def check_metrics(self, found: dict[str, Measured], folders: dict[str, Path]) -> None:
        """Refuse a metric that no run has.

        Raises:
            OptionError: what they have.
        """
        good = {name: one for name, one in found.items() if one.state in ("paused", "done", "pruned")}
        for place, metric in enumerate(self.settings.metrics):
            if good and all(one.values[place] is None for one in good.values()):
                run = read_run(folders[next(iter(good))])
                there = sorted(run.numbers) or ["val_error", "val_loss", "batch_error", "batch_loss"]
                fix = did_you_mean(metric, there)
                allowed = f"a number that the runs have: {', '.join(there)}"
                raise OptionError("hydra.sweeper.metric", metric, allowed, fix)


def _unforced(jobs: dict[int, Job]) -> dict[int, Job]:
    """The configurations without force=true, which starts a run afresh: on later rungs they go on."""
    return {trial: [word for word in job if word != "force=true"] for trial, job in jobs.items()}
