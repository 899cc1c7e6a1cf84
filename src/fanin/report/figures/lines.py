"""Drawing the curves of one configuration: a thin line per seed, a thick one for their mean, a mark where one ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_LINES = 300  # thin lines in one panel; more are neither to be told apart nor quick to draw
MOST_SEEDS = 8


def seeds_drawn(configurations: int) -> int:
    """How many seeds of each configuration get a line of their own over steps."""
    return max(1, min(MOST_SEEDS, MOST_LINES // max(1, configurations)))


def cloud_size(configurations: int) -> int:
    """How many seeds of each configuration get a line of their own over depth."""
    return max(1, MOST_LINES // max(1, configurations))


def mean_width(configurations: int) -> float:
    """The width of a mean's line in points; finer where there are many."""
    return 1.5 if configurations <= 12 else 0.8


def geometric_mean(values: Floats) -> Floats:
    """Column means [K] of [n, K] on a logarithmic scale over the positive finite values; nan where there are none."""
    return np.asarray(np.exp(_column_mean(np.log(positive(values)))))


def positive(values: Floats) -> Floats:
    """The values with nan for all that a logarithmic axis cannot show: 0, negative and not finite."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def mean_while_all(values: Floats, lengths: NDArray[np.intp], *, log: bool) -> Floats:
    """Column means, cut where the first run leaves the axis: the mean of the survivors would be another quantity."""
    shown = positive(values) if log else np.where(np.isfinite(values), values, np.nan)
    there = np.arange(values.shape[1]) < lengths[:, None]
    complete = (~np.isnan(shown) | ~there).all(axis=0) & there.any(axis=0)
    mean = geometric_mean(shown) if log else _column_mean(shown)
    # After a first gap nothing comes back.
    return np.where(np.logical_and.accumulate(complete), mean, np.nan)


def draw_profile(
    axes: Axes, values: Floats, lengths: NDArray[np.intp], colour: str, *, seeds: int, log: bool, **mean_style: Any
) -> None:
    """Draw one configuration over depth.

    Args:
        axes: the panel; a logarithmic y axis must have been set before.
        values: [runs, K], of which those beyond a run's length do not exist.
        lengths: number of layers of each run, [runs]; runs of length 0 were not measured.
        colour: of the configuration.
        seeds: thin lines at most.
        log: whether the y axis is logarithmic.
        mean_style: what the line of the mean has different from the usual.
    """
    values, lengths = values[lengths > 0], lengths[lengths > 0]
    if not len(values):
        return
    depth = np.arange(1, values.shape[1] + 1)
    shown = positive(values) if log else np.where(np.isfinite(values), values, np.nan)
    if len(values) > 1 and seeds > 1:
        draw_cloud(axes, depth, shown[:seeds], colour)
    line: dict[str, Any] = {"color": colour, "lw": 1.5, "zorder": 3, **mean_style}
    axes.plot(depth, mean_while_all(values, lengths, log=log), **line)
    marked = set()
    for row, raw, length in list(zip(shown, values, lengths, strict=True))[:seeds]:
        gaps = np.flatnonzero(np.isnan(row[:length]))
        if len(gaps) and (gap := int(gaps[0])) not in marked:
            marked.add(gap)
            mark_end(axes, depth[gap], row[gap - 1] if gap else None, colour, zero=bool(raw[gap] == 0))


def draw_cloud(axes: Axes, depth: NDArray[np.intp], rows: Floats, colour: str) -> None:
    """Draw a thin line for each row [n, K], the fainter the more there are; many of them as one artist."""
    if len(rows) <= MOST_SEEDS:
        axes.plot(depth, rows.T, color=colour, lw=0.6, alpha=0.4, zorder=2.2)
        return
    alpha = max(0.1, 0.4 * math.sqrt(MOST_SEEDS / len(rows)))
    lines = [np.column_stack([depth, row]) for row in rows]
    axes.add_collection(LineCollection(lines, colors=colour, lw=0.5, alpha=alpha, zorder=2.2), autolim=False)
    there = np.isfinite(rows)
    axes.update_datalim(np.column_stack([np.broadcast_to(depth, rows.shape)[there], rows[there]]))
    axes.autoscale_view()


def mark_end(axes: Axes, x: float, y: float | None, colour: str, *, zero: bool = False) -> None:
    """Mark where a curve leaves the axis: a cross where it is not finite, a triangle where it is 0."""
    marker: dict[str, Any] = {
        "marker": "v" if zero else "X",
        "color": colour,
        "ms": 6,
        "mec": "white",
        "mew": 0.6,
    }
    if y is None:
        axes.plot([x], [0.02 if zero else 0.98], transform=axes.get_xaxis_transform(), zorder=5, **marker)
    else:
        axes.plot([x], [y], zorder=5, clip_on=False, **marker)


def mark_diverged(axes: Axes, steps: Sequence[int], y: float, colour: str) -> None:
    """Mark the steps at which runs of one configuration diverged."""
    for step in dict.fromkeys(sorted(steps)[:MOST_SEEDS]):
        mark_end(axes, step, y, colour)


def mark_handles(panels: Sequence[Axes]) -> list[Artist]:
    """Legend entries for the marks that occur in the panels."""
    seen = {line.get_marker() for panel in panels for line in panel.get_lines()}
    meanings = {"X": "not finite from here", "v": "zero from here"}
    style: dict[str, Any] = {"ls": "", "color": "#5f5f5f", "ms": 6, "mec": "white"}
    return [Line2D([], [], marker=mark, label=text, **style) for mark, text in meanings.items() if mark in seen]


def _column_mean(values: Floats) -> Floats:
    counts = (~np.isnan(values)).sum(axis=0)
    return np.where(counts > 0, np.nansum(values, axis=0) / np.maximum(counts, 1), np.nan)
