"""The training figure: loss and error over steps, mean over seeds with its 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fanin.report.figures.lines import Floats, mark_diverged, mark_handles, mean_width
from fanin.report.figures.loss import diverged_at, loss_top
from fanin.report.figures.style import GREY, Sheet, panel
from fanin.report.read.folders import Run
from fanin.report.read.series import Metrics
from fanin.report.statistics import mean_curve

PARTS = (("train", "training"), ("val", "validation"))
MOST_BANDS = 8


def curves_figure(sheet: Sheet, runs: Sequence[Run], metrics: Metrics) -> Figure | None:
    """Loss left, error right; training above, validation below where there is any; None where nothing was trained."""

    def evaluated(column: str) -> bool:
        return any(len(metrics.series(i, column)[0]) > 1 for i in range(len(runs)))

    parts = [(part, word) for part, word in PARTS if evaluated(f"{part}_loss") or evaluated(f"{part}_error")]
    if not parts:
        return None
    chance = next((run.files.chance_loss for run in runs if run.files.chance_loss), None)
    figure, axes = sheet.figure(len(parts), 2, 10.0, 1.0 + 3.1 * len(parts))
    for position, place in enumerate(axes):
        part, word = parts[position // 2]
        what = ("loss", "error")[position % 2]
        column = f"{part}_{what}"
        means = [
            _draw(place, metrics, one.members, column, colour, len(sheet.colours))
            for one, colour in zip(sheet.configurations, sheet.colours, strict=True)
        ]
        top = loss_top(np.concatenate(means), chance) if what == "loss" else 1.0
        place.set_ylim(0, top)
        place.set_xlim(left=0)
        for one, colour in zip(sheet.configurations, sheet.colours, strict=True) if what == "loss" else ():
            mark_diverged(place, diverged_at(runs, one.members), 0.975 * top, colour)
        panel(place, "abcd"[position], f"{word} {what}", "step")
    banded = any(place.collections for place in axes)
    band = [Patch(color=GREY, alpha=0.25, lw=0, label="95 % interval over seeds")] if banded else []
    sheet.legend(figure, axes, [*band, *mark_handles(axes)])
    return figure


def _draw(axes: Axes, metrics: Metrics, members: Sequence[int], column: str, colour: str, count: int) -> Floats:
    """Draw one configuration; returns what was drawn of its mean."""
    steps, values = metrics.matrix(members, column)
    mean, low, high = mean_curve(values)
    there = ~np.isnan(mean)
    marker = "o" if there.sum() == 1 else ""
    axes.plot(steps[there], mean[there], color=colour, lw=mean_width(count), zorder=3, marker=marker, ms=3.5)
    banded = there & ~np.isnan(low)
    if count <= MOST_BANDS and banded.any():
        axes.fill_between(steps[banded], low[banded], high[banded], color=colour, alpha=0.18, lw=0, zorder=2)
    return mean[there]
