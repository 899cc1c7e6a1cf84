"""The best value of a key for each option: for studies that give each option its own learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from fanin.report.read.folders import Run
from fanin.report.studies.base import Evidence


def best_value(evidence: Evidence, choices: Mapping[str, Any], key: str, metric: str = "train_loss") -> Any:
    """The value of a key whose runs with these choices end with the smallest mean of a metric.

    A value with a run that diverged or lacks the metric does not count; None if none is left.
    """
    means: dict[int, float] = {}
    values = evidence.values(key)
    for position, value in enumerate(values):
        runs = evidence.runs_with({**choices, key: value})
        numbers = [run.numbers.get(metric, math.nan) for run in runs]
        if numbers and all(run.state == "done" for run in runs) and all(map(math.isfinite, numbers)):
            means[position] = fmean(numbers)
    return values[min(means, key=lambda position: means[position])] if means else None


def best_runs(evidence: Evidence, choices: Mapping[str, Any], key: str, metric: str = "train_loss") -> list[Run]:
    """The runs with these choices and the best value of the key, see best_value; none where there is no best."""
    value = best_value(evidence, choices, key, metric)
    return [] if value is None else evidence.runs_with({**choices, key: value})
