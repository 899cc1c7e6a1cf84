"""The figure of the schedule study: learning rate above, training loss below, without and with a warm-up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.report.figures.lines import mark_diverged, mark_handles
from fanin.report.figures.steps import diverged_at
from fanin.report.figures.style import GREY, OKABE_ITO, Sheet, log_axis, panel, plain
from fanin.report.read.folders import Run
from fanin.report.statistics import geometric_mean, mean_curve, positive
from fanin.report.studies.base import Evidence

WARMUP = "schedule.warmup_steps"
ORDER = (
    "constant", "step", "inverse_time", "exponential", "cosine", "linear", "triangular", "warm_restarts", "one_cycle",
)  # fmt: skip
HIGHEST = 3.0  # the losses of the first steps, up to tens, would flatten the rest
COLOURS = dict(zip(ORDER, ("#000000", *OKABE_ITO[:6], "#7B3FA0", "#8C564B"), strict=True))


def schedule_figure(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """Two panels, one above the other, for each length of warm-up."""
    warmups = sorted({float(value or 0) for value in evidence.values(WARMUP)})
    if not evidence.runs_with({}) or not warmups:
        return None
    names = [str(value) for value in evidence.values("schedule")]
    names = [name for name in ORDER if name in names] + sorted({*names} - {*ORDER})
    colours = dict(zip([n for n in names if n not in COLOURS], OKABE_ITO * len(names), strict=False)) | COLOURS
    columns = len(warmups)
    figure, axes = sheet.figure(2, columns, max(5.2 * columns, 6.5), 6.6)
    for column, warmup in enumerate(warmups):
        rates, losses = axes[column], axes[columns + column]
        runs = {name: evidence.runs_with({"schedule": name, WARMUP: warmup}) for name in names}
        for name in names:
            _draw(rates, losses, evidence, runs[name], colours[name])
        _say_diverged(losses, [name for name in names if any(run.state == "diverged" for run in runs[name])])
        how = f"warm-up of {warmup:g} steps" if warmup else "no warm-up"
        panel(rates, "ab"[column] if columns < 3 else "", f"learning rate, {how}", "step")
        panel(losses, "cd"[column] if columns < 3 else "", f"training loss, {how}", "step")
        losses.set_yscale("log")
    _share(axes[:columns], low=0.0)
    _share(axes[columns:], high=HIGHEST)
    for place in axes[columns:]:
        log_axis(place)
    handles = [Line2D([], [], color=colours[name], lw=2.2, label=plain(name.replace("_", " "))) for name in names]
    handles += mark_handles(axes)  # type: ignore[arg-type]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    return figure


def _draw(rates: Axes, losses: Axes, evidence: Evidence, runs: Sequence[Run], colour: str) -> None:
    """The rate of the run that came furthest, and the mean loss over seeds."""
    positions = [evidence.position(run) for run in runs]
    if not positions:
        return
    steps, rate = max((evidence.metrics.series(one, "lr") for one in positions), key=lambda series: len(series[0]))
    rates.plot(steps, rate, color=colour, lw=1.4, zorder=3)
    ends = diverged_at(evidence.runs, positions)
    if len(ends) == len(positions) and len(rate):
        mark_diverged(rates, ends[-1:], float(rate[-1]), colour)
    steps, values = evidence.metrics.matrix([p for p in positions if evidence.runs[p].state == "done"], "batch_loss")
    if len(steps):
        mean = geometric_mean(np.where(np.isnan(mean_curve(values)[0]), np.nan, values))
        losses.plot(steps, positive(mean), color=colour, lw=1.3, zorder=3)


def _say_diverged(axes: Axes, names: Sequence[str]) -> None:
    if names:
        lines = ["diverged within a few steps:", *(name.replace("_", " ") for name in names)]
        axes.annotate(
            "\n".join(lines), (1, 1), (-2, -3), xycoords="axes fraction", textcoords="offset points",
            color=GREY, fontsize=8, ha="right", va="top",
        )  # fmt: skip


def _share(axes: Sequence[Axes], low: float | None = None, high: float | None = None) -> None:
    """One scale for panels side by side."""
    drawn = [place for place in axes if place.has_data()]
    if not drawn:
        return
    bottom, top = (end(place.get_ylim()[i] for place in drawn) for i, end in ((0, min), (1, max)))
    right = max(place.get_xlim()[1] for place in drawn)
    for place in axes:
        place.set_ylim(bottom if low is None else low, top if high is None else min(high, top))
        place.set_xlim(0, right)
