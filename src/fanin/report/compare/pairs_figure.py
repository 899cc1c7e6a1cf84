"""The figure of a comparison: the differences of all pairs, with their mean and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.errors import counted
from fanin.report.compare.comparison import Comparison
from fanin.report.figures.encoding import GREY, OKABE_ITO, entry, plain
from fanin.report.figures.style import Sheet

DOT: dict[str, Any] = {"color": GREY, "marker": "o", "ls": "", "ms": 3.5}
MEAN: dict[str, Any] = {"color": OKABE_ITO[0], "marker": "D", "lw": 2.2, "ms": 5.5}


def pairs_figure(sheet: Sheet, comparisons: Sequence[Comparison]) -> Figure:
    """A row for each comparison of two pairs or more."""
    drawn = [one for one in comparisons if one.statistics is not None]
    figure, (axes,) = sheet.figure(1, 1, 7.5, 1.9 + 0.75 * len(drawn))
    pairs_panel(axes, drawn)
    axes.set_xlabel(f"{plain(sheet.setting)}: difference to {plain(drawn[0].first.text, 60)}")
    sheet.legend(figure, [axes], entries())
    return figure


def entries() -> list[Any]:
    """Of a legend."""
    return [entry("one pair", **DOT), entry("mean and 95 % t-interval", **MEAN)]


def pairs_panel(axes: Axes, comparisons: Sequence[Comparison]) -> None:
    """A row for each comparison that has an interval: the differences as dots, below them mean and interval."""
    drawn = [(one, one.statistics) for one in comparisons if one.statistics is not None]
    for row, (one, found) in enumerate(drawn):
        heights = row + np.linspace(-0.32, 0.08, found.n)
        axes.plot(one.values["difference"], heights, alpha=max(0.25, min(0.7, 20 / found.n)), mew=0, **DOT)
        axes.plot([found.low, found.high], [row + 0.27] * 2, solid_capstyle="butt", **MEAN | {"marker": ""})
        axes.plot([found.mean], [row + 0.27], **MEAN | {"ls": ""})
    axes.axvline(0, color="black", lw=0.8, zorder=1)
    names = [f"{plain(one.side.text, 36)}\n{counted(found.n, 'pair')}" for one, found in drawn]
    axes.set_yticks(range(len(drawn)), names)
    axes.set_ylim(len(drawn) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")
