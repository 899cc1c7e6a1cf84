"""How many updates each side takes to a target, and its performance profile, as AlgoPerf scores.

Source: Dahl et al., Benchmarking neural network training algorithms (2023); Dolan and More, Benchmarking optimization
software with performance profiles (2002).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fanin.report.rank_statistics import blocks_of
from fanin.report.read.folders import Run, task_of
from fanin.report.read.series import METRICS, Metrics
from fanin.report.statistics import Floats

PARTS = ("val", "train", "batch")
NOTHING = np.empty(0), np.empty(0)
LARGEST_RATIO = 4.0
"""AlgoPerf's: a side that takes more than four times the updates of the best scores nothing."""


class TimeToTarget(NamedTuple):
    """Updates until a metric first is at its target, as logged; inf where a run never gets there.

    Attributes:
        column: of metrics.csv.
        targets: of each data set.
        steps: of each data set [runs, k].
        ratios: to the best side, of each block [blocks, k]; a block that no side gets through is inf for all.
    """

    column: str
    targets: list[float]
    steps: list[Floats]
    ratios: Floats

    @property
    def scores(self) -> Floats:
        """[k]: the area under the profile from 1 to 4, over 3: the mean over blocks of (4 - ratio) / 3 within 0, 1.

        Source: Dahl et al. (2023), section 4.4.
        """
        share = np.clip((LARGEST_RATIO - self.ratios) / (LARGEST_RATIO - 1), 0, 1)
        return np.asarray(share.mean(axis=0))


def time_to_target(strata: Sequence[Sequence[Sequence[Run]]], metric: str) -> TimeToTarget | None:
    """The updates of all runs to the target of their data set: the median of what the reference's runs end at.

    Args:
        strata: of each data set, for each block the run of each side, the reference's first.
        metric: what the sides are compared in: it, or else the validation, training or batch metric of its kind, is
            followed over steps.

    Returns:
        None where no such metric was logged at two steps or more of every run, or the reference never ends at a number.
    """
    runs = [run for stratum in strata for block in stratum for run in block]
    metrics, kind = Metrics(runs), "loss" if metric.endswith("_loss") or task_of(runs).percent is False else "error"
    for column in dict.fromkeys((metric, *(f"{part}_{kind}" for part in PARTS))):
        series = [metrics.series(i, column) if column in METRICS else NOTHING for i in range(len(runs))]
        if all(len(step) > 1 for (step, _), run in zip(series, runs, strict=True) if run.state == "done"):
            break
    else:
        return None
    targets, steps, rest = [], [], iter(series)
    for stratum in strata:
        own = [[next(rest) for _ in block] for block in stratum]
        ends = [value[-1] for (_, value), *_ in own if len(value) and math.isfinite(value[-1])]
        if not ends:
            return None
        targets.append(float(np.median(ends)))
        steps.append(np.array([[reached(*one, targets[-1]) for one in block] for block in own]))
    return TimeToTarget(column, targets, steps, ratios_of(blocks_of(steps)))


def reached(steps: Floats, values: Floats, target: float) -> float:
    """The first step at which a value is at the target or below; at least 1, inf if there is none.

    >>> reached(np.array([0.0, 10, 20]), np.array([2.3, 1.0, 0.5]), 1.0)
    10.0
    """
    there = steps[values <= target]
    return max(1.0, float(there[0])) if len(there) else math.inf


def ratios_of(steps: Floats) -> Floats:
    """[blocks, k] updates over those of the best side of each block.

    >>> ratios_of(np.array([[20.0, 10.0, np.inf], [np.inf] * 3])).tolist()
    [[2.0, 1.0, inf], [inf, inf, inf]]
    """
    best = steps.min(axis=1, keepdims=True)
    return np.where(np.isfinite(best), steps / np.where(np.isfinite(best), best, 1), np.inf)
