"""The figure of a recipe's theory: where it stands between order and chaos, and what that makes of its norms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.report.figures.style import GREY, OKABE_ITO, look
from fanin.theory.chain import ChainLaw
from fanin.theory.gaussian_maps import Activation
from fanin.theory.log_law import LogLaw
from fanin.theory.phase import FixedPoint, NoCriticalPoint, critical_point, fixed_point

RED_BLUE: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1, "shading": "nearest"}

POINTS = 25
"""Of each axis of the phase diagram."""


def draw_phase(
    activation: Activation, point: FixedPoint, critical: FixedPoint | NoCriticalPoint, law: ChainLaw, path: Path
) -> None:
    """Draw chi_perp over weight and bias variance with the recipe as a point, and its norms over depth with bands.

    Args:
        activation: phi.
        point: the recipe's.
        critical: the critical point at its bias variance.
        law: of its layers.
        path: where to save; its ending says the format.

    Raises:
        OSError: a place that cannot be written.
    """
    with look():
        figure = Figure(figsize=(12, 4), layout="constrained")
        diagram, norms, gradients = figure.subplots(1, 3)
        phase_panel(diagram, activation, point, critical)
        _profile(norms, law.post, "||x|| of one example")
        _profile(gradients, law.gradient, "||dL/dW||, against the last layer's")
        figure.savefig(path)


def phase_panel(axes: Axes, activation: Activation, point: FixedPoint, critical: FixedPoint | NoCriticalPoint) -> None:
    """chi_perp over weight and bias variance, the critical line, and a recipe as a point."""
    middle = critical.variance if isinstance(critical, FixedPoint) else point.variance
    variances = np.linspace(0, 2 * max(middle, point.variance), POINTS + 1)[1:]
    biases = np.linspace(0, max(4 * point.bias_variance, 0.2), POINTS)
    chi = np.array([[fixed_point(activation, float(v), float(s)).chi_perp for v in variances] for s in biases])
    shown = axes.pcolormesh(variances, biases, np.clip(np.log(chi), -1, 1), **RED_BLUE)
    axes.figure.colorbar(shown, ax=axes, label="ln chi_perp (clipped at -1 and 1)")
    found = [(critical_point(activation, float(s)), float(s)) for s in biases[-1] * np.linspace(0, 1, POINTS) ** 3]
    line = [(one.variance, s) for one, s in found if isinstance(one, FixedPoint) and one.variance <= variances[-1]]
    if len(line) > 1:
        axes.plot(*zip(*line, strict=True), color="black", label="critical: chi_perp = 1")
    axes.plot(point.variance, point.bias_variance, "o", color=OKABE_ITO[0], markeredgecolor="black", clip_on=False,
              label=f"this recipe: {point.phase}", zorder=3)  # fmt: skip
    axes.set(xlabel="weight variance, fan_in Var W", ylabel="bias variance", title="order (blue) and chaos (red)")
    axes.legend(loc="upper left", fontsize="small")


def _profile(axes: Axes, laws: Sequence[LogLaw], title: str) -> None:
    layers = np.arange(1, len(laws) + 1)
    low, one, median, other, high = np.exp(np.clip(np.array([law.quantiles for law in laws]).T / 2, -700, 700))
    axes.fill_between(layers, low, high, color=GREY, alpha=0.2, linewidth=0, label="2.5 to 97.5 %")
    axes.fill_between(layers, one, other, color=GREY, alpha=0.4, linewidth=0, label="16 to 84 %")
    axes.plot(layers, median, color="black", label="median")
    square = np.exp(np.clip(np.array([law.log_mean_square for law in laws]) / 2, -700, 700))
    axes.plot(layers, square, color="black", linestyle="--", linewidth=1, label="root of the mean square")
    axes.set(xlabel="weight layer", yscale="log", title=title)
    axes.legend(fontsize="small")
