"""The figures of a comparison: the differences of all pairs; of three sides or more ranks, times and profiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.errors import counted
from fanin.report.compare.comparison import Comparison
from fanin.report.compare.ranking import Ranking
from fanin.report.compare.time_to_target import LARGEST_RATIO, TimeToTarget
from fanin.report.figures.encoding import GREY, OKABE_ITO, entry, plain
from fanin.report.figures.lines import name_rows
from fanin.report.figures.paper import in_column
from fanin.report.figures.style import Sheet, panel

DASHES = ("-", "--", ":")
DOT: dict[str, Any] = {"color": GREY, "marker": "o", "ls": "", "ms": 3.5}
MEAN: dict[str, Any] = {"color": OKABE_ITO[0], "marker": "D", "lw": 2.2, "ms": 5.5}


def pairs_figure(sheet: Sheet, comparisons: Sequence[Comparison]) -> Figure:
    """A row for each comparison of two pairs or more."""
    drawn = [one for one in comparisons if one.statistics is not None]
    figure, (axes,) = sheet.figure(1, 1, 7.5, 1.9 + 0.75 * len(drawn))
    pairs_panel(axes, drawn)
    axes.set_xlabel(in_column(f"{plain(sheet.setting)}: difference to {plain(drawn[0].first.text, 60)}"))
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
    name_rows(axes, [f"{plain(one.side.text, 36)}\n{counted(found.n, 'pair')}" for one, found in drawn], 0.45)


def ranking_figure(sheet: Sheet, ranking: Ranking) -> Figure:
    """Two panels, or four where there is a time to a target."""
    count = len(ranking.sides)
    rows = 2 if ranking.times else 1
    figure, axes = sheet.figure(rows, 2, 10.5, 1.2 + rows * (1.7 + 0.22 * count))
    critical_differences_panel(axes[0], ranking)
    improvement_panel(axes[1], ranking)
    if ranking.times:
        time_to_target_panel(axes[2], ranking.times)
        profile_panel(axes[3], ranking.times)
    sheet.legend(figure, axes, entries_of(ranking))
    return figure


def looks_of(count: int) -> list[tuple[str, str]]:
    """Colour and dash of each side."""
    return [(OKABE_ITO[i % len(OKABE_ITO)], DASHES[i // len(OKABE_ITO) % len(DASHES)]) for i in range(count)]


def entries_of(ranking: Ranking) -> list[Any]:
    """Of a legend: a line for each side."""
    looks = looks_of(len(ranking.sides))
    return [entry(text, colour, ls=dash) for text, (colour, dash) in zip(ranking.sides, looks, strict=True)]


def critical_differences_panel(axes: Axes, ranking: Ranking) -> None:
    """Mean ranks, the best on top; a grey bar joins those that do not differ by the critical difference."""
    order, ranks, looks = ranking.order, ranking.ranks, looks_of(len(ranking.sides))
    for row, i in enumerate(order):
        style: dict[str, Any] = {"color": looks[i][0], "solid_capstyle": "butt"}
        axes.plot([ranks.low[i], ranks.high[i]], [row, row], lw=2.2, **style)
        axes.plot([ranks.estimate[i]], [row], marker="D", ms=5.5, **style)
    right, apart = float(np.max(ranks.high)), 0.03 * float(np.max(ranks.high) - np.min(ranks.low))
    for column, group in enumerate(ranking.groups):
        where = [order.index(int(i)) for i in group]
        axes.plot([right + apart * (column + 1)] * 2, [min(where) - 0.2, max(where) + 0.2], color=GREY, lw=3)
    name_rows(axes, [plain(ranking.sides[i], 36) for i in order], 0.5)
    title = f"bars join what {ranking.critical:.2g} ranks, the critical difference, do not part"
    panel(axes, "A", title, f"mean rank over {ranking.blocks} {ranking.unit}s, 95 % bootstrap interval")


def improvement_panel(axes: Axes, ranking: Ranking) -> None:
    """The probability of improvement of all but the reference."""
    others, found, looks = [i for i in ranking.order if i], ranking.better, looks_of(len(ranking.sides))
    for row, i in enumerate(others):
        axes.plot([found.low[i], found.high[i]], [row, row], color=looks[i][0], lw=2.2, solid_capstyle="butt")
        axes.plot([found.estimate[i]], [row], color=looks[i][0], marker="D", ms=5.5)
    axes.axvline(0.5, color="black", lw=0.8, zorder=1)
    axes.set_xlim(-0.03, 1.03)
    name_rows(axes, [plain(ranking.sides[i], 36) for i in others], 0.5)
    panel(axes, "B", f"better than {plain(ranking.sides[0], 40)}", "probability of improvement, 95 % interval")


def time_to_target_panel(axes: Axes, times: TimeToTarget) -> None:
    """The share of runs that are at their target after so many updates."""
    steps = np.concatenate(times.steps)
    last = float(np.max(steps[np.isfinite(steps)], initial=1.0))
    _shares(axes, steps, 0.0, last)
    panel(axes, "C", f"{times.column.replace('_', ' ')} at its target", "step", "share of runs")


def profile_panel(axes: Axes, times: TimeToTarget) -> None:
    """The share of blocks in which a side takes at most so many times the updates of the best."""
    _shares(axes, times.ratios, 1.0, LARGEST_RATIO)
    panel(axes, "D", "performance profile", "updates to the target over those of the best side", "share")


def _shares(axes: Axes, values: np.ndarray, first: float, last: float) -> None:
    """The share of each side's values [n, k] that are at most x, for x from first to last."""
    for own, (colour, dash) in zip(values.T, looks_of(values.shape[1]), strict=True):
        ends = np.unique(np.clip(own[own <= last], first, last))
        x = np.concatenate([[first], ends, [last]])
        share = [(own <= end).mean() for end in x]
        axes.plot(x, share, drawstyle="steps-post", color=colour, ls=dash, lw=1.8)
    axes.set_ylim(-0.03, 1.03)
