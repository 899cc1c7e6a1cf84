"""The figure of a ranking: critical differences, who improves on the reference, time to the target, profiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.report.compare.ranking import Ranking
from fanin.report.compare.time_to_target import LARGEST_RATIO, TimeToTarget
from fanin.report.figures.encoding import GREY, OKABE_ITO, entry, plain
from fanin.report.figures.style import Sheet, panel

DASHES = ("-", "--", ":")


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
    _named_rows(axes, [ranking.sides[i] for i in order])
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
    _named_rows(axes, [ranking.sides[i] for i in others])
    panel(axes, "B", f"better than {plain(ranking.sides[0], 40)}", "probability of improvement, 95 % interval")


def time_to_target_panel(axes: Axes, times: TimeToTarget) -> None:
    """The share of runs that are at their target after so many updates."""
    steps = np.concatenate(times.steps)
    last = float(np.max(steps[np.isfinite(steps)], initial=1.0))
    for side, (colour, dash) in enumerate(looks_of(steps.shape[1])):
        _steps(axes, steps[:, side], 0.0, last, colour, dash)
    _share_axis(axes)
    panel(axes, "C", f"{times.column.replace('_', ' ')} at its target", "step", "share of runs")


def profile_panel(axes: Axes, times: TimeToTarget) -> None:
    """The share of blocks in which a side takes at most so many times the updates of the best."""
    for side, (colour, dash) in enumerate(looks_of(times.ratios.shape[1])):
        _steps(axes, times.ratios[:, side], 1.0, LARGEST_RATIO, colour, dash)
    _share_axis(axes)
    panel(axes, "D", "performance profile", "updates to the target over those of the best side", "share")


def _steps(axes: Axes, values: np.ndarray, first: float, last: float, colour: str, dash: str) -> None:
    """The share of values that are at most x, for x from first to last."""
    ends = np.unique(np.clip(values[values <= last], first, last))
    x = np.concatenate([[first], ends, [last]])
    share = [(values <= end).mean() for end in x]
    axes.plot(x, share, drawstyle="steps-post", color=colour, ls=dash, lw=1.8)


def _share_axis(axes: Axes) -> None:
    axes.set_ylim(-0.03, 1.03)


def _named_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), [plain(name, 36) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
