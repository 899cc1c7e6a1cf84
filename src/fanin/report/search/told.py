"""What a report says of a search: the best configuration and how sure that is, tables, and the figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fanin.errors import counted
from fanin.record.columns import names
from fanin.record.csv_file import write_table
from fanin.record.overrides import display
from fanin.record.report_columns import IMPORTANCE, SEARCHED
from fanin.record.search_files import RungRow, grouped, read_search
from fanin.report.answers.scores import metric_of
from fanin.report.read.axes import axes_of
from fanin.report.read.configurations import Configuration, folds_of
from fanin.report.read.folders import Run, task_of
from fanin.report.search.importance import KNOWN, Importance, importances
from fanin.report.search.pareto import front
from fanin.report.search.searched import Axis, Searched, searched
from fanin.report.statistics import bounds_of, mean_interval, paired
from fanin.report.write.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin.report.figures.style import Sheet


@dataclass
class SearchTold:
    """A search as its report has it.

    Attributes:
        metrics, signs: what was searched for; 1 where it is to be small, -1 where it is to be large.
        rows: of rungs.csv.
        found: the configurations on their axes.
        shares, good: the importances by fANOVA and by PED-ANOVA, [] of several metrics.
        folds: k of each trial whose runs are folds of a cross-validation, whose intervals are widened.
        percent: whether errors are shares.
    """

    metrics: list[str]
    signs: np.ndarray[Any, np.dtype[np.float64]]
    rows: list[RungRow]
    found: Searched
    shares: list[Importance]
    good: list[Importance]
    folds: dict[int, int] = field(default_factory=dict)
    percent: bool = True

    def figures(self, sheet: Sheet) -> dict[str, Callable[[], Figure | None]]:
        """What draws each, by name."""
        from fanin.report.search import figures

        metric, sign = self.metrics[0], float(self.signs[0])
        if not self.rows:
            return {
                "importance": lambda: figures.importance_figure(sheet, self.shares, self.good),
                "parallel": lambda: figures.parallel_figure(sheet, self.found, metric, sign),
            }
        if len({row.steps for row in self.rows}) > 1:
            metric += f" after {counted(self.found.steps, 'step')}"
        many = len(self.metrics) > 1
        return {
            "pareto": lambda: figures.pareto_figure(sheet, self.found, self.metrics, self.signs),
            "search": lambda: figures.search_figure(sheet, self.found, metric, sign, self.shares, self.good),
            "parallel": lambda: figures.parallel_figure(sheet, self.found, metric, sign),
            "rungs": lambda: None if many else figures.rungs_figure(sheet, self.rows, self.metrics[0]),
        }

    @property
    def sought(self) -> tuple[str, bool] | None:
        """See sought_in."""
        return (self.metrics[0], bool(self.signs[0] < 0)) if self.rows and len(self.metrics) == 1 else None

    def lines(self, best: str | None = None) -> list[str]:
        """What came of it: which trial is the best, or what is on the front; and what mattered.

        Args:
            best: a run of the best configuration, where the report has said already which one that is and how sure.
        """
        if len(self.metrics) > 1:
            there, tried = self.found.front(self.signs), len(self.found.distinct)
            return [f"{len(there)} of {counted(tried, 'configuration')} are on the Pareto front"]
        if not self.rows:
            return [f"share of the variance of {self.metrics[0]}: {self._shares()}"]
        trial = next((row.trial for row in self.rows if row.run == best), None)
        lines = self._best() if trial is None else [f"the best is trial {trial} of {len(self._last())}"]
        if lines and self.shares:
            lines.append(f"share of the variance after {counted(self.found.steps, 'step')}: {self._shares()}")
        return lines

    def _last(self) -> dict[int, dict[int, float]]:
        """The last value that is known of each trial at each seed."""
        longest: dict[int, dict[int, float]] = {}
        for row in sorted(self.rows, key=lambda row: row.steps):
            longest.setdefault(row.trial, {})[row.seed] = row.values[0]
        return longest

    def _bounds(self, metric: str) -> tuple[float, float]:
        return bounds_of(metric, percent=self.percent and metric.endswith("_error"))

    def _best(self) -> list[str]:
        """The best by a metric that no result.json has, and how far the second is from it."""
        sign, metric, longest = float(self.signs[0]), self.metrics[0], self._last()
        full = max(row.steps for row in self.rows)
        ended = {row.trial for row in self.rows if row.steps == full and row.good}
        means = sorted((sign * float(np.mean(list(longest[trial].values()))), trial) for trial in ended)
        if not means:
            return []
        first = means[0][1]
        folds = self.folds.get(first)
        one = mean_interval(longest[first].values(), folds, self._bounds(metric))
        over = "folds" if folds else "seeds"
        told = f"{one.mean:.4g}" + (f" [{one.low:.4g}, {one.high:.4g}] over {one.n} {over}" if one.n > 1 else "")
        lines = [f"best of {len(longest)}: trial {first}, {metric} {told}: {self.words(first)}"]
        if len(means) > 1:
            lines.append(self._second(means[1][1], longest[first], longest[means[1][1]], folds))
        return lines

    def rungs(self) -> Table | None:
        """A row for each rung: how many configurations came to it, how many left there, and the best; None of one."""
        by_rung = grouped(self.rows, lambda row: (row.bracket, row.rung))
        if len(by_rung) < 2:
            return None
        brackets = len({bracket for bracket, _ in by_rung}) > 1
        shown = slice(0 if brackets else 1, None if len(self.metrics) == 1 else -2)
        header = ["bracket", "rung", "steps", "configurations", "runs", "left", "best trial", self.metrics[0]]
        rows = []
        for (bracket, rung), some in sorted(by_rung.items()):
            by_trial = grouped(some, lambda row: row.trial)
            means = {trial: float(np.mean([row.values[0] for row in own])) for trial, own in by_trial.items()}
            trial = min(means, key=lambda one: (self.signs[0] * means[one], one))
            best = [str(trial), f"{means[trial]:.4g}"] if np.isfinite(means[trial]) else ["", ""]
            steps, left = max(row.steps for row in some), len({row.trial for row in some if row.reason})
            cells = [str(bracket), str(rung), f"{steps:,}", str(len(means)), str(len(some)), str(left or ""), *best]
            rows.append(cells[shown])
        return Table("rungs", header[shown], rows)

    def _shares(self) -> str:
        return ", ".join(f"{one.name} {one.share:.0%} [{one.low:.0%}, {one.high:.0%}]" for one in self.shares)

    def _second(self, trial: int, best: dict[int, float], other: dict[int, float], folds: int | None) -> str:
        """How far the second is from the best, over the seeds, or folds, that both have."""
        apart = [other[seed] - best[seed] for seed in best if seed in other]
        if len(apart) < 2 or not np.isfinite(apart).all():
            return f"second: trial {trial}, {np.mean(list(other.values())):.4g}; with one seed there is no interval"
        told = paired(apart, folds)
        sure = "apart" if told.low > 0 or told.high < 0 else "not told apart"
        return (
            f"second: trial {trial}, differs by {told.mean:.3g} [{told.low:.3g}, {told.high:.3g}] over "
            f"{len(apart)} paired {'folds' if folds else 'seeds'}: {sure}"
        )

    def words(self, trial: int) -> str:
        """A configuration as it is typed."""
        if trial not in self.found.trials:
            return ""
        settings = self.found.settings[self.found.trials.index(trial)]
        named = zip(self.found.axes, settings, strict=True)
        return " ".join(f"{axis.name.split(' ')[0]}={display(value)}" for axis, value in named if value is not None)

    def tables(self, out: Path) -> list[Path]:
        """Write search.csv, a row per configuration with whether it is on the front, and importance.csv."""
        kinds = (("fANOVA", self.shares), ("PED-ANOVA", self.good))
        told = [[kind, one.name, one.share, one.low, one.high] for kind, some in kinds for one in some]
        if told:
            write_table(out / "importance.csv", names(IMPORTANCE), told)
        if not self.rows:
            return [out / "importance.csv"]
        best = set(front(self.found.values * self.signs))
        *first, last = names(SEARCHED)
        header = [*first, *self.metrics, *(axis.name for axis in self.found.axes), last]
        rows = [
            [trial, self.found.steps, *map(_cell, values), *settings, index in best]
            for index, (trial, values, settings) in enumerate(
                zip(self.found.trials, self.found.values.tolist(), self.found.settings, strict=True)
            )
        ]
        write_table(out / "search.csv", header, rows)
        return [out / "search.csv", *([out / "importance.csv"] if told else [])]


def _cell(value: float) -> float | None:
    return None if np.isnan(value) else value


def sought_in(grid: Path) -> tuple[str, bool] | None:
    """What the search in a folder goes by, and whether more of it is better.

    None where there is none, or one for several metrics, which has no best.
    """
    said = read_search(grid) or {}
    metrics, directions = said.get("metrics") or [], said.get("directions") or []
    return (str(metrics[0]), directions[0] == "maximize") if len(metrics) == len(directions) == 1 else None


def search_told(
    grid: Path, runs: Sequence[Run], configurations: Sequence[Configuration], metric: str | None = None
) -> SearchTold | None:
    """What the files of a grid's folder say of its search or, where there was none, of a grid over two axes or more.

    Args:
        grid: the folder.
        runs: in it, as they were read.
        configurations: of them.
        metric: by which those of a grid are judged; by default as their answer is, see metric_of.

    Returns:
        None where there is nothing of the kind to say.
    """
    read = searched(grid, runs)
    if read is None:
        return _of_grid(runs, configurations, metric)
    said, rows, found = read
    signs = np.array([-1.0 if one == "maximize" else 1.0 for one in said["directions"]])
    told = _with_shares([str(one) for one in said["metrics"]], signs, rows, found)
    told.percent = task_of(runs).percent
    named = {run.name: run for run in runs}
    for trial in {row.trial for row in rows}:
        k = folds_of([named[row.run] for row in rows if row.trial == trial and row.run in named])
        told.folds |= {trial: k} if k else {}
    return told


def _of_grid(
    runs: Sequence[Run], configurations: Sequence[Configuration], asked: str | None = None
) -> SearchTold | None:
    """A grid of enough configurations that differ in two keys or more, by what its answer goes by."""
    if len(configurations) < KNOWN or len({run.experiment for run in runs}) > 1:
        return None
    varying = axes_of(configurations)
    by = metric_of(runs, asked)
    if len(varying) < 2 or by is None:
        return None
    axes = [
        Axis(one.key, tuple(one.words(i) for i in range(len(one.values))),
             np.full(len(one.values), 1 / len(one.values)), one.kind != "choice")
        for one in varying
    ]  # fmt: skip
    numbers = [[runs[i].numbers.get(by.name, np.nan) for i in one.members] for one in configurations]
    values = np.array([[np.mean(some)] for some in numbers], float)
    values = np.where(np.isfinite(values), values, np.nan)
    settings = [[one.values[one.ranks[row]] for one in varying] for row in range(len(configurations))]
    places = np.array([one.ranks for one in varying]).T
    found = Searched(axes, list(range(len(configurations))), places, values, settings, 0)
    told = _with_shares([by.name], np.array([by.sign]), [], found)
    return told if told.shares else None


def _with_shares(
    metrics: list[str], signs: np.ndarray[Any, np.dtype[np.float64]], rows: list[RungRow], found: Searched
) -> SearchTold:
    known, costs = len(metrics) == 1, found.values[:, 0] * signs[0]
    shares, good = (
        importances(found.axes, found.places, costs, good=of_best) if known else [] for of_best in (False, True)
    )
    return SearchTold(metrics, signs, rows, found, shares, good)
