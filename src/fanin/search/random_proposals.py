"""Random search: every configuration is drawn by itself, from the search's seed and its own number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Protocol

import numpy as np

from fanin.search.space import Axis, Space, Value

ATTEMPTS = 100
"""Draws of a configuration that has not been drawn before; after so many the space holds no more."""

Job = list[str]
"""The overrides of a configuration, without its seed."""


@dataclass(frozen=True)
class TrialResult:
    """What came of a configuration.

    Args:
        trial: its number.
        values: of the metrics, infinite (the worst) where there is none.
        state: done, dropped, diverged, failed or refused.
        course: its metric by the steps at which it was measured, the last included.
        runs: the names of its runs.
    """

    trial: int
    values: tuple[float, ...]
    state: str
    course: dict[int, float]
    runs: tuple[str, ...]


class Proposer(Protocol):
    """Proposes configurations, numbered from 0 in their order, the same ones for the same results."""

    def propose(self, count: int) -> dict[int, Job]:
        """The next configurations by their numbers; fewer where the space holds no more."""

    def record(self) -> None:
        """Write down what was proposed, before it is run."""

    def tell(self, results: Sequence[TrialResult]) -> None:
        """Learn what came of the configurations that were proposed last, and write it down."""


@dataclass
class RandomProposals:
    """Draws without memory, but no configuration twice.

    Args:
        space: what is drawn from.
        seed: of the search.

    Attributes:
        params: of each configuration, its value of every axis that it has, by the axis's name.

    Source: Bergstra and Bengio, Random search for hyper-parameter optimization (2012).
    """

    space: Space
    seed: int
    params: dict[int, dict[str, Value]] = field(default_factory=dict)
    seen: set[tuple[str, ...]] = field(default_factory=set)

    def propose(self, count: int) -> dict[int, Job]:
        """The next configurations by their numbers; fewer where the space holds no more."""
        jobs: dict[int, Job] = {}
        while len(jobs) < count and (found := self.draw(len(self.params))) is not None:
            job, values = found
            jobs[len(self.params)] = job
            self.params[len(self.params)] = values
            self.seen.add(tuple(sorted(job)))
        return jobs

    def draw(self, number: int) -> tuple[Job, dict[str, Value]] | None:
        """A configuration that has not been proposed, with its values; None where none is found."""
        for attempt in range(ATTEMPTS):
            values: dict[str, Value] = {}
            shares = self.shares(number, attempt)
            job = self.space.job(partial(_noted, values, shares))
            if tuple(sorted(job)) not in self.seen:
                return job, values
        return None

    def shares(self, number: int, attempt: int) -> dict[str, float]:
        """Where a configuration lies on every axis, each from 0 to 1."""
        names = [axis.name for axis in self.space.all_axes]
        drawn = np.random.default_rng([self.seed, number, attempt]).random(len(names))
        return dict(zip(names, drawn.tolist(), strict=True))

    def record(self) -> None:
        """Nothing: the seed says it all."""

    def tell(self, results: Sequence[TrialResult]) -> None:
        """Nothing is learned."""


class QuasiRandomProposals(RandomProposals):
    """Draws that lie evenly: the points of a scrambled Sobol sequence, one axis a dimension.

    Source: Sobol, On the distribution of points in a cube (1967); Owen, Scrambling Sobol and Niederreiter-Xing points
    (1998).
    """

    def shares(self, number: int, attempt: int) -> dict[str, float]:
        """The point of this number; another draw where that was proposed before."""
        if attempt:
            return super().shares(number, attempt)
        names = [axis.name for axis in self.space.all_axes]
        return dict(zip(names, _sobol(len(names), number, self.seed), strict=True))


def _sobol(dimensions: int, number: int, seed: int) -> list[float]:
    point: list[float] = _sobol_points(dimensions, max(number, 1).bit_length(), seed)[number]
    return point


@lru_cache(maxsize=4)
def _sobol_points(dimensions: int, power: int, seed: int) -> list[list[float]]:
    """The first 2^power points."""
    from scipy.stats import qmc  # takes a while to import

    points: list[list[float]] = qmc.Sobol(dimensions, scramble=True, rng=seed).random_base2(power).tolist()
    return points


def _noted(values: dict[str, Value], shares: Mapping[str, float], axis: Axis) -> Value:
    """The value at a share of an axis, kept under the axis's name."""
    values[axis.name] = axis.at(shares[axis.name])
    return values[axis.name]
