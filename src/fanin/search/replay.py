"""A search replayed on a table of runs: what it would have found, had it trained them itself.

A run that is paused is to the bit what it is without a pause. So the values that a search sees on its rungs stand in
the curves of runs that went to their end, and all that it decides from them is decided here by the same code.

Source: Klein and Hutter, Tabular benchmarks for joint architecture and hyperparameter optimization (2019); Ying et al.,
NAS-Bench-101 (2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from fanin.record.search_files import RungRow
from fanin.search.methods import unwritten
from fanin.search.random_proposals import Job, Proposer, TrialResult
from fanin.search.rung_results import by_trial, halved, mean_values, raced, ranked, result_of
from fanin.search.schedule import Bracket, Rung
from fanin.search.settings import DEFAULTS, Settings
from fanin.search.space import Axis, Space

Place = tuple[int, ...]
"""Of a configuration: which value it has on each axis."""


@dataclass(frozen=True)
class Course:
    """A run of the table: its metric by the steps at which it was measured, and its test error at its end."""

    values: Mapping[int, float]
    test: float

    def at(self, steps: int) -> float:
        """The metric after so many steps, infinite where the run did not come so far."""
        return self.values.get(steps, math.inf)


@dataclass(frozen=True)
class Table:
    """Every configuration of a space, run at every seed.

    Args:
        axes: those of the space: integers count the values of a key of numbers in order, choices those of others.
        courses: of each configuration at each seed.
        seeds: of all.
        steps: R, of a whole run.
    """

    axes: tuple[Axis, ...]
    courses: Mapping[tuple[Place, int], Course]
    seeds: tuple[int, ...]
    steps: int

    def place(self, job: Job) -> Place:
        """Where a configuration lies."""
        values = dict(word.split("=") for word in job)
        return tuple(int(values[axis.key]) for axis in self.axes)

    def seeds_from(self, repetition: int, count: int) -> list[int]:
        """The seeds of a repetition: its own, and those that follow it."""
        return [self.seeds[(repetition + more) % len(self.seeds)] for more in range(count)]


@dataclass
class GridProposals:
    """A grid of at most so many configurations: every second, fourth, ... value of each axis, in any order.

    Where the first value lies, and the order, are the repetition's.

    Args:
        table: whose values they are.
        most: configurations.
        seed: of the repetition.
    """

    table: Table
    most: int
    seed: int
    rest: list[Place] = field(init=False)
    proposed: int = 0

    def __post_init__(self) -> None:
        counts = [int(axis.count) for axis in self.table.axes]
        strides = [1] * len(counts)
        while math.prod(map(_ceil, counts, strides)) > self.most:
            longest = max(range(len(counts)), key=lambda axis: counts[axis] / strides[axis])
            strides[longest] *= 2
        random = np.random.default_rng(self.seed)
        starts = [int(random.integers(min(stride, count))) for stride, count in zip(strides, counts, strict=True)]
        ranges = [range(*one) for one in zip(starts, counts, strides, strict=True)]
        places = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, len(counts))
        self.rest = [tuple(map(int, place)) for place in random.permutation(places)]

    def propose(self, count: int) -> dict[int, Job]:
        """The next of the grid."""
        taken, self.rest = self.rest[:count], self.rest[count:]
        first, self.proposed = self.proposed, self.proposed + len(taken)
        keys = [axis.key for axis in self.table.axes]
        return {
            number: [f"{key}={value}" for key, value in zip(keys, place, strict=True)]
            for number, place in enumerate(taken, first)
        }

    def record(self) -> None:
        """Nothing is written."""

    def tell(self, results: Sequence[TrialResult]) -> None:
        """Nothing is learned."""


@dataclass
class Found:
    """What a search came to.

    Attributes:
        steps, best: after so many steps in all, the best metric of a whole run so far.
        place: of the configuration that it ends with.
        value: its metric as the search saw it, a mean over the seeds of a race.
        tests: its test error at those seeds.
        spent: steps in all.
        configurations: that were begun.
    """

    steps: list[int] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    place: Place | None = None
    value: float = math.inf
    tests: list[float] = field(default_factory=list)
    spent: int = 0
    configurations: int = 0

    def reached(self, value: float) -> float:
        """The steps after which it was as good as that, infinite where it never was."""
        return next((steps for steps, best in zip(self.steps, self.best, strict=True) if best <= value), math.inf)


@dataclass
class Replay:
    """One search, once.

    Args:
        table: its runs.
        settings: of the search; it goes on, bracket after bracket, until its steps are spent.
        proposer: proposes.
        seeds: of each configuration.
        budget: steps in all; a run that is trained on, or proposed again, costs what is added alone.
    """

    table: Table
    settings: Settings
    proposer: Proposer
    seeds: Sequence[int]
    budget: int
    found: Found = field(default_factory=Found)
    trained: dict[tuple[Place, int], int] = field(default_factory=dict)
    furthest: Fraction = Fraction(0)

    def run(self) -> Found:
        """Search until the steps are spent or nothing is left to propose."""
        while True:
            for bracket in self.settings.brackets(self.table.steps):
                if not self.climb(bracket):
                    return self.found

    def climb(self, bracket: Bracket) -> bool:
        """One bracket; false where the search is over."""
        jobs = self.proposer.propose(bracket.count)
        places = {trial: self.table.place(job) for trial, job in jobs.items()}
        alive, rows = dict(places), list[RungRow]()
        first = bracket.rungs[0]
        if cut := self.too_many(alive, first):
            alive = dict(list(alive.items())[: len(alive) - cut])
        for index, rung in enumerate(bracket.rungs):
            if not alive or self.too_many(alive, rung):  # what cannot be paid is not begun
                break
            here = self.rung(bracket.number, index, rung, alive)
            rows += here
            following = bracket.rungs[index + 1] if index + 1 < len(bracket.rungs) else None
            leave = self.leaving(here, following)
            alive = {trial: place for trial, place in alive.items() if trial not in leave}
        told = by_trial(rows)
        if len(told) < bracket.count:
            return False
        self.proposer.tell([result_of(trial, own) for trial, own in told.items()])
        return self.found.spent < self.budget

    def cost(self, place: Place, rung: Rung) -> int:
        """The steps that a rung adds to a configuration."""
        ends = round(self.table.steps * rung.share)
        return sum(max(0, ends - self.trained.get((place, seed), 0)) for seed in self.seeds[: rung.seeds])

    def too_many(self, alive: Mapping[int, Place], rung: Rung) -> int:
        """So many of them, the last ones, would cost more than is left."""
        spent, seen = self.found.spent, set[Place]()
        for number, place in enumerate(alive.values()):
            spent += 0 if place in seen else self.cost(place, rung)
            seen.add(place)
            if spent > self.budget:
                return len(alive) - number
        return 0

    def rung(self, bracket: int, index: int, rung: Rung, alive: Mapping[int, Place]) -> list[RungRow]:
        """Train to a rung: its rows, and what was found."""
        ends, rows = round(self.table.steps * rung.share), list[RungRow]()
        state = "done" if rung.share == 1 else "paused"
        for trial, place in alive.items():
            self.found.spent += self.cost(place, rung)
            own = []
            for seed in self.seeds[: rung.seeds]:
                self.trained[place, seed] = max(ends, self.trained.get((place, seed), 0))
                value = self.table.courses[place, seed].at(ends)
                own.append(RungRow(bracket, index, trial, "", seed, ends, (value,), state))
            rows += own
            self.note(place, own, rung)
        return rows

    def note(self, place: Place, rows: Sequence[RungRow], rung: Rung) -> None:
        """Keep a configuration that is the best of those that went as far."""
        value = mean_values(rows)[0]
        if rung.share > self.furthest or (rung.share == self.furthest and value < self.found.value):
            self.furthest, self.found.value, self.found.place = rung.share, value, place
            self.found.tests = [self.table.courses[place, row.seed].test for row in rows]
        self.found.configurations = len({one for one, _ in self.trained})
        if rung.share == 1:
            self.found.steps.append(self.found.spent)
            self.found.best.append(self.found.value)

    def leaving(self, rows: Sequence[RungRow], following: Rung | None) -> set[int]:
        """Who is left behind before the following rung, as in a search."""
        if following is None:
            return set()
        lost = {row.trial for row in rows} - {trial for _, trial in ranked(rows, 1)}
        if self.settings.budget == "racing":
            return lost | set(raced(rows, self.settings.level, 1, self.settings.test))
        return lost | set(halved(rows, following.keep, 1))


def replay_of(table: Table, settings: Settings | None, budget: int, repetition: int) -> Replay:
    """A search on a table.

    Args:
        table: of runs.
        settings: None for a grid.
        budget: steps.
        repetition: its number is the seed of what is proposed, and chooses the seed of the runs.

    Raises:
        UserError: the method needs Optuna, which is not installed.
    """
    space = Space(list(table.axes), [], [], [])
    if settings is None:
        settings = Settings.of(DEFAULTS)
        grid = GridProposals(table, budget // table.steps, repetition)
        return Replay(table, settings, grid, table.seeds_from(repetition, 1), budget)
    proposer = unwritten(settings, space, repetition)
    return Replay(table, settings, proposer, table.seeds_from(repetition, settings.seeds), budget)


def _ceil(count: int, stride: int) -> int:
    return -(-count // stride)


def axes_of(values: Mapping[str, Sequence[object]]) -> Iterator[Axis]:
    """The axes of a table by the values of its keys, of which numbers are in order."""
    for key, these in values.items():
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in these):
            yield Axis(key, "int", 0, len(these) - 1)
        else:
            yield Axis(key, "choice", choices=tuple(map(str, range(len(these)))))
