"""What the studies' figures have in common: colours by option, curves of runs, legends of their own."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from fanin.report.figures import steps
from fanin.report.figures.encoding import entry as entry
from fanin.report.figures.lines import draw_steps
from fanin.report.figures.style import OKABE_ITO, Sheet
from fanin.report.figures.ticks import PlainLog
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats
from fanin.report.studies.base import Evidence

Option = TypeVar("Option", bound=Hashable)
DOTS = (0, (1, 1.5))
DASHES = (0, (4, 2.2))


def colours_of(options: Sequence[Option]) -> dict[Option, str]:
    """A colour for each option; past seven they come again."""
    return {option: OKABE_ITO[i % len(OKABE_ITO)] for i, option in enumerate(options)}


def draw_curves(axes: Axes, evidence: Evidence, runs: Sequence[Run], column: str, colour: str) -> None:
    """A column of metrics.csv over steps: a thin line for each run, a thick one for their mean."""
    at, values = evidence.metrics.matrix([evidence.position(run) for run in runs], column)
    draw_steps(axes, at, np.where(np.isfinite(values), values, np.nan), colour)


def chance_level(evidence: Evidence) -> tuple[int, float] | None:
    """K and ln K, the cross-entropy of guessing among K classes, where the runs tell K."""
    classes = next((run.classes for run in evidence.runs if run.classes), None)
    return (classes, math.log(classes)) if classes and classes > 1 else None


def draw_chance(axes: Axes, evidence: Evidence) -> None:
    """A dotted line at ln K, named to the right of the panel."""
    if chance := chance_level(evidence):
        steps.draw_chance(axes, chance[1])


def own_legend(sheet: Sheet, figure: Figure, axes: Sequence[Axes], handles: Sequence[Artist]) -> None:
    """A legend of these entries below the panels instead of the configurations' colours."""
    Sheet(sheet.title, sheet.setting, ()).legend(figure, axes, handles)


def draw_points(axes: Axes, points: Sequence[tuple[float, float]], colour: str, **style: object) -> None:
    """Points (x, y) of single runs as dots, and a line through their means at each x; the style is the line's."""
    if not points:
        return
    x, y = np.array(sorted(points)).T
    axes.plot(x, y, "o", ms=3.2, color=colour, alpha=0.55, mew=0, zorder=2.5)
    places = np.unique(x)
    means = [float(y[x == place].mean()) for place in places]
    line: dict[str, object] = {"lw": 1.5, "zorder": 3} | style
    axes.plot(places, means, color=colour, **line)  # type: ignore[arg-type]


def draw_heat(
    figure: Figure, axes: Axes, x: Sequence[float], y: Sequence[float], values: Floats, label: str,
    middle: float | None = None,
) -> None:  # fmt: skip
    """Values on a grid as colours.

    Args:
        figure, axes: where; y is logarithmic if its places each double.
        x, y: the grid's places, each sorted; at least one.
        values: [len(y), len(x)], nan where there is none.
        label: of the colours' scale.
        middle: > 0 for positive values: logarithmic, blue below, white there, red above; None for shares of 1: light is
            small.
    """
    style: dict[str, Any] = {"cmap": "YlGnBu", "vmin": 0.0, "vmax": 1.0}
    if middle is not None:
        finite = np.abs(np.log(values[np.isfinite(values) & (values > 0)] / middle))
        reach = math.exp(max(float(finite.max(initial=0.0)), 1e-3))
        style = {"cmap": "RdBu_r", "norm": LogNorm(middle / reach, middle * reach)}
    doubles = len(y) > 1 and all(two == 2 * one for one, two in pairwise(y))
    rows = np.exp(_edges(np.log(y))) if doubles else _edges(y)
    shown = axes.pcolormesh(_edges(x), rows, values, edgecolors="white", lw=0.4, **style)
    axes.grid(visible=False)
    if doubles:
        axes.set_yscale("log", base=2)
        axes.set_yticks(y, [f"{place:g}" for place in y], minor=False)
    bar = figure.colorbar(shown, ax=axes, label=label, pad=0.02)
    if middle is not None:
        bar.ax.yaxis.set_major_formatter(PlainLog())
        bar.ax.yaxis.set_minor_formatter(PlainLog(minor_thresholds=(1.5, 0.4)))


def _edges(places: Sequence[float] | Floats) -> Floats:
    """Bounds of cells around places, half way between neighbours."""
    at = np.asarray(places, float)
    if len(at) == 1:
        return np.array([at[0] - 0.5, at[0] + 0.5])
    between = (at[1:] + at[:-1]) / 2
    return np.concatenate([[2 * at[0] - between[0]], between, [2 * at[-1] - between[-1]]])
