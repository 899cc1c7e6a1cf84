"""The panel of a loss over training steps: seeds, their mean, the level of chance, and who diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from fanin.report.figures.lines import Floats, mark_diverged, mean_width, seeds_drawn
from fanin.report.figures.style import GREY, Sheet, plain
from fanin.report.read.folders import Run
from fanin.report.read.series import Metrics
from fanin.report.statistics import mean_curve

MOST_SAID = 4


def loss_panel(axes: Axes, sheet: Sheet, runs: Sequence[Run], metrics: Metrics) -> None:
    """Training loss over steps; what is far above the level of chance is cut off, for the end is what counts."""
    chance, classes = next(
        ((run.files.chance_loss, run.files.classes) for run in runs if run.files.chance_loss), (None, None)
    )
    count = len(sheet.configurations)
    drawn = [
        (one, colour, *metrics.matrix(one.members, "train_loss"))
        for one, colour in zip(sheet.configurations, sheet.colours, strict=True)
    ]
    finite = np.concatenate([values[np.isfinite(values)] for *_, values in drawn])
    top = loss_top(finite, chance)
    said: list[tuple[str, str]] = []
    for one, colour, steps, values in drawn:
        for row in values[: seeds_drawn(count)] if len(values) > 1 and seeds_drawn(count) > 1 else ():
            there = np.isfinite(row)
            axes.plot(steps[there], row[there], color=colour, lw=0.6, alpha=0.45, zorder=2.2)
        mean = mean_curve(values)[0]
        there = np.isfinite(mean)
        axes.plot(steps[there], mean[there], color=colour, lw=mean_width(count), zorder=3)
        ends = diverged_at(runs, one.members)
        mark_diverged(axes, ends, 0.975 * top, colour)
        if ends:
            at = f"step {ends[0]}" if ends[0] == ends[-1] else f"steps {ends[0]} to {ends[-1]}"
            share = "" if len(ends) == len(one.members) else f" ({len(ends)} of {len(one.members)})"
            said.append((f"{one.label}: diverged at {at}{share}", colour))
    if len(said) > MOST_SAID:
        said = [(f"{len(said)} of {count} configurations diverged", GREY)]
    for line, (text, colour) in enumerate(said):
        _say(axes, plain(text, 48), 1.0, -3 - 11 * line, colour)
    if chance:
        axes.axhline(chance, color=GREY, lw=0.9, ls=(0, (1, 1.5)), zorder=1.8)
        of_equal_scores = classes is not None and math.isclose(chance, math.log(classes))
        _say(axes, f"chance, ln {classes}" if of_equal_scores else "chance", chance / top, -3, GREY)
    axes.set_ylim(0, top)
    axes.set_xlim(left=0)


def diverged_at(runs: Sequence[Run], members: Sequence[int]) -> list[int]:
    """The steps at which runs diverged, sorted."""
    steps = [runs[i].files.diverged.get("step") for i in members if runs[i].state == "diverged"]
    return sorted(step for step in steps if isinstance(step, int))


def loss_top(values: Floats, chance: float | None) -> float:
    """The top of a loss axis: the largest value, but for spikes that would flatten everything else.

    Where nine in ten values lie lower, 1.35 times the level of chance (without that level, of their 90 % quantile).
    """
    finite = values[np.isfinite(values)]
    usual = float(np.quantile(finite, 0.9)) if len(finite) else 0.0
    bound = max(1.35 * chance, 1.1 * usual) if chance else 1.35 * usual
    top = min(1.06 * float(finite.max(initial=0.0)), bound)
    return max(top, 1.12 * chance) if chance else top or 1.0


def _say(axes: Axes, text: str, height: float, points: float, colour: str) -> None:
    """Write at the right edge, so many points below a height in [0, 1]."""
    axes.annotate(
        text, (1, height), (-2, points), xycoords="axes fraction", textcoords="offset points",
        color=colour, fontsize=8, ha="right", va="top", zorder=6,
    )  # fmt: skip
