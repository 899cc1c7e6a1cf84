"""Metrics over training steps: seeds and their mean, the loss of guessing, who diverged and who leaves the axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from fanin.report.figures import lines
from fanin.report.figures.encoding import GREY, note, plain
from fanin.report.figures.limits import cut_off, say_above, tell_beyond
from fanin.report.figures.lines import draw_steps, mark_diverged, mark_handles
from fanin.report.figures.style import Sheet, label_row, log_axis
from fanin.report.figures.ticks import brief
from fanin.report.read.configurations import Configuration
from fanin.report.read.folders import Run, error_unit, task_of
from fanin.report.read.series import Floats, Metrics
from fanin.report.statistics import mean_curve
from fanin.report.write.tables import span

PARTS = {"batch": "training", "val": "validation"}
MOST_SAID = 4
LETTERS = 15  # in an inch, at 8 points
MOST_BANDS = 8
FEWEST_IN_BAND = 3  # runs; the interval of two is wider than most panels, and both can be drawn
CHANCE = (0, (1, 1.5))
FLAT = 1000.0  # of what is so much smaller than the axis nothing is seen


AXES = {
    "step": "step",
    "epoch": "epoch",
    "examples": "examples",
    "gradients": "gradients of an example",
    "flops": "floating point operations",
    "seconds": "seconds",
}
"""What curves may go over: a column of metrics.csv, and its words."""


def curves_figure(sheet: Sheet, runs: Sequence[Run], metrics: Metrics, x: str = "step") -> Figure | None:
    """Loss left, error right; training above, validation below; a panel for each that was evaluated, or None.

    Means over seeds with their 95 % intervals, at every step, which stands where its mean over the seeds is on `x`.

    Args:
        sheet, runs, metrics: what is drawn.
        x: a key of AXES.
    """
    columns = [f"{part}_{what}" for part in PARTS for what in ("loss", "error")]
    columns = [column for column in columns if any(len(metrics.series(i, column)[0]) > 1 for i in range(len(runs)))]
    if not columns:
        return None
    height = 1.0 + 3.1 * ((len(columns) + 1) // 2)
    figure, rows = sheet.rows(len(columns), min(2, len(columns)), 10.0, height)
    for row, letter, column in zip(rows, "abcdef", columns, strict=False):
        metric_row(row, sheet, runs, metrics, column, band=True, x=x)
        part, _, what = column.partition("_")
        word = getattr(task_of(runs), what)
        unit = error_unit(runs) if what == "error" else ""
        label = f"{word},\nin {unit}" if unit else word
        label_row(row, letter, f"{PARTS[part]}{':' * (' ' in word)} {word}", AXES[x], label, last=row is rows[-1])
    drawn = [place for row in rows for place in row]
    over = "folds" if any(one.folds for one in sheet.configurations) else "seeds"
    banded = any(isinstance(one, PolyCollection) for place in drawn for one in place.collections)
    band = [Patch(color=GREY, alpha=0.25, lw=0, label=f"95 % interval over {over}")] if banded else []
    sheet.legend(figure, drawn, [*band, *mark_handles(drawn)])
    return figure


class _Drawn(NamedTuple):
    """One configuration in a panel: its runs' values [runs, S] at places [S], their mean, where runs diverged.

    `ends` are the steps of that, `marks` their places.
    """

    one: Configuration
    colour: str
    steps: Floats
    values: Floats
    mean: Floats
    ends: list[int]
    marks: list[float]


def metric_row(
    row: Sequence[Axes],
    sheet: Sheet,
    runs: Sequence[Run],
    metrics: Metrics,
    column: str,
    *,
    band: bool = False,
    x: str = "step",
) -> None:
    """One column of metrics.csv over steps; of a loss what is far above the rest is cut off, for the end counts.

    The axis of a loss is logarithmic where a quarter of the configurations and more end decades below its top.

    Args:
        row: a panel for each facet of the sheet, or one for all.
        sheet, runs, metrics, column: what is drawn.
        band: whether the mean has its 95 % interval instead of a thin line for each seed.
        x: what it goes over, a key of AXES.
    """
    is_loss = column.endswith("_loss")
    chance = chance_loss(runs) if is_loss else None
    share = not is_loss and task_of(runs).percent
    parts = sheet.facets if len(row) > 1 else [sheet]
    drawn = [_draw(axes, part, runs, metrics, column, band=band, x=x) for axes, part in zip(row, parts, strict=True)]
    curves = [one for own in drawn for one in own]
    counting = [one for one in curves if not one.ends] or curves  # what diverges has no end that counts
    top = 1.0 if share else loss_top([one.mean if band else one.values.ravel() for one in counting], chance)
    if chance and any(one.ends for one in curves):
        top = max(top, 1.35 * chance)  # room for what is said above the line
    bottom = min([0.0, *(float(np.nanmin(one.mean)) for one in curves if np.isfinite(one.mean).any())])
    log_bottom = decades_below([one.mean for one in counting], top) if is_loss else None
    for axes, own in zip(row, drawn, strict=True):
        if share:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        if log_bottom is not None:
            axes.set_yscale("log")
        _end(axes, own, top, bottom if log_bottom is None else log_bottom, is_loss=is_loss, alone=len(row) == 1)
        if band and sheet.crowd <= MOST_BANDS:
            draw_bands(axes, own)
        if log_bottom is not None:
            log_axis(axes)
        if chance:
            draw_chance(axes, chance, named=axes is row[-1])
        axes.set_xlim(left=0)


def _draw(
    axes: Axes, sheet: Sheet, runs: Sequence[Run], metrics: Metrics, column: str, *, band: bool, x: str
) -> list[_Drawn]:
    """Draw the configurations of one panel."""
    made = []
    for one, colour, look in zip(sheet.configurations, sheet.colours, sheet.encoding.styles, strict=True):
        steps, values = metrics.matrix(one.members, column)
        interval = band and len(values) >= FEWEST_IN_BAND
        seeds = 1 if interval else min(lines.MOST_SEEDS, lines.cloud_size(sheet.crowd))
        style = {"seeds": seeds, "lw": lines.mean_width(sheet.crowd), **look}
        places, ends = metrics.along(one.members, steps, x), diverged_at(runs, one.members)
        mean = draw_steps(axes, places, values, colour, folds=one.folds, **style)
        marks = metrics.along(one.members, np.unique(np.array(ends, float)), x)
        made.append(_Drawn(one, colour, places, values, mean, ends, marks[np.isfinite(marks)].tolist()))
    return made


def _end(axes: Axes, drawn: Sequence[_Drawn], top: float, bottom: float, *, is_loss: bool, alone: bool) -> None:
    """End a panel's axis, mark and count what goes on beyond it, and mark and name what diverged."""
    said: list[tuple[str, str]] = []
    for one in drawn if is_loss else ():
        if at := one.ends:
            mark_diverged(axes, one.marks, 0.975 * top, one.colour)
            when = span(at)
            some = "" if len(at) == len(one.one.members) else f" ({len(at)} of {len(one.one.members)})"
            room = int(LETTERS * axes.bbox.width / axes.figure.dpi)
            label = plain(one.one.label, max(8, min(60, room) - len(when + some) - 14))
            said.append((f"{label}: diverged at {when}{some}", one.colour))
    if said and not alone:
        say_above(axes, f"{len(said)} of {len(drawn)} diverged", right=False)
        said = []
    elif len(said) > MOST_SAID:
        said = [(f"{len(said)} of {len(drawn)} configurations diverged", GREY)]
    axes.set_ylim(bottom=bottom)
    beyond = cut_off(axes, top, [(one.steps, one.mean, one.colour) for one in drawn if not one.ends])
    if is_loss:
        tell_beyond(axes, beyond, len(drawn), alone=alone)
    for line, (text, colour) in enumerate(said):
        note(axes, text, (1, 1), (-2, -7 - 11 * line), ha="right", va="top", color=colour, zorder=6)


def draw_bands(axes: Axes, drawn: Sequence[_Drawn]) -> None:
    """Shade the 95 % intervals of the means, but where one is as wide as the axis, which it would only hide."""
    low_end, high_end = axes.get_ylim()
    for one in drawn:
        if len(one.values) < FEWEST_IN_BAND:
            continue
        _, low, high = mean_curve(one.values, one.one.folds)
        with np.errstate(invalid="ignore"):
            there = np.isfinite(low) & (high - low < high_end - low_end)
        if there.any():
            axes.fill_between(one.steps, low, high, where=there, color=one.colour, alpha=0.18, lw=0, zorder=2)


def chance_loss(runs: Sequence[Run]) -> float | None:
    """The loss of guessing, where all runs that tell it agree."""
    told = {run.chance_loss for run in runs} - {None}
    return told.pop() if len(told) == 1 else None


def draw_chance(axes: Axes, chance: float, *, named: bool = True) -> None:
    """A dotted line at the loss of guessing, named to the right of the panel."""
    axes.axhline(chance, color=GREY, lw=0.9, ls=CHANCE, zorder=1.8)
    if not named:
        return
    classes = round(math.exp(min(chance, 20.0)))
    level = f"ln {classes}" if math.isclose(math.log(classes), chance) else brief(chance)
    beside = ("axes fraction", "data")
    note(axes, f"chance,\n{level}", (1, chance), (4, 0), xycoords=beside, color=GREY, va="center")


def diverged_at(runs: Sequence[Run], members: Sequence[int]) -> list[int]:
    """The steps at which runs diverged, sorted."""
    steps = [runs[i].diverged.get("step") for i in members if runs[i].state == "diverged"]
    return sorted(step for step in steps if isinstance(step, int))


def loss_top(curves: Sequence[Floats], chance: float | None) -> float:
    """The top of a loss axis: the largest value, but for spikes and curves that would flatten everything else.

    Curves count whose 90 % quantile is at most three times that of a quarter of them, or three times the level of
    chance. Where nine in ten of their values lie lower, the top is 1.35 times that level (without it, that quantile).
    """
    finite = [curve[np.isfinite(curve)] for curve in curves]
    usual = [float(np.quantile(curve, 0.9)) if len(curve) else math.inf for curve in finite]
    bound = 3 * max(sorted(usual)[(len(usual) - 1) // 4] if usual else 0.0, chance or 0.0)
    values = np.concatenate([np.empty(0), *(curve for curve, q in zip(finite, usual, strict=True) if q <= bound)])
    quantile = float(np.quantile(values, 0.9)) if len(values) else 0.0
    most = max(1.35 * chance, 1.1 * quantile) if chance else 1.35 * quantile
    top = min(1.06 * float(values.max(initial=0.0)), most)
    return max(top, 1.12 * chance) if chance else top or 1.0


def decades_below(curves: Sequence[Floats], top: float) -> float | None:
    """The bottom of a logarithmic axis, a whole decade, where a linear one would show much as 0; else None.

    That is where a quarter of the curves that end on the axis end FLAT times below its top, and none is 0 or negative.

    >>> decades_below([np.array([2.0, 1e-4]), np.array([2.0, 1.0])], 2.1)
    0.0001
    """
    ends = [float(curve[np.isfinite(curve)][-1]) for curve in curves if np.isfinite(curve).any()]
    ends = [end for end in ends if end <= top]
    if not ends or any((curve <= 0).any() for curve in curves):
        return None
    low = float(np.quantile(ends, 0.25, method="lower"))
    return 10.0 ** math.floor(math.log10(min(ends))) if low * FLAT <= top else None
