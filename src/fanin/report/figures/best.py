"""The picture of an answer: the best configurations with their intervals, what parts them, and their ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.report.answers.answer import Answer
from fanin.report.figures.encoding import GREY, OKABE_ITO, entry, plain
from fanin.report.figures.lines import name_rows
from fanin.report.figures.paper import for_paper
from fanin.report.figures.style import Panel, Sheet
from fanin.report.rank_statistics import ALPHA

MOST_ROWS = 15
DOT: dict[str, Any] = {"color": GREY, "marker": "o", "ls": "", "ms": 3, "mew": 0, "alpha": 0.5}


def best_figure(sheet: Sheet, answer: Answer) -> Figure:
    """The best configurations, the best on top: means with intervals over single runs, differences to the best, ranks.

    Filled: told from the best at 5 % after Holm's correction, or the best itself; hollow: not told from it.
    """
    found = answer.contest
    title = f"the best of {len(found.scores)}{of_subject(answer)}"
    drawn = [Panel(partial(means_panel, answer=answer), title, label_of(answer))]
    entries = [entry("one run", **DOT), entry("mean and 95 % t-interval", OKABE_ITO[0], marker="D", lw=1.8)]
    if found.tested:
        draw = partial(differences_panel, answer=answer)
        drawn.append(Panel(draw, "difference to the best", difference_label(answer)))
        entries.append(entry("not told from the best at 5 % (Holm)", ls="", **_look(1.0, first=False)))
    if found.ranks is not None:
        there = int(np.isfinite(found.ranks.estimate).sum())
        label = f"of {there}, 1 the best; 95 % bootstrap interval"
        drawn.append(Panel(partial(ranks_panel, answer=answer), "mean rank", label))
    count, height = len(drawn), 1.6 + 0.3 * min(len(found.scores), MOST_ROWS)
    figure, axes = sheet.panels(drawn, count, 6.6 + 3.0 * (count - 1), height, [1.2, 1, 1][:count])
    for place in axes[1:] if not for_paper() else ():  # there the panels stand one below the other
        place.set_yticklabels([])
    legend(figure, entries)
    return figure


def means_panel(axes: Axes, answer: Answer) -> None:
    """A row for each of the best: the mean of the metric and its interval, the runs as dots above them."""
    _rows(axes, answer)
    scale = 100 if answer.metric.percent else 1
    for row, score in enumerate(answer.contest.scores[:MOST_ROWS]):
        runs = scale * np.array(score.finite)
        axes.plot(runs, [row + 0.25] * len(runs), **DOT)
        _interval(axes, row, answer, scale * np.array(score.interval[:3]))


def differences_panel(axes: Axes, answer: Answer) -> None:
    """A row for each of the best: its mean difference to the best of all, with its interval."""
    _rows(axes, answer)
    scale = 100 if answer.metric.percent else 1
    for row, found in enumerate(answer.contest.differences[:MOST_ROWS]):
        if row:
            _interval(axes, row, answer, scale * np.array(found[:3]))
    axes.axvline(0, color="black", lw=0.8, zorder=1)


def ranks_panel(axes: Axes, answer: Answer) -> None:
    """A row for each of the best: its mean rank over the runs that all have, 1 the best, with its interval."""
    _rows(axes, answer)
    ranks = answer.contest.ranks
    assert ranks is not None
    for row, ends in enumerate(zip(*ranks, strict=True)):
        if row < MOST_ROWS:
            _interval(axes, row, answer, np.array(ends))


def _interval(axes: Axes, row: int, answer: Answer, ends: Any) -> None:
    """The mean as a diamond on its interval; nothing where there is no mean."""
    mean, low, high = map(float, ends)
    if not math.isnan(mean):
        style = _look(answer.contest.p[row], first=not row)
        axes.plot([low, high], [row, row], color=style["color"], lw=1.8)
        axes.plot([mean], [row], ls="", **style)


def _rows(axes: Axes, answer: Answer) -> None:
    name_rows(axes, [plain(score.label, 44) for score in answer.contest.scores[:MOST_ROWS]], 0.4)


def _look(p: float, *, first: bool) -> dict[str, Any]:
    """Of a configuration's mark."""
    colour = OKABE_ITO[2] if first else OKABE_ITO[0]
    return {"color": colour, "marker": "D", "ms": 5.5, "mfc": "white" if p > ALPHA and not first else colour}


def of_subject(answer: Answer) -> str:
    """Of which experiment and data set, where there are several."""
    return f" on {plain(answer.subject, 40)}" if answer.subject else ""


def label_of(answer: Answer) -> str:
    """The metric with its unit."""
    return f"{answer.metric.words}{' (%)' if answer.metric.percent else ''}"


def difference_label(answer: Answer) -> str:
    """Of a difference of the metric."""
    return "percentage points" if answer.metric.percent else answer.metric.words


def legend(figure: Figure, entries: Sequence[Any]) -> None:
    """Entries below the panels."""
    if entries:
        columns = min(len(entries), 4)
        figure.legend(handles=list(entries), loc="outside lower center", ncols=columns, frameon=False)
