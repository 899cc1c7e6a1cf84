"""The figure of the regularization study: both losses over steps, test errors, and L2 beside weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.report.compare.sides import same_value, value_of
from fanin.report.figures.style import GREY, OKABE_ITO, Sheet, log_axis, panel, plain
from fanin.report.statistics import geometric_mean, positive
from fanin.report.studies.base import Evidence, numbers_of
from fanin.report.studies.pairs import pairs, relative_gap

ORDER = ("none", "l1", "l2", "weight_decay", "max_norm", "dropout", "label_smoothing", "early_stopping")
COLOURS = dict(zip(ORDER, ("#000000", *OKABE_ITO[:6], "#7B3FA0"), strict=True))
DASHED = {"weight_decay": (0, (3, 2))}  # under sgd it lies on l2
MARKS = ("o", "D", "^", "s")


def regularization_figure(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """Training loss and validation error over steps, test errors at the end, the gap between L2 and weight decay."""
    names = [name for name in map(str, evidence.values("regularizer")) if name != "None"]
    names = [name for name in ORDER if name in names] + sorted({*names} - {*ORDER})
    optimizers = sorted(map(str, evidence.values("optimizer")), key=lambda name: (name != "sgd", name))
    if not evidence.runs_with({}) or not names:
        return None
    colours = dict(zip([n for n in names if n not in COLOURS], OKABE_ITO * len(names), strict=False)) | COLOURS
    figure, axes = sheet.figure(2, 2, 10.5, 7.6)
    for place, column in zip(axes, ("train_loss", "val_error"), strict=False):
        _curves(place, evidence, names, optimizers[0], column, colours)
    panel(axes[0], "a", f"training loss, {plain(optimizers[0])}", "step")
    panel(axes[1], "b", f"validation error, {plain(optimizers[0])}, %", "step")
    _errors(axes[2], evidence, names, optimizers, colours)
    panel(axes[2], "c", "test error at the end", "%")
    _gaps(axes[3], evidence, optimizers)
    panel(axes[3], "d", "L2 and weight decay: how far their losses are apart, relative", "step")
    handles = [
        Line2D([], [], color=colours[name], lw=2.2, ls=DASHED.get(name, "-"), label=plain(name.replace("_", " "), 30))
        for name in names
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 8), frameon=False)
    return figure


def _curves(
    axes: Axes, evidence: Evidence, names: Sequence[str], optimizer: str, column: str, colours: dict[str, str]
) -> None:
    """Means over seeds as far as all of them go: of the loss on a logarithmic axis, of the error in percent."""
    for name in names:
        runs = [run for run in evidence.runs_with({"optimizer": optimizer}) if _is(run, name)]
        # Of two rows of one step the first: the last is that of the best weights, after early stopping.
        by_run = [dict(zip(*(one[::-1] for one in evidence.curve(run, column)), strict=True)) for run in runs]
        steps = sorted(set.intersection(*map(set, by_run))) if by_run else []
        values = np.array([[values[step] for step in steps] for values in by_run])
        if steps:
            mean = geometric_mean(values) if column == "train_loss" else 100 * values.mean(axis=0)
            axes.plot(steps, mean, color=colours[name], lw=1.4, ls=DASHED.get(name, "-"), zorder=3)
    if column == "train_loss":
        axes.set_yscale("log")
        log_axis(axes)
    axes.set_xlim(left=0)


def _errors(
    axes: Axes, evidence: Evidence, names: Sequence[str], optimizers: Sequence[str], colours: dict[str, str]
) -> None:
    """A mark for each run, a row for each regularizer, and a bar at the mean of each optimizer."""
    handles: list[Artist] = []
    for position, optimizer in enumerate(optimizers):
        mark, shift = MARKS[position % len(MARKS)], 0.3 * (position - (len(optimizers) - 1) / 2)
        filled = position == 0
        handles.append(
            Line2D([], [], ls="", marker=mark, color=GREY, mfc=GREY if filled else "white", ms=5, label=optimizer)
        )
        for row, name in enumerate(names):
            runs = [run for run in evidence.runs_with({"optimizer": optimizer}) if _is(run, name)]
            errors = 100 * np.array(numbers_of(runs, "test_error"))
            if len(errors):
                face = colours[name] if filled else "white"
                axes.plot(errors, np.full(len(errors), row + shift), mark, color=colours[name], mfc=face, ms=4.5)
                axes.plot([errors.mean()] * 2, [row + shift - 0.14, row + shift + 0.14], color=colours[name], lw=1.6)
    axes.set_yticks(range(len(names)), [plain(name.replace("_", " "), 22) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.legend(handles=handles, loc="upper right", frameon=True, framealpha=0.9, edgecolor="none")


def _gaps(axes: Axes, evidence: Evidence, optimizers: Sequence[str]) -> None:
    """A line for each seed."""
    handles: list[Artist] = []
    for position, optimizer in enumerate(optimizers):
        one, other = ({"regularizer": [name], "optimizer": optimizer} for name in ("l2", "weight_decay"))
        style: dict[str, Any] = {"color": OKABE_ITO[position % len(OKABE_ITO)], "lw": 1.2}
        for first, second in pairs(evidence, one, other):
            steps, gap = relative_gap(evidence, first, second)
            axes.plot(steps, positive(gap), **style)
        handles.append(Line2D([], [], label=optimizer, **style))
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    low, high = axes.get_ylim()
    axes.set_ylim(low, max(high, 2.0))
    log_axis(axes)
    axes.legend(handles=handles, loc="center right", frameon=True, framealpha=0.9, edgecolor="none")


def _is(run: object, name: str) -> bool:
    return same_value(value_of(run, "regularizer"), name)  # type: ignore[arg-type]
