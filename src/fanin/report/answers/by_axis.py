"""What each axis of a grid does: the best configuration at each of its values, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fanin.report.answers.best import Contest, contest
from fanin.report.answers.scores import Metric, Score, between
from fanin.report.rank_statistics import holm
from fanin.report.read.axes import Axis
from fanin.report.statistics import NO_DIFFERENCE, Difference

MOST_VALUES = 30  # a random search has another value in every configuration, and a row of each says nothing


@dataclass(frozen=True)
class Option:
    """One value of an axis.

    Attributes:
        rank: its position among the axis' values.
        contest: of the configurations that have it.
        difference: of the best of them to the best of all, nan for that itself.
        p: of this difference's t-test, corrected by Holm's method for the values of the axis.
        runs, diverged: how many runs of all its configurations ended, and how many of those diverged.
    """

    rank: int
    contest: Contest
    difference: Difference
    p: float
    runs: int
    diverged: int


@dataclass(frozen=True)
class ByAxis:
    """An axis with its values that have a number, in order; `others` are the axes that are chosen anew at each."""

    axis: Axis
    options: list[Option]
    others: list[Axis]


def by_axis(
    scores: Sequence[Score], axes: Sequence[Axis], metric: Metric, ended: dict[int, tuple[int, int]]
) -> list[ByAxis]:
    """The axes with few enough values, choices before numbers.

    Args:
        scores: of all configurations that have one, the best first.
        axes: what varies between all configurations of the report.
        metric: what they are scores of.
        ended: for each configuration how many runs ended, and how many of those diverged; those without a score too.
    """
    found = []
    for axis in sorted(axes, key=lambda axis: axis.kind != "choice"):
        if not 1 < len(axis.values) <= MOST_VALUES:
            continue
        options = []
        for rank in range(len(axis.values)):
            own = [score for score in scores if axis.ranks[score.place] == rank]
            if own:
                counts = [ended[place] for place in ended if axis.ranks[place] == rank]
                difference = between(scores[0], own[0])[0] if own[0] is not scores[0] else NO_DIFFERENCE
                runs, diverged = (sum(count[i] for count in counts) for i in (0, 1))
                options.append(Option(rank, contest(own, metric, ranked=False), difference, math.nan, runs, diverged))
        corrected = holm([option.difference.p for option in options])
        options = [replace(one, p=p) for one, p in zip(options, corrected, strict=True)]
        found.append(ByAxis(axis, options, [other for other in axes if other is not axis]))
    return found
