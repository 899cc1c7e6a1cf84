"""The curvature of the preprocessing study's quadratics, measured from runs that diverge."""

from __future__ import annotations

import math

import numpy as np

from fanin.report.read.folders import Run
from fanin.report.studies.base import Evidence, number

RATE = "optimizer.lr"
LAST = 3  # rows of a diverging loss that its growth is read from


def largest_curvature(evidence: Evidence, option: str) -> float | None:
    """h1 = (1 + sqrt g) / a of inputs preprocessed so, from the growth g of the loss in runs that diverge.

    The largest over all such runs under squared error: g is a mean over directions of (a h - 1)^2 and comes near the
    largest from below, the sooner the further it is ahead. None if there are none.
    """
    runs = [run for run in squared_runs(evidence, option) if run.state == "diverged"]
    found = [value for value in (_curvature(evidence, run) for run in runs) if value is not None]
    return max(found, default=None)


def _curvature(evidence: Evidence, run: Run) -> float | None:
    steps, losses = evidence.curve(run, "batch_loss")
    finite = np.isfinite(losses)
    steps, losses = steps[finite][-LAST:], losses[finite][-LAST:]
    rate = number(run, RATE)
    if not rate or len(steps) < 2 or not losses[-1] > losses[0] > 0:
        return None
    growth = (losses[-1] / losses[0]) ** (1 / (steps[-1] - steps[0]))
    return float((1 + math.sqrt(growth)) / rate)


def squared_runs(evidence: Evidence, option: str) -> list[Run]:
    """The ended runs under squared error with these inputs."""
    return evidence.runs_with({"preprocess": option, "loss": "squared"})
