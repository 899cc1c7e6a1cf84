"""Drawing the runs of one configuration: a thin line for each, a thick one for their mean, a mark where one ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.markers import CARETDOWN
from numpy.typing import NDArray

from fanin.report.figures.encoding import entry
from fanin.report.figures.paper import for_paper, in_column
from fanin.report.statistics import Floats, column_means, mean_curve, positive

MOST_LINES = 300  # thin lines in one panel; more are neither to be told apart nor quick to draw
MOST_SEEDS = 8
BELOW = CARETDOWN
MARK: dict[str, Any] = {"ms": 6, "mec": "white", "mew": 0.6, "zorder": 5}


def cloud_size(configurations: int) -> int:
    """How many seeds of each configuration get a line of their own over depth; over steps MOST_SEEDS at most."""
    return max(1, MOST_LINES // max(1, configurations))


def mean_width(configurations: int) -> float:
    """The width of a mean's line in points; finer where there are many."""
    return 1.5 if configurations <= 12 else 0.8


def mean_while_all(values: Floats, lengths: NDArray[np.intp], *, log: bool) -> Floats:
    """Column means, cut where the first run leaves the axis: the mean of the survivors would be another quantity."""
    shown = positive(values, log=log)
    there = np.arange(values.shape[1]) < lengths[:, None]
    complete = (~np.isnan(shown) | ~there).all(axis=0) & there.any(axis=0)
    # After a first gap nothing comes back.
    return np.where(np.logical_and.accumulate(complete), column_means(shown, log=log), np.nan)


def draw_runs(
    axes: Axes, x: Floats, rows: Floats, mean: Floats, colour: str, *, seeds: int = MOST_SEEDS, **mean_style: Any
) -> None:
    """Draw the runs of one configuration: a thin line for each of them, and a thick one for their mean.

    Args:
        axes: the panel; a logarithmic axis must have been set before.
        x, rows, mean: positions [S], a row for each run [n, S], their mean [S]; what is not finite is left out.
        colour: of the configuration.
        seeds: thin lines at most, the fainter the more there are; one run has none, for it is the mean.
        mean_style: what the line of the mean has different from the usual.
    """
    thin = [np.column_stack([x, row])[np.isfinite(row)] for row in rows[:seeds]] if len(rows) > 1 and seeds > 1 else []
    if thin:
        alpha = max(0.1, 0.4 * math.sqrt(MOST_SEEDS / max(MOST_SEEDS, len(thin))))
        axes.add_collection(LineCollection(thin, colors=colour, lw=0.6, alpha=alpha, zorder=2.2), autolim=False)
        axes.update_datalim(np.concatenate(thin))
    there = np.isfinite(mean)
    usual: dict[str, Any] = {"lw": 1.5, "zorder": 3, "marker": "o" if there.sum() == 1 else None, "ms": 3.5}
    axes.plot(x[there], mean[there], color=colour, **usual | mean_style)
    axes.autoscale(enable=None)  # type: ignore[arg-type]  # when the limits are asked for: once, not after each line


def draw_steps(
    axes: Axes, steps: Floats, values: Floats, colour: str, *, folds: int | None = None, **mean: Any
) -> Floats:  # fmt: skip
    """Draw a metric of one configuration over steps, the mean as long as half of the runs go on.

    Args:
        axes, colour, mean: see draw_runs.
        steps, values: [S], and [runs, S], nan where a run was not evaluated.
        folds: k where the runs are folds of a cross-validation.

    Returns:
        the mean, [S], nan where there is none.
    """
    middle = mean_curve(values, folds)[0]
    draw_runs(axes, steps, values, middle, colour, **mean)
    return middle


def draw_profile(
    axes: Axes, values: Floats, lengths: NDArray[np.intp], colour: str, *, seeds: int, log: bool, **mean_style: Any
) -> Floats:
    """Draw one configuration over depth, and mark where a run's curve ends before the run's last layer.

    Args:
        axes, colour, seeds, mean_style: see draw_runs.
        values: [runs, K], of which those beyond a run's length do not exist.
        lengths: number of layers of each run, [runs]; runs of length 0 were not measured.
        log: whether the y axis is logarithmic.

    Returns:
        the mean, [K], nan where there is none.
    """
    values, lengths = values[lengths > 0], lengths[lengths > 0]
    depth = np.arange(1.0, values.shape[1] + 1)
    if not len(values):
        return np.full(values.shape[1], np.nan)
    shown = positive(values, log=log)
    rows = np.where(np.logical_and.accumulate(~np.isnan(shown), axis=1), shown, np.nan)
    mean = mean_while_all(values, lengths, log=log)
    draw_runs(axes, depth, rows, mean, colour, seeds=seeds, **mean_style)
    marked = set()
    for row, raw, length in list(zip(shown, values, lengths, strict=True))[:seeds]:
        gaps = np.flatnonzero(np.isnan(row[:length]))
        if len(gaps) and (gap := int(gaps[0])) not in marked:
            marked.add(gap)
            mark_end(axes, depth[gap], row[gap - 1] if gap else None, colour, zero=bool(raw[gap] == 0))
    return mean


MOST_BROKEN = 6
"""Rows of a paper's panel whose names have room for several lines; of more they are cut."""


def name_rows(axes: Axes, names: Sequence[str], below: float) -> None:
    """Name the rows at 0, 1, ... from the top; the axis ends so far below the last one, and one row is one high."""
    if for_paper():
        few = len(names) <= MOST_BROKEN
        names = [in_column(name, 22) if few or len(name) <= 22 else f"{name[:21]}…" for name in names]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - below, below - 1)
    axes.grid(visible=False, axis="y")


def mark_end(axes: Axes, x: float, y: float | None, colour: str, *, zero: bool = False) -> None:
    """Mark where a curve leaves the axis: a cross where it is not finite, a triangle where it is 0."""
    style: dict[str, Any] = {"marker": "v" if zero else "X", "color": colour, **MARK}
    if y is None:
        axes.plot([x], [0.02 if zero else 0.98], transform=axes.get_xaxis_transform(), **style)
    else:
        axes.plot([x], [y], clip_on=False, **style)


def mark_diverged(axes: Axes, steps: Sequence[float], y: float, colour: str) -> None:
    """Mark the steps at which runs of one configuration diverged."""
    for step in dict.fromkeys(sorted(steps)[:MOST_SEEDS]):
        mark_end(axes, step, y, colour)


def mark_handles(panels: Sequence[Axes]) -> list[Artist]:
    """Legend entries for the marks that occur in the panels."""
    seen = {line.get_marker() for panel in panels for line in panel.get_lines()}
    meanings: dict[Any, str] = {
        "X": "not finite from here",
        "v": "zero from here",
        "^": "goes on above the axis",
        BELOW: "goes on below the axis",
    }
    return [entry(text, ls="", marker=mark, ms=6, mec="white") for mark, text in meanings.items() if mark in seen]
