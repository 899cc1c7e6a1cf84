"""The picture of what each axis does: the metric over a number, a map of two axes, and where runs diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from fanin.record.overrides import display
from fanin.report.answers.answer import Answer
from fanin.report.answers.scores import Score
from fanin.report.figures.best import label_of, legend, of_subject
from fanin.report.figures.encoding import DASHES, MARKERS, OKABE_ITO, entry, plain
from fanin.report.figures.limits import usual_top
from fanin.report.figures.style import Panel, Sheet
from fanin.report.figures.ticks import log_where_wide, power
from fanin.report.read.axes import Axis
from fanin.report.statistics import Floats

MOST_CURVES = 3  # panels of numbers
MOST_CELLS = 30  # values of an axis of the map
MOST_WRITTEN = 60  # cells of a map with numbers in them
MOST_TICKS = 8
MOST_DIGITS = 6  # of a tick's label, the point among them
MOST_GAPS = 12  # times the smallest distance of ticks, at most the whole axis
COLOURS = "viridis"


def axes_figure(sheet: Sheet, answer: Answer) -> Figure | None:
    """The metric over each number, a curve for each choice; a map of two axes; and the share that diverged.

    Each point is the best over the axes that are not shown. None where nothing varies but one choice.
    """
    numbers = [axis for axis in answer.varying if axis.kind == "number"][:MOST_CURVES]
    choice, mapped = choice_of(answer), mapped_of(answer)
    entries: list[Any] = []

    def curves(axes: Axes, axis: Axis) -> None:
        entries[:] = curves_panel(axes, answer, axis, choice)

    subject = of_subject(answer)
    drawn = []
    for axis in numbers:
        words = over_words(answer, [axis, *([choice] if choice else [])])
        drawn.append(Panel(partial(curves, axis=axis), f"{words}{subject}", axis.title, label_of(answer)))
    for draw, words in ((map_panel, over_words(answer, mapped)), (diverged_panel, "share of runs that diverged")):
        if mapped and (draw is map_panel or answer.diverged):
            down, across = mapped
            of = partial(draw, answer=answer, down=down, across=across)
            drawn.append(Panel(of, f"{words}{subject}", across.title, down.title))
    if not drawn:
        return None
    columns = min(len(drawn), 3)
    figure, _ = sheet.panels(drawn, columns, 0.6 + 4.6 * columns, 0.9 + 3.4 * math.ceil(len(drawn) / columns))
    legend(figure, entries)
    return figure


def choice_of(answer: Answer) -> Axis | None:
    """What has a curve for each value: the first choice with few enough."""
    return next((one for one in answer.varying if one.kind != "number" and len(one.values) <= len(OKABE_ITO)), None)


def mapped_of(answer: Answer) -> list[Axis]:
    """The axes of the map, down and across, choices before numbers; [] where there are no two of few enough values."""
    small = [one for one in answer.varying if len(one.values) <= MOST_CELLS]
    return sorted(small, key=lambda one: one.kind == "number")[:2] if len(small) > 1 else []


def curve_of(answer: Answer, axis: Axis, choice: Axis | None = None, rank: int = 0) -> list[tuple[float, Score]]:
    """The best score at each value of a number, of one value of the choice, in the order of the numbers."""
    best: dict[int, Score] = {}
    for score in answer.contest.scores:  # the best first
        if choice is None or choice.ranks[score.place] == rank:
            best.setdefault(axis.ranks[score.place], score)
    return [(float(axis.values[place]), best[place]) for place in sorted(best)]


def curves_panel(axes: Axes, answer: Answer, axis: Axis, choice: Axis | None) -> list[Any]:
    """The best at each value of a number, a curve with its band for each choice; the curves' entries of a legend.

    Where every configuration has another number, they are single points instead.
    """
    unit = 100 if answer.metric.percent else 1
    if axis.scale == "log":
        axes.set_xscale("log")
    scattered = len(axis.values) > MOST_CELLS
    entries, drawn = [], []
    for rank in range(len(choice.values) if choice else 1):
        own = [one for one in answer.contest.scores if choice is None or choice.ranks[one.place] == rank]
        if not own:
            continue
        colour = OKABE_ITO[rank % len(OKABE_ITO)]
        style: dict[str, Any] = {"color": colour, "marker": MARKERS[rank % len(MARKERS)], "ms": 4}
        if scattered:
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
    values = np.array([float(value) for value in axis.values])
    if _told_apart(values, log=axis.scale == "log"):
        axes.set_xticks(values, [display(value) for value in axis.values])
        axes.xaxis.set_minor_locator(NullLocator())
    elif axis.scale == "log":
        log_where_wide(axes, "x", values)
    return entries


def _told_apart(values: Floats, *, log: bool) -> bool:
    """Whether each value can have a tick of its own: few, of few digits, and no two of them close."""
    places = np.sort(np.log(values) if log else values)
    gaps = np.diff(places)
    return bool(
        len(values) <= MOST_TICKS
        and all(len(display(float(value))) <= MOST_DIGITS for value in values)
        and (not len(gaps) or gaps.min() * MOST_GAPS >= places[-1] - places[0])
    )


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


def map_panel(axes: Axes, answer: Answer, down: Axis, across: Axis) -> None:
    """The best mean at each pair of values, and a star on the best of all."""
    cells = _cells(answer, down, across)
    finite = cells[np.isfinite(cells)]
    top = usual_top([np.atleast_1d(one) for one in finite]) if len(finite) else None
    _map(axes, cells, down, across, label_of(answer), None if top and top > finite.max() else top)
    best = answer.contest.best.place
    star: dict[str, Any] = {"marker": "*", "ms": 9, "mec": "black", "mew": 0.6}
    axes.plot(across.ranks[best], down.ranks[best] - 0.3, color="white", **star)


def diverged_panel(axes: Axes, answer: Answer, down: Axis, across: Axis) -> None:
    """The share of runs that diverged at each pair of values, in per cent."""
    _map(axes, _shares(answer, down, across), down, across, "diverged (%)", None)


def _map(axes: Axes, cells: Floats, down: Axis, across: Axis, label: str, top: float | None) -> None:
    """Cells in colours, with their numbers where there is room."""
    image = axes.imshow(cells, cmap=COLOURS, aspect="auto", vmax=top)
    axes.grid(visible=False)
    axes.set_facecolor("#dddddd")  # of what has no number
    axes.set_xticks(*_ticks(across, MOST_TICKS))
    axes.set_yticks(*_ticks(down, 2 * MOST_TICKS))
    if cells.size <= MOST_WRITTEN:
        low, high = image.get_clim()
        for (i, j), value in np.ndenumerate(cells):
            if math.isfinite(value):
                light = (value - low) / ((high - low) or 1) > 0.6
                axes.text(
                    j, i, f"{value:.3g}", ha="center", va="center", fontsize=7, color="black" if light else "white"
                )
    axes.figure.colorbar(image, ax=axes, label=label, pad=0.02, fraction=0.05)


def _ticks(axis: Axis, most: int) -> tuple[list[float], list[str]]:
    """Where an axis of a map has ticks, in ranks, and their labels: of many numbers powers of ten lie between them."""
    count = len(axis.values)
    if count > most and axis.kind == "number" and axis.scale == "log":
        logs = np.log10([float(value) for value in axis.values])
        powers = np.arange(math.ceil(logs[0] - 1e-9), math.floor(logs[-1] + 1e-9) + 1)
        if len(powers) > 1:
            return np.interp(powers, logs, np.arange(count)).tolist(), [power(one) for one in powers.tolist()]
    ranks = range(0, count, math.ceil(count / most))
    return [float(rank) for rank in ranks], [plain(axis.words(rank), 18) for rank in ranks]


def over_words(answer: Answer, shown: Sequence[Axis]) -> str:
    """What a panel is of: the best over the axes that it does not show."""
    others = [axis.name for axis in answer.varying if axis not in shown]
    return f"the best over {', '.join(others)}" if others else "mean over runs"
