"""Metrics over training steps: seeds and their mean, the loss of guessing, who diverged and who leaves the axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from fanin.report.figures import lines
from fanin.report.figures.encoding import GREY, plain
from fanin.report.figures.lines import cut_off, draw_steps, mark_diverged, mark_handles
from fanin.report.figures.style import Sheet, panel
from fanin.report.read.folders import Run, task_of
from fanin.report.read.series import Floats, Metrics

PARTS = {"batch": "training", "val": "validation"}
MOST_SAID = 4
MOST_BANDS = 8
FEWEST_IN_BAND = 3  # runs; the interval of two is wider than most panels, and both can be drawn
CHANCE = (0, (1, 1.5))


def curves_figure(sheet: Sheet, runs: Sequence[Run], metrics: Metrics) -> Figure | None:
    """Loss left, error right; training above, validation below; a panel for each that was evaluated, or None.

    Means over seeds with their 95 % intervals.
    """
    columns = [f"{part}_{what}" for part in PARTS for what in ("loss", "error")]
    columns = [column for column in columns if any(len(metrics.series(i, column)[0]) > 1 for i in range(len(runs)))]
    if not columns:
        return None
    rows = (len(columns) + 1) // 2
    figure, axes = sheet.figure(rows, min(2, len(columns)), 10.0, 1.0 + 3.1 * rows)
    for place in axes[len(columns) :]:
        place.remove()
    drawn = axes[: len(columns)]
    for place, letter, column in zip(drawn, "abcd", columns, strict=False):
        metric_panel(place, sheet, runs, metrics, column, band=True)
        part, _, what = column.partition("_")
        word = getattr(task_of(runs), what)
        panel(place, letter, f"{PARTS[part]}{':' * (' ' in word)} {word}", "step", word)
    over = "folds" if any(one.folds for one in sheet.configurations) else "seeds"
    banded = any(isinstance(one, PolyCollection) for place in drawn for one in place.collections)
    band = [Patch(color=GREY, alpha=0.25, lw=0, label=f"95 % interval over {over}")] if banded else []
    sheet.legend(figure, drawn, [*band, *mark_handles(drawn)])
    return figure


def metric_panel(
    axes: Axes, sheet: Sheet, runs: Sequence[Run], metrics: Metrics, column: str, *, band: bool = False
) -> None:
    """One column of metrics.csv over steps; of a loss what is far above the rest is cut off, for the end counts.

    With `band` the mean has its 95 % interval instead of a thin line for each seed.
    """
    count, is_loss = len(sheet.configurations), column.endswith("_loss")
    chance = chance_loss(runs) if is_loss else None
    share = not is_loss and task_of(runs).percent
    ends = [diverged_at(runs, one.members) for one in sheet.configurations]
    curves = []
    for one, colour, dash in zip(sheet.configurations, sheet.colours, sheet.encoding.dashes, strict=True):
        steps, values = metrics.matrix(one.members, column)
        interval = band and len(values) >= FEWEST_IN_BAND
        seeds = 1 if interval else min(lines.MOST_SEEDS, lines.cloud_size(count))
        style = {"seeds": seeds, "lw": lines.mean_width(count), "ls": dash}
        mean = draw_steps(axes, steps, values, colour, folds=one.folds, band=interval and count <= MOST_BANDS, **style)
        curves.append((steps, mean, values))
    if share:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    top = 1.0 if share else loss_top([mean if band else values.ravel() for _, mean, values in curves], chance)
    if chance and any(ends):
        top = max(top, 1.35 * chance)  # room for what is said above the line
    said: list[tuple[str, str]] = []
    for one, colour, at in zip(sheet.configurations, sheet.colours, ends, strict=True):
        if is_loss and at:
            mark_diverged(axes, at, 0.975 * top, colour)
            when = f"step {at[0]}" if at[0] == at[-1] else f"steps {at[0]} to {at[-1]}"
            some = "" if len(at) == len(one.members) else f" ({len(at)} of {len(one.members)})"
            said.append((f"{plain(one.label, 60 - len(when + some))}: diverged at {when}{some}", colour))
    if len(said) > MOST_SAID:
        said = [(f"{len(said)} of {count} configurations diverged", GREY)]
    axes.set_ylim(bottom=min([0.0, *(float(np.nanmin(mean)) for _, mean, _ in curves if np.isfinite(mean).any())]))
    going_on = [(x, y, c) for (x, y, _), c, at in zip(curves, sheet.colours, ends, strict=True) if not at]
    beyond = cut_off(axes, top, going_on)
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "fontsize": 8, "ha": "right"}
    if beyond and is_loss:  # beside the panel's title
        axes.annotate(f"{beyond} of {count} go on above {top:.3g}", (1, 1), (-2, 6), va="bottom", color=GREY, **place)
    for line, (text, colour) in enumerate(said):
        axes.annotate(text, (1, 1), (-2, -7 - 11 * line), va="top", color=colour, zorder=6, **place)
    if chance:
        draw_chance(axes, chance)
    axes.set_xlim(left=0)


def chance_loss(runs: Sequence[Run]) -> float | None:
    """The loss of guessing, where all runs that tell it agree."""
    told = {run.chance_loss for run in runs} - {None}
    return told.pop() if len(told) == 1 else None


def draw_chance(axes: Axes, chance: float) -> None:
    """A dotted line at the loss of guessing, named to the right of the panel."""
    axes.axhline(chance, color=GREY, lw=0.9, ls=CHANCE, zorder=1.8)
    classes = round(math.exp(min(chance, 20.0)))
    level = f"ln {classes}" if math.isclose(math.log(classes), chance) else f"{chance:.3g}"
    axes.annotate(
        f"chance,\n{level}", (1, chance), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
        color=GREY, fontsize=8, va="center",
    )  # fmt: skip


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
