"""The figure of the normalization study: gradients at initialization, and the training loss for each variance."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.record.overrides import display
from fanin.report.figures.lines import mark_diverged, mark_handles
from fanin.report.figures.steps import diverged_at
from fanin.report.figures.style import Sheet, log_axis, panel
from fanin.report.read.folders import Run
from fanin.report.studies.base import Evidence
from fanin.report.studies.drawing import DASHES, chance_level, colours_of, draw_chance, draw_curves, entry, own_legend
from fanin.report.studies.gradients import draw_gradients
from fanin.report.studies.normalization.arms import (
    GROWTH,
    NONE,
    Arm,
    C,
    plain_runs,
)


def normalization_figure(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """Gradient norms over depth at init for the smallest c, then the training loss for each c, up to three."""
    arms = [arm for arm in (NONE, *GROWTH) if evidence.runs_with(arm.choices)]
    variances = sorted(float(c) for c in evidence.values(C) if isinstance(c, (int, float)))[:3]
    if not arms or not variances:
        return None
    colours = colours_of((NONE, *GROWTH))
    count = 1 + len(variances)
    made, axes = sheet.figure(1, count, 1.5 + 3.9 * count, 4.5)
    _gradients(axes[0], evidence, arms, variances[0], colours)
    panel(axes[0], "a", f"gradient norm ‖∂L/∂W‖ at init, c={display(variances[0])}", "weight layer")
    for letter, place, c in zip("bcd", axes[1:], variances, strict=False):
        _losses(place, evidence, arms, c, colours)
        panel(place, letter, f"training loss, c={display(c)}", "step")
    handles = [entry(arm.name, colours[arm]) for arm in arms]
    handles.append(entry("theory: 1.211 a layer, and 1", lw=1.1, ls=DASHES))
    own_legend(sheet, made, axes, [*handles, *mark_handles(axes)])
    return made


def _of(evidence: Evidence, arm: Arm, c: float) -> list[Run]:
    return plain_runs(evidence, c) if arm == NONE else evidence.runs_with({**arm.choices, C: c})


def _gradients(axes: Axes, evidence: Evidence, arms: Sequence[Arm], c: float, colours: dict[Arm, str]) -> None:
    axes.set_yscale("log")
    for arm in arms:
        draw_gradients(axes, evidence, _of(evidence, arm, c), colours[arm], GROWTH.get(arm))
    log_axis(axes)


def _losses(axes: Axes, evidence: Evidence, arms: Sequence[Arm], c: float, colours: dict[Arm, str]) -> None:
    chance = chance_level(evidence)
    top = 1.35 * chance[1] if chance else 3.0
    draw_chance(axes, evidence)
    for arm in arms:
        runs = _of(evidence, arm, c)
        draw_curves(axes, evidence, runs, "batch_loss", colours[arm])
        mark_diverged(axes, diverged_at(runs, range(len(runs))), 0.975 * top, colours[arm])
    axes.set_ylim(0, top)
    axes.set_xlim(left=0)
