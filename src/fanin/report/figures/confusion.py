"""The confusion figure: what the classes are taken for, a panel for each configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from fanin.errors import counted
from fanin.report.figures.encoding import plain
from fanin.report.figures.style import Panel, Sheet, corners
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats

PARTS = {"test": "test examples", "val": "validation examples"}
MOST_PANELS = 6
MOST_CLASSES = 20
MOST_WRITTEN = 10  # classes; more leave no room for numbers
SCALE = PowerNorm(0.5, 0, 1)  # a square root, for the mistakes are the small shares
COLOURS = "Blues"


def confusion_figure(sheet: Sheet, runs: Sequence[Run]) -> Figure | None:
    """Shares of each true class's examples by the answer given, over all finished runs of a configuration.

    share_ij = sum_runs C_ij / sum_runs sum_j C_ij. Where there are more configurations than panels, those with the
    least error are drawn. None if no finished run has a matrix, or where it has more than MOST_CLASSES classes.
    """
    part = next((part for part in PARTS if any(matrix_of(run, part) is not None for run in runs)), None)
    if part is None:
        return None
    pooled = {}
    for i, one in enumerate(sheet.configurations):
        matrices = [matrix for k in one.members if (matrix := matrix_of(runs[k], part)) is not None]
        matrices = [matrix for matrix in matrices if matrix.shape == matrices[0].shape]
        if matrices:
            counts = np.sum(matrices, axis=0)
            pooled[i] = counts, len(matrices), float(1 - counts.trace() / counts.sum())
    best = sorted(sorted(pooled, key=lambda i: (pooled[i][2], i))[:MOST_PANELS])
    columns = 2 if len(best) in (2, 4) else min(3, len(best))
    rows = math.ceil(len(best) / columns)
    drawn = []
    for i in best:
        counts, count, error = pooled[i]
        # In lines that are no wider than the panel: a title of its neighbour's room makes the layout shrink them all.
        label = plain(fill(sheet.configurations[i].label, 38, max_lines=3, placeholder=" …"))
        title = f"{label}\n{100 * error:.3g} % error, {counted(count, 'run')}"
        drawn.append(Panel(partial(confusion_panel, counts=counts), title, "answer", "true class"))
    figure, axes = sheet.panels(drawn, columns, max(5.2, 0.9 + 3.6 * columns), 0.9 + 3.9 * rows)
    some = "" if len(best) == len(pooled) else f"; {len(best)} of {len(pooled)} configurations, those with least error"
    label = f"share of the class's {PARTS[part]}{some}"
    scale = ScalarMappable(SCALE, COLOURS)
    figure.colorbar(scale, ax=corners(axes), label=label, fraction=0.04, pad=0.01, aspect=28)
    return figure


def matrix_of(run: Run, part: str) -> Floats | None:
    """The run's counts [K, K]; None for an unfinished run and for what is no such table of counts."""
    if run.state != "done":
        return None
    try:
        counts = np.array(run.evaluation(part).get("confusion"), float)
    except (TypeError, ValueError):
        return None
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] <= MOST_CLASSES
    return counts if square and (counts >= 0).all() and counts.sum() > 0 else None


def confusion_panel(axes: Axes, counts: Floats) -> None:
    """The shares of each true class's examples, of counts [K, K]."""
    classes = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap=COLOURS, norm=SCALE)
    axes.grid(visible=False)
    ticks = range(0, classes, 1 if classes <= MOST_WRITTEN else 2)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    for (i, j), share in np.ndenumerate(shares) if classes <= MOST_WRITTEN else ():
        if share > 0:
            colour = "white" if SCALE(share) > 0.6 else "black"
            words = "<1" if share < 0.005 else f"{100 * share:.0f}"  # what would round to 0 is told from nothing
            axes.text(j, i, words, ha="center", va="center", fontsize=6.5, color=colour, in_layout=False)
