"""The figure of the preprocessing study: losses at the best rates, and final losses over rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.record.overrides import display
from fanin.report.figures.lines import mark_end
from fanin.report.figures.style import Sheet, panel
from fanin.report.studies.base import Evidence
from fanin.report.studies.drawing import DASHES, colours_of, draw_curves, entry, own_legend
from fanin.report.studies.preprocessing.curvature import RATE, largest_curvature
from fanin.report.studies.tuning import best_runs, best_value

NAMES = {
    "none": "raw", "minmax": "to [0, 1]", "center": "centred", "standardize": "standardized",
    "pca_whiten": "PCA-whitened", "zca_whiten": "ZCA-whitened",
}  # fmt: skip


def preprocessing_figure(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """Left the loss over steps, each input at its best rate; right the final loss over rates, with 2/h1."""
    options = [option for option in NAMES if evidence.runs_with({"preprocess": option})]
    if not options:
        return None
    colours = colours_of(options)
    made, (left, right) = sheet.figure(1, 2, 10.6, 4.4)
    handles = []
    for option in options:
        rate = best_value(evidence, {"preprocess": option}, RATE)
        if rate is not None:
            draw_curves(
                left, evidence, best_runs(evidence, {"preprocess": option}, RATE), "batch_loss", colours[option]
            )
        handles.append(entry(NAMES[option] + (f", lr {display(rate)}" if rate is not None else ""), colours[option]))
    for axes in (left, right):
        axes.set_yscale("log")
        axes.set_xscale("log")
    _over_rates(right, evidence, colours)
    panel(left, "a", "training loss at the best rate", "step")
    panel(right, "b", "training loss at the end", "learning rate")
    handles.append(entry("2/h1, the largest rate that converges", lw=1.1, ls=DASHES))
    handles.append(entry("diverged", lw=0, marker="X", ms=6, mec="white"))
    own_legend(sheet, made, [left, right], handles)
    return made


def _over_rates(axes: Axes, evidence: Evidence, colours: dict[str, str]) -> None:
    """Final losses by learning rate; runs that diverged are crosses on a line above all others."""
    ends = {option: _ends(evidence, option) for option in colours}
    finite = [loss for points in ends.values() for _, losses in points for loss in losses if math.isfinite(loss)]
    top = 2.5 * max(finite, default=1.0)
    for position, (option, points) in enumerate(ends.items()):
        rates = [rate for rate, losses in points if all(map(math.isfinite, losses))]
        means = [fmean(losses) for _, losses in points if all(map(math.isfinite, losses))]
        axes.plot(rates, means, "o-", color=colours[option], ms=4, lw=1.4, zorder=3)
        for rate, losses in points:
            if not all(map(math.isfinite, losses)):
                mark_end(axes, rate, top * 1.22**position, colours[option])
        largest = largest_curvature(evidence, option)
        if largest is not None:
            axes.axvline(2 / largest, color=colours[option], lw=1.1, ls=DASHES, zorder=1.9)
    axes.set_ylim(top=top * 1.22 ** len(ends) * 1.1)


def _ends(evidence: Evidence, option: str) -> list[tuple[float, Sequence[float]]]:
    """Final losses of all seeds for each rate, by rate; nan for runs that diverged."""
    points = []
    for rate in (rate for rate in evidence.values(RATE) if isinstance(rate, (int, float))):
        runs = evidence.runs_with({"preprocess": option, RATE: rate})
        losses = [run.numbers.get("train_loss", math.nan) if run.state == "done" else math.nan for run in runs]
        if losses:
            points.append((float(rate), losses))
    return sorted(points)
