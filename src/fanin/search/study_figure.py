"""The figure of a study of searches: how fast each gets how far, and what it chooses in the end."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from fanin.report.figures.style import GREY, OKABE_ITO, Sheet, panel
from fanin.search.compared import Searches, median_of

PLACES = 200
"""Numbers of steps at which the medians are drawn."""


def searches_figure(sheet: Sheet, made: Searches) -> Figure:
    """Two panels: medians of the best validation error over the steps spent, and the test errors of what was chosen."""
    figure, (left, right) = sheet.figure(1, 2, 10.0, 4.0)
    spent = np.linspace(0, made.budget, PLACES)
    colours = {name: OKABE_ITO[place % len(OKABE_ITO)] for place, name in enumerate(made.found)}
    for row, (name, found) in enumerate(made.found.items()):
        best = np.full((len(found), PLACES), np.inf)
        for place, one in enumerate(found):
            for steps, value in zip(one.steps, one.best, strict=True):
                best[place, spent >= steps] = value
        ordered = np.sort(best, axis=0)
        middle = (ordered[(len(found) - 1) // 2] + ordered[len(found) // 2]) / 2
        shown = np.where(np.isfinite(middle), middle, np.nan)
        left.step(spent / made.table.steps, shown, where="post", color=colours[name], lw=1.6, label=name)
        chosen = [value for value in made.chosen(name) if np.isfinite(value)]
        right.plot(chosen, [row] * len(chosen), "o", ms=3, color=GREY, mew=0, alpha=0.6)
        if chosen:
            told = median_of(chosen)
            right.plot([told.low, told.high], [row, row], color=colours[name], lw=2.0)
            right.plot(told.middle, row, "o", ms=6, color=colours[name])
    right.set_yticks(range(len(made.found)), list(made.found))
    right.invert_yaxis()
    panel(left, "a", "best so far, medians", "steps in whole runs", "validation error")
    panel(right, "b", "what was chosen", "test error over all seeds")
    left.legend(frameon=False)
    return figure
