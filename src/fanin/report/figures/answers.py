"""The pictures of an answer: the best configurations with their intervals, and what each axis does to the metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from fanin.record.overrides import display
from fanin.report.answers.answer import Answer
from fanin.report.answers.scores import Score
from fanin.report.figures.encoding import DASHES, GREY, MARKERS, OKABE_ITO, entry, plain
from fanin.report.figures.limits import usual_top
from fanin.report.figures.style import Sheet, panel
from fanin.report.rank_statistics import ALPHA
from fanin.report.read.axes import Axis
from fanin.report.statistics import Floats

MOST_ROWS = 15
MOST_CURVES = 3  # panels of numbers
MOST_CELLS = 30  # values of an axis of the map
MOST_WRITTEN = 60  # cells of a map with numbers in them
MOST_TICKS = 8
COLOURS = "viridis"


def best_figure(sheet: Sheet, answer: Answer) -> Figure | None:
    """The best configurations, the best on top: means with intervals over single runs, and differences to the best.

    Filled: told from the best at 5 % after Holm's correction, or the best itself; hollow: not told from it.
    """
    found, by = answer.contest, answer.metric
    scores, tested = found.scores[:MOST_ROWS], found.tested > 0
    unit = 100 if by.percent else 1
    figure, axes = sheet.figure(1, 1 + tested, 6.6 + 3.4 * tested, 1.6 + 0.3 * len(scores), [1.2, 1][: 1 + tested])
    dot: dict[str, Any] = {"color": GREY, "marker": "o", "ls": "", "ms": 3, "mew": 0, "alpha": 0.5}
    for row, score in enumerate(scores):
        style = _look(found.p[row], first=not row)
        mean, low, high = score.interval[:3]
        axes[0].plot(unit * np.array(score.finite), [row + 0.25] * len(score.finite), **dot)
        axes[0].plot([unit * low, unit * high], [row, row], color=style["color"], lw=1.8)
        axes[0].plot([unit * mean], [row], ls="", **style)
        if row and tested:
            difference = found.differences[row]
            axes[1].plot([unit * difference.low, unit * difference.high], [row, row], color=style["color"], lw=1.8)
            axes[1].plot([unit * difference.mean], [row], ls="", **style)
    for place in axes:
        place.set_yticks(range(len(scores)), [plain(score.label, 44) for score in scores])
        place.set_ylim(len(scores) - 0.4, -0.6)
        place.grid(visible=False, axis="y")
    panel(axes[0], "a", f"the best of {len(found.scores)}", f"{by.words}{' (%)' if by.percent else ''}")
    entries = [entry("one run", **dot), entry("mean and 95 % t-interval", OKABE_ITO[0], marker="D", lw=1.8)]
    if tested:
        axes[1].set_yticklabels([])
        axes[1].axvline(0, color="black", lw=0.8, zorder=1)
        panel(axes[1], "b", "difference to the best", "percentage points" if by.percent else by.words)
        entries.append(entry("not told from the best at 5 % (Holm)", ls="", **_look(1.0, first=False)))
    _legend(figure, entries)
    return figure


def axes_figure(sheet: Sheet, answer: Answer) -> Figure | None:
    """The metric over each number, a curve for each choice; a map of two axes; and the share that diverged.

    Each point is the best over the axes that are not shown. None where nothing varies but one choice.
    """
    numbers = [axis for axis in answer.varying if axis.kind == "number"][:MOST_CURVES]
    choice = next((one for one in answer.varying if one.kind != "number" and len(one.values) <= len(OKABE_ITO)), None)
    small = sorted(
        (one for one in answer.varying if len(one.values) <= MOST_CELLS), key=lambda one: one.kind == "number"
    )
    mapped = small[:2] if len(small) > 1 else []
    shares = bool(mapped and answer.diverged)
    count = len(numbers) + bool(mapped) + shares
    if not count:
        return None
    columns = min(count, 3)
    figure, axes = sheet.figure(
        math.ceil(count / columns), columns, 0.6 + 4.6 * columns, 0.9 + 3.4 * math.ceil(count / columns)
    )
    for place in axes[count:]:
        place.remove()
    entries = []
    for letter, place, axis in zip("abc", axes, numbers, strict=False):
        entries = _curves(place, answer, axis, choice)
        panel(place, letter, _over(answer, [axis, *([choice] if choice else [])]), axis.title, _label(answer))
    if mapped:
        down, across = mapped
        means = _cells(answer, down, across)
        _map(figure, axes[len(numbers)], means, down, across, _label(answer), best=True)
        top = answer.contest.best.place
        star: dict[str, Any] = {"marker": "*", "ms": 9, "mec": "black", "mew": 0.6}
        axes[len(numbers)].plot(across.ranks[top], down.ranks[top] - 0.3, color="white", **star)
        panel(axes[len(numbers)], "abcde"[len(numbers)], _over(answer, mapped), across.title, down.title)
    if shares:
        _map(figure, axes[count - 1], _shares(answer, down, across), down, across, "diverged (%)", best=False)
        panel(axes[count - 1], "abcde"[count - 1], "share of runs that diverged", across.title, down.title)
    _legend(figure, entries)
    return figure


def curve_of(answer: Answer, axis: Axis, choice: Axis | None = None, rank: int = 0) -> list[tuple[float, Score]]:
    """The best score at each value of a number, of one value of the choice, in the order of the numbers."""
    best: dict[int, Score] = {}
    for score in answer.contest.scores:  # the best first
        if choice is None or choice.ranks[score.place] == rank:
            best.setdefault(axis.ranks[score.place], score)
    return [(float(axis.values[place]), best[place]) for place in sorted(best)]


def _curves(axes: Axes, answer: Answer, axis: Axis, choice: Axis | None) -> list[Any]:
    """A curve with its band for each choice; where every configuration has another number, single points instead."""
    unit = 100 if answer.metric.percent else 1
    if axis.scale == "log":
        axes.set_xscale("log")
    scattered = len(axis.values) > MOST_CELLS
    entries, drawn = [], []
    for rank in range(len(choice.values) if choice else 1):
        colour = OKABE_ITO[rank % len(OKABE_ITO)]
        style: dict[str, Any] = {"color": colour, "marker": MARKERS[rank % len(MARKERS)], "ms": 4}
        if scattered:
            own = [one for one in answer.contest.scores if choice is None or choice.ranks[one.place] == rank]
            x = np.array([float(axis.values[axis.ranks[one.place]]) for one in own])
            y = unit * np.array([one.interval.mean for one in own])
            axes.plot(x, y, ls="", alpha=0.6, **style)
        else:
            curve = curve_of(answer, axis, choice, rank)
            x = np.array([value for value, _ in curve])
            y, low, high = (unit * np.array([score.interval[i] for _, score in curve]) for i in range(3))
            axes.plot(x, y, lw=1.6, ls=DASHES[0], **style)
            there = np.isfinite(low)
            axes.fill_between(x[there], low[there], high[there], color=colour, alpha=0.18, lw=0)
        drawn.append(y)
        entries += [entry(choice.label(rank), lw=0 if scattered else 1.6, **style)] if choice else []
    top = usual_top(drawn)
    if any((y > top).any() for y in drawn):
        axes.set_ylim(top=top)
    if len(axis.values) <= MOST_TICKS:
        axes.set_xticks([float(value) for value in axis.values], [display(value) for value in axis.values])
        axes.xaxis.set_minor_locator(NullLocator())
    return entries


def _cells(answer: Answer, down: Axis, across: Axis) -> Floats:
    """The best mean at each pair of values, [down, across], nan where there is none."""
    cells = np.full((len(down.values), len(across.values)), np.nan)
    for score in reversed(answer.contest.scores):  # the best last
        cells[down.ranks[score.place], across.ranks[score.place]] = score.interval.mean
    return cells * (100 if answer.metric.percent else 1)


def _shares(answer: Answer, down: Axis, across: Axis) -> Floats:
    """The share of runs that diverged at each pair of values, in per cent."""
    counts = np.zeros((2, len(down.values), len(across.values)))
    for place, ended in answer.ended.items():
        counts[:, down.ranks[place], across.ranks[place]] += ended
    return np.asarray(100 * counts[1] / np.where(counts[0], counts[0], np.nan))


def _map(figure: Figure, axes: Axes, cells: Floats, down: Axis, across: Axis, label: str, *, best: bool) -> None:
    """Cells in colours, with their numbers where there is room."""
    finite = cells[np.isfinite(cells)]
    top = usual_top([np.atleast_1d(one) for one in finite]) if best and len(finite) else None
    image = axes.imshow(cells, cmap=COLOURS, aspect="auto", vmax=None if best and top and top > finite.max() else top)
    axes.grid(visible=False)
    axes.set_facecolor("#dddddd")  # of what has no number
    for place, axis in ((axes.xaxis, across), (axes.yaxis, down)):
        step = math.ceil(len(axis.values) / (MOST_TICKS if axis is across else 15))
        ranks = range(0, len(axis.values), step)
        names = ["–" if axis.values[rank] is None else plain(display(axis.values[rank]), 18) for rank in ranks]
        place.set_ticks(list(ranks), names)
    if cells.size <= MOST_WRITTEN:
        low, high = image.get_clim()
        for (i, j), value in np.ndenumerate(cells):
            if math.isfinite(value):
                light = (value - low) / ((high - low) or 1) > 0.6
                axes.text(
                    j, i, f"{value:.3g}", ha="center", va="center", fontsize=7, color="black" if light else "white"
                )
    figure.colorbar(image, ax=axes, label=label, pad=0.02, fraction=0.05)


def _over(answer: Answer, shown: Sequence[Axis]) -> str:
    """What a panel is of: the best over the axes that it does not show."""
    others = [axis.name for axis in answer.varying if axis not in shown]
    return f"the best over {', '.join(others)}" if others else "mean over runs"


def _label(answer: Answer) -> str:
    return f"{answer.metric.words}{' (%)' if answer.metric.percent else ''}"


def _look(p: float, *, first: bool) -> dict[str, Any]:
    """Of a configuration's mark."""
    colour = OKABE_ITO[2] if first else OKABE_ITO[0]
    return {"color": colour, "marker": "D", "ms": 5.5, "mfc": "white" if p > ALPHA and not first else colour}


def _legend(figure: Figure, entries: Sequence[Any]) -> None:
    if entries:
        columns = min(len(entries), 4)
        figure.legend(handles=list(entries), loc="outside lower center", ncols=columns, frameon=False)
