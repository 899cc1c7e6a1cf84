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

    Filled: told from the best at 5 % after Holm's correction, or the best itself; hollow: not told, or not tested.
    """
    found = answer.contest
    title = f"the best of {len(found.scores)}{of_subject(answer)}"
    drawn = [Panel(partial(rows_panel, answer=answer, of="mean"), title, label_of(answer))]
    entries = [entry("one run", **DOT), entry("mean and 95 % t-interval", OKABE_ITO[0], marker="D", lw=1.8)]
    if found.tested:
        draw = partial(rows_panel, answer=answer, of="difference")
        drawn.append(Panel(draw, "difference to the best", difference_label(answer)))
        entries.append(entry("not told from the best at 5 % (Holm)", ls="", **_look(1.0, first=False)))
    if found.ranks is not None:
        there = int(np.isfinite(found.ranks.estimate).sum())
        label = f"of {there}, 1 the best; 95 % bootstrap interval"
        drawn.append(Panel(partial(rows_panel, answer=answer, of="rank"), "mean rank", label))
    count, height = len(drawn), 1.6 + 0.3 * min(len(found.scores), MOST_ROWS)
    figure, axes = sheet.panels(drawn, count, 6.6 + 3.0 * (count - 1), height, [1.2, 1, 1][:count])
    for place in axes[1:] if not for_paper() else ():  # there the panels stand one below the other
        place.set_yticklabels([])
    legend(figure, entries)
    return figure


def rows_panel(axes: Axes, answer: Answer, of: str) -> None:
    """A row for each of the best, with the 95 % interval of what it shows.

    Args:
        axes: to draw on.
        answer: whose configurations.
        of: "mean" of the metric, with the runs as dots above it, "difference" of that mean to the best of all, paired
            where both have the same runs, or mean "rank" over the runs that all have, 1 the best.
    """
    found, scale = answer.contest, 100 if answer.metric.percent and of != "rank" else 1
    scores = found.scores[:MOST_ROWS]
    name_rows(axes, [plain(score.label, 44) for score in scores], 0.4)
    shown: dict[str, Any] = {
        "mean": [one.interval for one in scores],
        "difference": found.differences,
        "rank": np.transpose(found.ranks or ()),
    }
    for row, (score, told) in enumerate(zip(scores, shown[of], strict=False)):
        if of == "mean":
            axes.plot(scale * np.array(score.finite), [row + 0.25] * len(score.finite), **DOT)
        mean, low, high = (scale * float(end) for end in told[:3])
        if not math.isnan(mean):
            style = _look(found.p[row], first=not row)
            axes.plot([low, high], [row, row], color=style["color"], lw=1.8)
            axes.plot([mean], [row], ls="", **style)
    if of == "difference":
        axes.axvline(0, color="black", lw=0.8, zorder=1)


def _look(p: float, *, first: bool) -> dict[str, Any]:
    """Of a configuration's mark."""
    colour = OKABE_ITO[2] if first else OKABE_ITO[0]
    return {"color": colour, "marker": "D", "ms": 5.5, "mfc": colour if first or p <= ALPHA else "white"}


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
