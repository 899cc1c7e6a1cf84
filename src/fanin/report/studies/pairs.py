"""Runs that differ in one choice, seed by seed, and the statistics of their differences.

A claim's bound, where theory gives none, lies half way, in logarithms, between no effect and the least that any run or
pair of the studies' pilot had: ten seeds, 100 to 109, that neither the studies nor their tests use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fanin.report.read.configurations import canonical
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats
from fanin.report.statistics import Paired, paired
from fanin.report.studies.base import Evidence

Pair = tuple[Run, Run]

LEAST_SEEDS = 3
"""Seeds from which a claim about differences is judged: the interval of two is t = 12.7 of their deviations wide, that
of three 4.3, and the studies have three."""

MOST = 0.9
"""The share of runs or pairs that a claim about all of them asks for: one in ten may be stray."""


def by_seed(evidence: Evidence, choices: Mapping[str, Any]) -> dict[str, Run]:
    """The ended runs with these values, by seed; the first where a seed has several."""
    found: dict[str, Run] = {}
    for run in evidence.runs_with(choices):
        found.setdefault(canonical(run.seed), run)
    return found


def pairs(evidence: Evidence, one: Mapping[str, Any], other: Mapping[str, Any], *over: str) -> list[Pair]:
    """Each run with the values `one` and its partner with the values `other`.

    Args:
        evidence: of the study.
        one, other: values by key, as for `runs_with`.
        over: further keys that are swept, in whose values partners agree, as they do in their seed.
    """
    cases: list[dict[str, Any]] = [{}]
    for key in over:
        cases = [{**case, key: value} for case in cases for value in evidence.values(key)]
    found: list[Pair] = []
    for case in cases:
        first, second = by_seed(evidence, {**case, **one}), by_seed(evidence, {**case, **other})
        found += [(run, second[seed]) for seed, run in first.items() if seed in second]
    return found


def gaps(some: Sequence[Pair], of: Callable[[Run], float | None]) -> list[float]:
    """First less second of a number of each run, for the pairs in which both are finite."""
    both = [(of(first), of(second)) for first, second in some]
    return [a - b for a, b in both if a is not None and b is not None and math.isfinite(a) and math.isfinite(b)]


def differences(some: Sequence[Pair], of: Callable[[Run], float | None]) -> Paired | None:
    """What the differences, first less second, of a number of each run say over seeds.

    Pairs of one seed, such as those of two optimizers, share their first weights and count as one: their mean. None for
    fewer than LEAST_SEEDS seeds.
    """
    by_seed: dict[str, list[Pair]] = {}
    for pair in some:
        by_seed.setdefault(canonical(pair[0].seed), []).append(pair)
    means = [sum(found) / len(found) for one in by_seed.values() if (found := gaps(one, of))]
    return paired(means) if len(means) >= LEAST_SEEDS else None


def nearly_all(values: Sequence[float], right: Callable[[float], bool]) -> bool:
    """Whether MOST of the values, and at least one, are right.

    >>> nearly_all([-1.0] * 9 + [2.0], lambda gap: gap < 0), nearly_all([], lambda gap: True)
    (True, False)
    """
    return bool(values) and sum(map(right, values)) >= MOST * len(values)


def tally(values: Sequence[float], right: Callable[[float], bool]) -> str:
    """How many of the values are right: "5 of 6 pairs"."""
    return f"{sum(map(right, values))} of {len(values)} pairs"


def relative_gap(evidence: Evidence, one: Run, other: Run) -> tuple[Floats, Floats]:
    """Steps that both have, and |f_1 - f_2| / f_1 there: losses over the whole training part, else of the batches."""
    column = "train_loss" if len(evidence.curve(one, "train_loss")[0]) > 1 else "batch_loss"
    values = [dict(zip(*evidence.curve(run, column), strict=True)) for run in (one, other)]
    steps = sorted(values[0].keys() & values[1].keys())
    first, second = (np.array([value[step] for step in steps]) for value in values)
    return np.array(steps), np.abs(first - second) / np.maximum(first, np.finfo(float).tiny)


def number(name: str, of: Callable[[float], float] = lambda value: value) -> Callable[[Run], float | None]:
    """A function that reads a number of a run's result, maybe transformed, such as by a logarithm."""

    def read(run: Run) -> float | None:
        value = run.numbers.get(name)
        return None if value is None else of(value)

    return read


def batch_loss(
    evidence: Evidence, batches: int, of: Callable[[float], float] = lambda value: value
) -> Callable[[Run], float | None]:
    """A function that reads the mean loss of a run's last training batches, so many or a row more, maybe transformed.

    In training mode: with dropout's masks and what is done to the batches' inputs.
    """

    def read(run: Run) -> float | None:
        steps, losses = evidence.curve(run, "batch_loss")
        last = losses[steps > steps[-1] - batches] if len(steps) else losses
        return of(float(last.mean())) if len(last) else None

    return read


def log(value: float) -> float:
    """The natural logarithm; nan where there is none.

    >>> log(1.0), log(0.0)
    (0.0, nan)
    """
    return math.log(value) if value > 0 else math.nan


def told(one: Paired, unit: str = "", scale: float = 1.0) -> str:
    """A mean difference with its 95 % interval: "-8.5 points [-11, -6]"."""
    mean, low, high = (f"{scale * value:+.2g}" for value in (one.mean, one.low, one.high))
    return f"{mean}{unit} [{low}, {high}]"


def factor(one: Paired) -> str:
    """A mean difference of logarithms as a factor, with its interval: "x 0.4 [0.3, 0.5]"."""
    mean, low, high = (f"{math.exp(min(value, 700)):.2g}" for value in (one.mean, one.low, one.high))
    return f"x {mean} [{low}, {high}]"
