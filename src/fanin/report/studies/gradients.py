"""Gradient norms over depth at initialization: the factor of a layer, how far it may stray, and the curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes

from fanin.report.figures.lines import draw_profile
from fanin.report.figures.style import darker
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats
from fanin.report.studies.base import Evidence, number
from fanin.report.studies.drawing import DASHES

Norms = Callable[[Evidence, Run], Floats]
"""The norms of a run at init over its weight layers, [layers]."""


def weight_gradients(evidence: Evidence, run: Run) -> Floats:
    """|dL/dW_l|, whose sum over the batch depends on how alike the examples are at each depth."""
    return evidence.profile(run, "init", "weight", "gradient_norm")


def errors(evidence: Evidence, run: Run) -> Floats:
    """|dL/dz_l|, z_l the output of weight layer l, for the whole batch: what flows back, example by example.

    Of a chain, whose L layers but the last are followed by the same number of modules each.
    """
    flow = evidence.profile(run, "init", "module", "activation_gradient_norm")  # the first is the input's, and has none
    layers = len(weight_gradients(evidence, run))
    each, rest = divmod(len(flow) - 2, max(layers - 1, 1))
    return flow[1::each] if layers > 1 and each > 0 and not rest else flow[:0]


def gradient_factor(evidence: Evidence, run: Run, ends: int, norms_of: Norms = weight_gradients) -> float | None:
    """Geometric mean over layers of a norm over that one layer above, at init: above 1 where gradients grow downwards.

    Args:
        evidence: of which the run is.
        run: one whose profile at init was taken.
        ends: layers left out at either end: the first has another fan-in, the last another fan-out.
        norms_of: which norms.

    Returns:
        the factor; None if fewer than two norms are left, or one of them is 0 or not finite.
    """
    norms = norms_of(evidence, run)
    norms = norms[ends : len(norms) - ends]
    if len(norms) < 2 or not np.isfinite(norms).all() or not (norms > 0).all():
        return None
    return float((norms[0] / norms[-1]) ** (1 / (len(norms) - 1)))


def growth_slack(width: float, steps: float) -> float:
    """How far ln gradient_factor may stray from its law at finite width: three standard deviations.

    A layer of `width` ReLU units with weights N(0, 2/n) changes a squared norm by sum_k 2 g_k^2 / n over the n/2 units
    that are on: mean 1, variance 5/n, so that the logarithm of the norm varies by sqrt(5/n)/2. A weight's gradient is
    the product of the error behind it and the activation before it, sqrt(2) times that at most, and the mean of k
    steps varies by 1/sqrt(k) of one. Smooth activations vary less.

    Args:
        width: n, units a layer.
        steps: k, from one layer to the next.

    >>> round(growth_slack(50, steps=1), 4), round(growth_slack(50, steps=9), 4)
    (0.6708, 0.2236)
    """
    return 3 * math.sqrt(2) * math.sqrt(5 / width) / 2 / math.sqrt(steps)


def slack_of(run: Run, ends: int) -> float:
    """growth_slack of the run's width and of the layers that gradient_factor averages over."""
    width, depth = _width(run), number(run, "model.depth")
    return growth_slack(width, depth - 2 * ends - 1) if width and depth else math.nan


def _width(run: Run) -> float | None:
    """Units a layer; of a list of widths their harmonic mean, for what varies goes with the mean of 1/n."""
    listed = run.value("model.width")
    if isinstance(listed, list) and listed and all(isinstance(one, int) and one > 0 for one in listed):
        return len(listed) / sum(1 / int(one) for one in listed)
    return number(run, "model.width")


def error_slack(run: Run, ends: int, fourth: float) -> float:
    """How far ln of the squared errors' factor may stray from its law at finite width: four standard deviations.

    A layer of n units with normal weights multiplies ||dL/dz||^2 of one example by a mean of n independent terms
    phi'(z)^2 h^2, h normal: its logarithm varies by (3 E phi'^4 / (E phi'^2)^2 - 1)/n, that of a mean over k steps by
    1/k of it.

    Args:
        run: whose width and depth count.
        ends: layers left out, as gradient_factor leaves them out.
        fourth: E phi'^4 / (E phi'^2)^2: 2 for ReLU, 1 for a linear net.
    """
    width, depth = _width(run), number(run, "model.depth")
    return 4 * math.sqrt((3 * fourth - 1) / width / (depth - 2 * ends - 1)) if width and depth else math.nan


def draw_gradients(
    axes: Axes, evidence: Evidence, runs: Sequence[Run], colour: str, factor: float | None,
    norms_of: Norms = weight_gradients,
) -> None:  # fmt: skip
    """Norms over weight layers at init, and dashed those of a constant factor a layer, from the last layer on."""
    rows = [norms_of(evidence, run) for run in runs]
    depth = max((len(row) for row in rows), default=0)
    if not depth:
        return
    values = np.array([np.pad(row, (0, depth - len(row)), constant_values=np.nan) for row in rows])
    draw_profile(axes, values, np.array([len(row) for row in rows]), colour, seeds=len(rows), log=True)
    level = float(np.nanmedian(values[:, -1]))
    if factor is not None and level > 0:
        layers = np.arange(1, depth + 1)
        axes.plot(layers, level * factor ** (depth - layers), ls=DASHES, color=darker(colour), lw=0.9, zorder=3.5)
