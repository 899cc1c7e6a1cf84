"""The runs of the noise reduction study: what is compared, and each run's loss over the whole training set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fanin.report.read.folders import Run
from fanin.report.read.series import Floats
from fanin.report.studies.base import Evidence

PLAIN = {"optimizer": "sgd", "batch": "constant", "averaging": "none"}
GROWING, AVERAGED = PLAIN | {"batch": "growing"}, PLAIN | {"averaging": "polyak"}
DEPTH = "model.depth"


@dataclass(frozen=True)
class Course:
    """How one run went: steps, and the loss over the whole training set above `lowest` at them."""

    run: Run
    steps: Floats
    above: Floats

    def level(self, start: float, end: float) -> float:
        """The geometric mean between two shares of the run."""
        last = self.steps[-1]
        some = self.above[(self.steps > start * last) & (self.steps <= end * last)]
        return float(np.exp(np.log(np.maximum(some, np.finfo(float).tiny)).mean())) if len(some) else float("nan")

    def line(self) -> tuple[float, float]:
        """Decades that a straight line through the logarithms loses in 1000 steps, and its R^2.

        Over the two middle quarters: what comes before is on its way to the minimum's neighbourhood, and what comes
        after is where the lowest loss itself, which stands for the minimum, may come from.
        """
        last = self.steps[-1]
        middle = (self.steps > 0.25 * last) & (self.steps <= 0.75 * last) & (self.above > 0)
        if middle.sum() < 3:
            return float("nan"), 0.0
        x, y = self.steps[middle], np.log10(self.above[middle])
        slope, start = np.polyfit(x, y, 1)
        rest = float(((y - slope * x - start) ** 2).sum() / max(((y - y.mean()) ** 2).sum(), np.finfo(float).tiny))
        return -1000 * float(slope), 1 - rest


def courses(evidence: Evidence, choices: Mapping[str, Any], lowest: float = 0.0) -> list[Course]:
    """The ended runs with these values that evaluated their whole training set; one row a step."""
    found = []
    for run in evidence.runs_with(choices):
        steps, loss = evidence.curve(run, "train_loss")
        start = int(run.value("averaging.start") or 0)  # before it the average is that of nothing
        steps, first = np.unique(steps, return_index=True)
        loss, kept = loss[first], steps > start
        if kept.sum() > 3:
            found.append(Course(run, steps[kept], loss[kept] - lowest))
    return found


def lowest_loss(evidence: Evidence) -> tuple[float, float] | None:
    """The lowest loss of any run on the convex problem, and how far above it the best of another run lies.

    Where two runs agree on it, it is the minimum, up to what they differ by: there is but one.
    """
    ends = sorted(float(course.above.min()) for course in courses(evidence, {DEPTH: 1}))
    return (ends[0], ends[1] - ends[0]) if len(ends) > 1 else None
