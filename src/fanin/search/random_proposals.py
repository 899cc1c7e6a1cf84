"""Random search: every configuration is drawn by itself, from the search's seed and its own number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
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

    Source: Bergstra and Bengio, Random search for hyper-parameter optimization (2012).
    """

    space: Space
    seed: int
    count: int = 0
    seen: set[tuple[str, ...]] = field(default_factory=set)

    def propose(self, count: int) -> dict[int, Job]:
        """The next configurations by their numbers; fewer where the space holds no more."""
        jobs: dict[int, Job] = {}
        while len(jobs) < count and (job := self.draw(self.count)) is not None:
            jobs[self.count] = job
            self.seen.add(tuple(sorted(job)))
            self.count += 1
        return jobs

    def draw(self, number: int) -> Job | None:
        """A configuration that has not been proposed; None where none is found."""
        for attempt in range(ATTEMPTS):
            generator = np.random.default_rng([self.seed, number, attempt])
            job = self.space.job(lambda axis: drawn(axis, generator))  # noqa: B023 (asked at once)
            if tuple(sorted(job)) not in self.seen:
                return job
        return None

    def record(self) -> None:
        """Nothing: the seed says it all."""

    def tell(self, results: Sequence[TrialResult]) -> None:
        """Nothing is learned."""


def drawn(axis: Axis, generator: np.random.Generator) -> Value:
    """A value of an axis: uniform, or uniform in its logarithm."""
    if axis.kind == "choice":
        return axis.choices[int(generator.integers(len(axis.choices)))]
    assert axis.low is not None
    assert axis.high is not None
    if axis.step is not None:
        value = axis.low + axis.step * int(generator.integers(int(axis.count)))
        return int(value) if axis.kind == "int" else axis.rounded(value)
    if axis.kind == "int":
        if not axis.log:
            return int(generator.integers(int(axis.low), int(axis.high), endpoint=True))
        low, high = math.log(axis.low - 0.5), math.log(axis.high + 0.5)  # so that both ends have a full share
        whole = round(math.exp(generator.uniform(low, high)))
        return int(min(max(whole, axis.low), axis.high))
    if axis.log:
        return axis.rounded(math.exp(generator.uniform(math.log(axis.low), math.log(axis.high))))
    return axis.rounded(float(generator.uniform(axis.low, axis.high)))
