"""The figure of the noise reduction study: the whole training set's loss over steps, convex and deep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.report.figures.lines import draw_runs
from fanin.report.figures.style import GREY, OKABE_ITO, Sheet, log_axis, panel
from fanin.report.statistics import geometric_mean, positive
from fanin.report.studies.base import Evidence
from fanin.report.studies.noise_reduction.courses import AVERAGED, DEPTH, GROWING, PLAIN, Course, courses, lowest_loss

ARMS = (
    ("sgd", PLAIN, "#000000"),
    ("growing batch", GROWING, OKABE_ITO[0]),
    ("averaging (Polyak)", AVERAGED, OKABE_ITO[1]),
    ("svrg", PLAIN | {"optimizer": "svrg"}, OKABE_ITO[2]),
    ("saga", PLAIN | {"optimizer": "saga"}, OKABE_ITO[3]),
)
ROUNDING = 1e-15
"""Below this share of the lowest loss a difference to it is rounding."""


def noise_figure(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """A panel for each depth, sgd and each remedy alone in it."""
    depths = sorted({int(value) for value in evidence.values(DEPTH) if value is not None})
    depths = [depth for depth in depths if any(courses(evidence, arm | {DEPTH: depth}) for _, arm, _ in ARMS)]
    if not depths:
        return None
    figure, axes = sheet.figure(1, len(depths), max(5.2 * len(depths), 6.5), 4.6)
    found = lowest_loss(evidence)
    drawn = set()
    for place, depth, letter in zip(axes, depths, "abcdefghijkl", strict=False):
        lowest = found[0] if depth == 1 and found is not None else 0.0
        for name, arm, colour in ARMS:
            some = courses(evidence, arm | {DEPTH: depth}, lowest)
            if some:
                drawn.add(name)
                _draw(place, some, colour, ROUNDING * lowest)
        place.set_yscale("log")
        place.set_xlim(left=0)
        log_axis(place)
        convex = "convex, one weight matrix: training loss above the minimum"
        deep = f"deep, {depth} weight matrices: training loss"
        panel(place, letter, convex if lowest else deep, "step")
    handles = [Line2D([], [], color=colour, lw=2.2, label=name) for name, _, colour in ARMS if name in drawn]
    handles.append(Line2D([], [], color=GREY, lw=0.7, alpha=0.7, label="one seed"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _draw(axes: Axes, some: Sequence[Course], colour: str, rounding: float) -> None:
    """The runs at the steps that all have, and their geometric mean."""
    steps = sorted(set.intersection(*({*one.steps.tolist()} for one in some)))
    above = np.array([one.above[np.isin(one.steps, steps)] for one in some])
    rows = positive(np.where(above > rounding, above, np.nan))
    mean = np.where(np.isnan(rows).any(axis=0), np.nan, geometric_mean(rows))
    draw_runs(axes, np.array(steps), rows, mean, colour)
