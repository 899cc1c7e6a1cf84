"""What a panel shows, read back from its axes: lines, points, intervals, bands and cells."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Floats = np.ndarray[Any, np.dtype[np.float64]]


def drawn(plot: Callable[..., Axes], *what: Any, **more: Any) -> Axes:
    """The panel of one of fanin.plots, on axes of its own."""
    axes = Figure().subplots()
    assert plot(*what, axes=axes, **more) is axes
    return axes


def points(line: Line2D) -> Floats:
    """[n, 2]."""
    return np.column_stack([np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)])


def lines(axes: Axes, marker: str | None = None) -> list[Floats]:
    """The lines with this marker, those of one point too; those without one for "None"."""
    return [points(line) for line in axes.get_lines() if marker in (None, line.get_marker() or "None")]


def intervals(axes: Axes) -> dict[float, tuple[float, float]]:
    """The level lines, from and to, by their height."""
    level = [one for one in lines(axes, "None") if len(one) == 2 and one[0, 1] == one[1, 1]]
    return {one[0, 1]: (one[0, 0], one[1, 0]) for one in level}


def rows(axes: Axes, marker: str = "D") -> Floats:
    """The places of single marks on the x axis, from the top to the bottom of the axis."""
    marks = sorted((one[0, 1], one[0, 0]) for one in lines(axes, marker) if len(one) == 1)
    return np.array([x for _, x in marks])


def names(axes: Axes) -> list[str]:
    """The labels of the y axis, from 0 on."""
    return [text.get_text() for text in axes.get_yticklabels()]


def cells(axes: Axes) -> Floats:
    """The numbers of the panel's heat map."""
    meshes = [one for one in axes.collections if isinstance(one, QuadMesh)]
    (found,) = [*axes.get_images(), *meshes]
    return np.ma.filled(np.ma.asarray(found.get_array(), float), np.nan)


def scattered(axes: Axes) -> Floats:
    """[n, 2]: the points of the panel's cloud."""
    (cloud,) = [one for one in axes.collections if isinstance(one, PathCollection)]
    return np.asarray(cloud.get_offsets(), float)


def bands(axes: Axes) -> list[tuple[Floats, Floats, Floats]]:
    """x, low and high of every band."""
    found = []
    for one in axes.collections:
        if isinstance(one, PolyCollection):
            corners = np.asarray(one.get_paths()[0].vertices, float)
            x = np.unique(corners[:, 0])
            heights = [corners[corners[:, 0] == at, 1] for at in x]
            found.append((x, np.array([h.min() for h in heights]), np.array([h.max() for h in heights])))
    return found


def tick_labels(figure: Figure) -> list[str]:
    """The words at all ticks of a figure's axes, small ones and those of colour bars too."""
    axes = [axis for place in figure.axes if place.axison for axis in (place.xaxis, place.yaxis)]
    labels = [label for axis in axes for label in axis.get_ticklabels(which="both")]
    return [label.get_text() for label in labels if label.get_text()]


def too_long(label: str) -> bool:
    """Whether a tick's label is a number of more than four characters, or set as a formula; words are not judged."""
    number = re.fullmatch(r"[-+−]?([\d.,]+(e[-+−]?\d+)?)\s*%?[kMG]?", label)
    return "$" in label or (number is not None and len(number[0].lstrip("-−").rstrip(" %")) > 4)
