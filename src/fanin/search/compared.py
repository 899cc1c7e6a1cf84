"""Searches of equal budgets held against each other: medians over repetitions, with intervals of order statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import NamedTuple

import numpy as np

from fanin.search.replay import Found, Place, Table

LEVEL = 0.95
"""Of the intervals, at least."""


class Median(NamedTuple):
    """A median and the order statistics that hold it with a chance of 0.95 at least; without few values no ends."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.3g}" + ("" if math.isnan(self.low) else f" [{self.low:.3g}, {self.high:.3g}]")


def median_of(values: Sequence[float]) -> Median:
    """The median with its interval.

    >>> str(median_of(range(1, 11)))  # P(the second <= median <= the ninth of ten) = 1 - 22/1024
    '5.5 [2, 9]'
    """
    from scipy.stats import quantile_test  # takes a while to import

    numbers = np.asarray(values, float)
    interval = quantile_test(numbers, p=0.5).confidence_interval(LEVEL)
    ordered = np.sort(numbers)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return Median(float(middle), float(interval.low), float(interval.high))


@dataclass
class Searches:
    """The replays of all searches on one table.

    Args:
        table: of runs.
        budget: steps of each.
        found: of each search by its name, in the order of repetitions.
        left_out: searches that cannot be had here, with the reason.
    """

    table: Table
    budget: int
    found: dict[str, list[Found]]
    left_out: dict[str, str]

    @cached_property
    def everywhere(self) -> dict[Place, float]:
        """The test error of each configuration, a mean over all seeds."""
        places = dict.fromkeys(place for place, _ in self.table.courses)
        return {place: fmean(self.table.courses[place, seed].test for seed in self.table.seeds) for place in places}

    def chosen(self, name: str) -> list[float]:
        """The test error over all seeds of what each repetition chose."""
        return [math.inf if one.place is None else self.everywhere[one.place] for one in self.found[name]]

    def against(self, name: str, other: str) -> Median:
        """The paired difference of the chosen configurations' test errors over all seeds."""
        return median_of([a - b for a, b in zip(self.chosen(name), self.chosen(other), strict=True)])


def told(difference: Median) -> str:
    """In a word.

    >>> told(Median(-0.1, -0.2, -0.05)), told(Median(-0.1, -0.2, 0.05))
    ('lower', 'not told apart')
    """
    return "lower" if difference.high < 0 else "higher" if difference.low > 0 else "not told apart"
