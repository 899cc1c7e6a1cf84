"""Histograms over the steps of training as ridges: a curve for each step, the last in front."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.report.figures.encoding import plain
from fanin.report.figures.style import Panel, Sheet
from fanin.report.read.histograms import Histogram, Layers
from fanin.report.read.series import Floats

MOST_STEPS = 12
MOST_LAYERS = 6
T = TypeVar("T")
OVERLAP = 1.8
"""How many steps apart the highest point of a ridge lies above its foot."""

WITHIN = (0.005, 0.995)
"""The quantiles, over all steps, that the axis shows."""


def ridges_figure(sheet: Sheet, found: dict[str, Layers]) -> Figure | None:
    """A column for each of activations, weights and gradients, a row for each layer; some of them where many."""
    kinds = [of for of in ("activations", "weights", "gradients") if of in found]
    layers = sorted({place for of in kinds for place in found[of]})
    chosen = some(layers, MOST_LAYERS)
    if not kinds or not chosen:
        return None
    drawn = [
        Panel(partial(ridges_panel, histograms=found[of][layer]), plain(f"{of}: {layer[1]}", 40), of[:-1], "step")
        if layer in found[of]
        else None
        for layer in chosen
        for of in kinds
    ]
    return sheet.panels(drawn, len(kinds), 1.0 + 3.4 * len(kinds), 0.7 + 2.3 * len(chosen))[0]


def ridges_panel(axes: Axes, histograms: Sequence[Histogram]) -> None:
    """The densities of one layer, a ridge for each step, each as high as the others.

    A bin of more than twice the density of every other is cut there.
    """
    drawn = some(histograms, MOST_STEPS)
    colours = mpl.colormaps["viridis"](np.linspace(0.85, 0.1, len(drawn)))
    for place, (one, colour) in enumerate(zip(drawn, colours, strict=True)):
        density, foot = one.density, -place
        *_, second, top = np.sort(density)
        top = min(top, 2 * second) or top  # the bin of a ReLU's zeros would leave all others flat
        heights = foot + OVERLAP * (np.minimum(density / top, 1) if top > 0 else density)
        # Drawn from the back, the first step, to the front.
        axes.stairs(heights, one.edges, baseline=foot, fill=True, color=colour, alpha=0.85, zorder=2 + place)
        axes.stairs(heights, one.edges, baseline=foot, color="white", lw=0.6, zorder=2.5 + place)
    axes.set_yticks([-place for place in range(len(drawn))], [str(one.step) for one in drawn])
    axes.set_ylim(-len(drawn) + 0.8, OVERLAP + 0.2)
    axes.set_xlim(*limits(drawn))
    axes.grid(visible=False, axis="x")


def limits(histograms: Sequence[Histogram]) -> tuple[float, float]:
    """The ends of an axis within which all but 0.5 % of the values lie on either side, at all steps."""
    low = min(_quantile(one, WITHIN[0]) for one in histograms)
    high = max(_quantile(one, WITHIN[1]) for one in histograms)
    margin = 0.03 * (high - low) or 0.5
    return low - margin, high + margin


def _quantile(one: Histogram, share: float) -> float:
    """A quantile of a histogram whose values lie evenly in their bins."""
    below: Floats = np.concatenate([[0.0], np.cumsum(one.counts)])
    return float(np.interp(share * below[-1], below, one.edges)) if below[-1] > 0 else float(one.edges[0])


def some(things: Sequence[T], most: int) -> list[T]:
    """Things at even distances, the first and the last among them."""
    if len(things) <= most:
        return list(things)
    return [things[i] for i in np.linspace(0, len(things) - 1, most).round().astype(int)]
