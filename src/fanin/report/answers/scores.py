"""The metric by which a sweep is judged, and what every configuration has of it, run by run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fanin.record.outcome import Task, metric_words
from fanin.report.compare.ranking import LARGER_IS_BETTER
from fanin.report.read.configurations import FOLD, REPEAT, REPLICATES, Configuration, canonical
from fanin.report.read.folders import Run, task_of
from fanin.report.statistics import (
    Difference,
    Floats,
    Interval,
    bounds_of,
    mean_interval,
    paired_difference,
    welch_difference,
)

Block = tuple[str, ...]
"""What runs of different configurations share, such as their seed."""

CANDIDATES = ("test_error", "val_error", "test_loss", "val_loss", "train_error", "train_loss")
"""What a sweep is judged by where nothing else was asked for; over folds val_error comes first."""


@dataclass(frozen=True)
class Metric:
    """A number of result.json: its name, its words, whether it is a share shown in per cent, whether more is better."""

    name: str
    words: str
    percent: bool
    larger: bool

    @property
    def sign(self) -> float:
        """What makes the smaller value the better one."""
        return -1.0 if self.larger else 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which its values lie."""
        return bounds_of(self.name, percent=self.percent)

    def text(self, value: float) -> str:
        """A value with its unit.

        >>> Metric("test_error", "test error", True, False).text(0.0814)
        '8.14 %'
        """
        return f"{100 * value:.3g} %" if self.percent else f"{value:.4g}"

    def interval(self, low: float, high: float) -> str:
        """The ends of an interval, in the unit of `text`; nothing where there is none."""
        ends = [f"{100 * end:.3g}" if self.percent else f"{end:.4g}" for end in (low, high)]
        return "" if math.isnan(low) else f"[{ends[0]}, {ends[1]}]"

    def difference(self, found: Difference) -> str:
        """A mean difference with its interval; of shares in percentage points."""
        if math.isnan(found.mean):
            return ""
        mean = f"{100 * found.mean:+.3g} pp" if self.percent else f"{found.mean:+.4g}"
        return f"{mean} {self.interval(found.low, found.high)}".rstrip()


@dataclass(frozen=True)
class Score:
    """What one configuration has of the metric.

    Attributes:
        place: of the configuration in the report.
        label: its name.
        values: of every run that ended, by its block: inf of one that diverged, whichever way is better.
        runs: how many there are, ended or not.
        folds: k of a cross-validation, else None.
        bounds: between which values lie.
    """

    place: int
    label: str
    values: Mapping[Block, float]
    runs: int
    folds: int | None
    bounds: tuple[float, float]

    @cached_property
    def finite(self) -> list[float]:
        """Of the runs that have a finite value."""
        return [value for value in self.values.values() if math.isfinite(value)]

    @property
    def diverged(self) -> int:
        """How many runs diverged."""
        return len(self.values) - len(self.finite)

    @cached_property
    def interval(self) -> Interval:
        """The mean over the finite values, with its 95 % t-interval."""
        return mean_interval(self.finite, self.folds, self.bounds)

    def order(self, sign: float) -> tuple[float, float]:
        """The best first: one with diverged runs, whose mean would be infinite, is behind all that have none."""
        return self.diverged / len(self.values), sign * self.interval.mean


def scores_of(
    runs: Sequence[Run], configurations: Sequence[Configuration], places: Sequence[int], metric: Metric
) -> list[Score]:
    """The scores of these configurations, the best first; those without a finite value are left out.

    Args:
        runs, configurations: of the report.
        places: of the configurations that are held against each other.
        metric: by which.
    """
    scores = []
    grouped = {key for place in places for key in configurations[place].values}
    members = [i for place in places for i in configurations[place].members]
    rest = sorted({key for i in members for key in runs[i].overrides} - grouped - {*REPLICATES})
    for place in places:
        one = configurations[place]
        values: dict[Block, float] = {}
        for run in (runs[i] for i in one.members):
            value = run.judged(metric.name)
            if not math.isnan(value):
                block = (canonical(run.seed), *(canonical(run.value(key)) for key in (FOLD, REPEAT, *rest)))
                values.setdefault(block, value)
        score = Score(place, one.label, values, len(one.members), one.folds, metric.bounds)
        scores += [score] if score.finite else []
    return sorted(scores, key=lambda score: score.order(metric.sign))


def metric_of(runs: Sequence[Run], name: str | None = None, *, larger: bool | None = None) -> Metric | None:
    """The number by which these runs are judged: the one asked for, or the first of CANDIDATES that most of them have.

    None where no finished run has it. `larger` says whether more of it is better; by default its name does.
    """
    folds = any(run.overrides.get(FOLD) is not None for run in runs)
    names = (name,) if name else tuple(sorted(CANDIDATES, key=lambda one: one != "val_error")) if folds else CANDIDATES
    most, chosen, done = 0, names[0], sum(run.state == "done" for run in runs)
    for one in names:
        count = sum(not math.isnan(run.final(one)) for run in runs)
        if count > most:
            most, chosen = count, one
        if count == done:  # no other is had by more
            break
    task: Task = task_of(runs)
    share = chosen in LARGER_IS_BETTER or (chosen.endswith("error") and task.percent)
    larger = chosen in LARGER_IS_BETTER if larger is None else larger
    return Metric(chosen, metric_words(chosen, task), share, larger) if most else None


def between(best: Score, other: Score) -> tuple[Difference, bool]:
    """other - best, and whether that is paired, over the runs that both have; if they share none by Welch's test."""
    both = [key for key, value in best.values.items() if math.isfinite(value) and key in other.values]
    differences = [other.values[key] - best.values[key] for key in both if math.isfinite(other.values[key])]
    if both or best.folds:
        return paired_difference(differences, best.folds), True
    return welch_difference(best.finite, other.finite), False


def matched(scores: Sequence[Score]) -> tuple[list[int], Floats]:
    """Positions of the scores that have every run of the first, and the values [runs, k] of those; inf is diverged."""
    blocks = list(scores[0].values)
    there = [i for i, score in enumerate(scores) if all(block in score.values for block in blocks)]
    return there, np.array([[scores[i].values[block] for i in there] for block in blocks]).reshape(-1, len(there))
