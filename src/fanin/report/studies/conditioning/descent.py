"""Gradient descent on linear models: how fast it should converge, and how fast it does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fanin.report.read.folders import Run
from fanin.report.read.series import Floats
from fanin.report.studies.base import Evidence, number
from fanin.report.studies.spectra import spectrum


class Descent(NamedTuple):
    """Gradient descent on a linear model.

    Attributes:
        run: the run.
        condition: kappa.
        theory: the factor a step, max |1 - a l| over its curvatures l.
        measured: the same, from how the loss falls; None where it is there in too few steps.
        falls: the losses' differences from step to step.
    """

    run: Run
    condition: float
    theory: float
    measured: float | None
    falls: Floats


def descents(evidence: Evidence) -> list[Descent]:
    """Those at the best rate, up to a part in 1000."""
    found = []
    for run in evidence.runs_with({"model.depth": 1, "optimizer": "gd"}):
        values, rate = spectrum(run, last=False), number(run, "optimizer.lr")
        _, losses = evidence.curve(run, "batch_loss")
        if rate is None or len(values) < 2 or values[-1] <= 0 or len(losses) < 5:
            continue
        if abs(rate * (values[0] + values[-1]) / 2 - 1) > 1e-3:
            continue
        falls = -np.diff(losses)
        theory = float(np.abs(1 - rate * values).max())
        found.append(Descent(run, float(values[0] / values[-1]), theory, factor_of(losses, falls), falls))
    return found


def factor_of(losses: Floats, falls: Floats) -> float | None:
    """The square root of a fall over the one before, over the second half of those that rounding does not touch.

    f_t - f_(t+1) is a sum of squares of modes, each of which shrinks by its (1 - a l)^2.
    """
    known = np.flatnonzero(falls <= 1e-10 * losses[0])
    last = int(known[0]) - 1 if len(known) else len(falls) - 1
    first = last // 2
    return float((falls[last] / falls[first]) ** (0.5 / (last - first))) if last - first >= 20 else None
