"""Critical points of a network: their height and their index, the number of negative eigenvalues of the Hessian."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fanin.report.read.folders import Run
from fanin.report.studies.base import Evidence, number
from fanin.report.studies.spectra import spectrum

ROUNDING = 1e-9
"""An eigenvalue counts as negative below this share of the largest in size: of a symmetric matrix in float64 each is
known to some 1e-14 of that."""

STATIONARY = 1e-6
"""The largest norm of a gradient at a critical point. Newton's steps, which end the way there, leave 1e-9 and less."""


class Point(NamedTuple):
    """Where a run on a network has ended.

    Attributes:
        run: the run.
        height: its loss over the training part.
        negative: eigenvalues of the Hessian below 0.
        size: all of them.
        gradient: the norm of the gradient.
    """

    run: Run
    height: float
    negative: int
    size: int
    gradient: float

    @property
    def share(self) -> float:
        """Of negative eigenvalues."""
        return self.negative / self.size

    @property
    def critical(self) -> bool:
        """Whether the gradient is 0 but for rounding."""
        return self.gradient <= STATIONARY


def points_of(evidence: Evidence, optimizer: str) -> list[Point]:
    """Where the runs of an optimizer on a network have ended, those whose whole spectrum is known."""
    found = []
    for run in evidence.runs_with({"optimizer": optimizer}):
        values, (_, norms) = spectrum(run), evidence.look(run, "gradient_norm")
        height, wanted = run.numbers.get("train_loss"), number(run, "probe.curvature.k")
        if run.value("model") == "surface" or height is None or not len(norms) or wanted is None:
            continue
        if 2 < len(values) <= wanted and run.state == "done":
            index = int((values < -ROUNDING * np.abs(values).max()).sum())
            found.append(Point(run, height, index, len(values), float(norms[-1])))
    return found


def rank_correlation(points: list[Point]) -> float:
    """Spearman's, of index and height."""
    from scipy.stats import spearmanr

    return float(spearmanr([point.height for point in points], [point.share for point in points]).statistic)
