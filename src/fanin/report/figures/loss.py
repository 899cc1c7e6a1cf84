"""A metric over training steps: seeds and their mean, the loss of guessing, who diverged and who leaves the axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from fanin.report.figures.encoding import GREY, plain
from fanin.report.figures.lines import Floats, cut_off, draw_steps, mark_diverged, mean_width, seeds_drawn
from fanin.report.figures.style import Sheet
from fanin.report.read.folders import Run, task_of
from fanin.report.read.series import Metrics

MOST_SAID = 4
MOST_BANDS = 8
FEWEST_IN_BAND = 3  # runs; the interval of two is wider than most panels, and both can be drawn
CHANCE = (0, (1, 1.5))


def metric_panel(
    axes: Axes, sheet: Sheet, runs: Sequence[Run], metrics: Metrics, column: str, *, band: bool = False
) -> None:
    """One column of metrics.csv over steps; of a loss what is far above the rest is cut off, for the end counts.

    Args:
        axes: the panel.
        sheet: with the configurations.
        runs, metrics: of the report.
        column: such as "batch_loss".
        band: the mean with its 95 % interval instead of a thin line for each seed.
    """
    count, is_loss = len(sheet.configurations), column.endswith("_loss")
    chance = chance_loss(runs) if is_loss else None
    share = not is_loss and task_of(runs).percent
    curves = []
    ends = [diverged_at(runs, one.members) for one in sheet.configurations]
    for one, colour, dash in zip(sheet.configurations, sheet.colours, sheet.encoding.dashes, strict=True):
        steps, values = metrics.matrix(one.members, column)
        interval = band and len(values) >= FEWEST_IN_BAND
        mean = draw_steps(
            axes, steps, values, colour, seeds=1 if interval else seeds_drawn(count), folds=one.folds,
            band=interval and count <= MOST_BANDS, lw=mean_width(count), ls=dash,
        )  # fmt: skip
        curves.append((steps, mean, values))
    if share:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    top = loss_top([mean if band else values.ravel() for _, mean, values in curves], chance) if not share else 1.0
    if chance and any(ends):
        top = max(top, 1.35 * chance)  # room for what is said above the line
    said: list[tuple[str, str]] = []
    for one, colour, at in zip(sheet.configurations, sheet.colours, ends, strict=True) if is_loss else ():
        mark_diverged(axes, at, 0.975 * top, colour)
        if at:
            steps_said = f"step {at[0]}" if at[0] == at[-1] else f"steps {at[0]} to {at[-1]}"
            some = "" if len(at) == len(one.members) else f" ({len(at)} of {len(one.members)})"
            said.append((f"{one.label}: diverged at {steps_said}{some}", colour))
    if len(said) > MOST_SAID:
        said = [(f"{len(said)} of {count} configurations diverged", GREY)]
    axes.set_ylim(bottom=min(0.0, *(float(np.nanmin(mean)) for _, mean, _ in curves if np.isfinite(mean).any()), 0.0))
    going_on = [(x, y, c) for (x, y, _), c, at in zip(curves, sheet.colours, ends, strict=True) if not at]
    beyond = cut_off(axes, top, going_on)
    if beyond:
        said.append((f"{beyond} of {count} go on above {top:.3g}", GREY))
    for line, (text, colour) in enumerate(said if is_loss else ()):
        say(axes, plain(text, 48), 1.0, -7 - 11 * line, colour)
    if chance:
        axes.axhline(chance, color=GREY, lw=0.9, ls=CHANCE, zorder=1.8)
        say(axes, chance_label(chance), chance / top, -3, GREY)
    axes.set_xlim(left=0)


def chance_loss(runs: Sequence[Run]) -> float | None:
    """The loss of guessing, where all runs that tell it agree."""
    told = {run.chance_loss for run in runs} - {None}
    return told.pop() if len(told) == 1 else None


def chance_label(chance: float) -> str:
    """ "chance, ln 10" where it is the logarithm of a number of classes."""
    classes = round(math.exp(min(chance, 20.0)))
    return f"chance, ln {classes}" if math.isclose(math.log(classes), chance) else f"chance, {chance:.3g}"


def diverged_at(runs: Sequence[Run], members: Sequence[int]) -> list[int]:
    """The steps at which runs diverged, sorted."""
    steps = [runs[i].diverged.get("step") for i in members if runs[i].state == "diverged"]
    return sorted(step for step in steps if isinstance(step, int))


def loss_top(curves: Sequence[Floats], chance: float | None) -> float:
    """The top of a loss axis: the largest value, but for spikes and curves that would flatten everything else.

    Curves count whose 90 % quantile is at most three times that of half of the curves, or three times the level of
    chance. Where nine in ten of their values lie lower, the top is 1.35 times that level (without it, that quantile).
    """
    finite = [curve[np.isfinite(curve)] for curve in curves]
    usual = [float(np.quantile(curve, 0.9)) if len(curve) else math.inf for curve in finite]
    bound = 3 * max(sorted(usual)[(len(usual) - 1) // 2] if usual else 0.0, chance or 0.0)
    values = np.concatenate([np.empty(0), *(curve for curve, q in zip(finite, usual, strict=True) if q <= bound)])
    quantile = float(np.quantile(values, 0.9)) if len(values) else 0.0
    most = max(1.35 * chance, 1.1 * quantile) if chance else 1.35 * quantile
    top = min(1.06 * float(values.max(initial=0.0)), most)
    return max(top, 1.12 * chance) if chance else top or 1.0


def say(axes: Axes, text: str, height: float, points: float, colour: str) -> None:
    """Write at the right edge, so many points below a height in [0, 1]."""
    axes.annotate(
        text, (1, height), (-2, points), xycoords="axes fraction", textcoords="offset points",
        color=colour, fontsize=8, ha="right", va="top", zorder=6,
    )  # fmt: skip
