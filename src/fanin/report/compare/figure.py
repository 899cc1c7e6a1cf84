"""The figure of a comparison: every paired difference, and the mean with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.report.figures.style import GREY, OKABE_ITO, Sheet, plain

if TYPE_CHECKING:
    from fanin.report.compare.comparison import Comparison


def compare_figure(sheet: Sheet, comparisons: Sequence[Comparison]) -> Figure:
    """A row for each comparison: the differences as dots in the order of the pairs, below them mean and interval.

    A comparison with fewer than two pairs has no row, for a bare mean says nothing.
    """
    drawn = [one for one in comparisons if one.statistics is not None]
    figure, (axes,) = sheet.figure(1, 1, 7.5, 1.9 + 0.75 * len(drawn))
    colour = OKABE_ITO[0]
    for row, one in enumerate(drawn):
        found = one.statistics
        assert found is not None
        differences = [b - a for a, b in one.values]
        heights = row + np.linspace(-0.32, 0.08, len(differences))
        axes.plot(differences, heights, "o", color=GREY, ms=3.5, alpha=max(0.25, min(0.7, 20 / found.n)), mew=0)
        axes.plot([found.low, found.high], [row + 0.27] * 2, color=colour, lw=2.2, solid_capstyle="butt")
        axes.plot([found.mean], [row + 0.27], "D", color=colour, ms=5.5)
    axes.axvline(0, color="black", lw=0.8, zorder=1)
    axes.set_yticks(range(len(drawn)), [f"{plain(one.side, 36)}\n{len(one.pairs)} pairs" for one in drawn])
    axes.set_ylim(len(drawn) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{plain(sheet.setting)}: difference to {plain(drawn[0].first, 60)}")
    handles = [
        Line2D([], [], color=GREY, marker="o", ls="", ms=3.5, label="one pair"),
        Line2D([], [], color=colour, marker="D", lw=2.2, ms=5.5, label="mean and 95 % t-interval"),
    ]
    sheet.legend(figure, [axes], handles)
    return figure
