"""The study figure: activation norm and gradient norm over depth at initialization, and the loss in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fanin.report.figures.encoding import GREY
from fanin.report.figures.lines import (
    MOST_SEEDS,
    cloud_size,
    draw_profile,
    geometric_mean,
    mark_handles,
    mean_width,
    positive,
)
from fanin.report.figures.loss import metric_panel
from fanin.report.figures.style import Sheet, darker, log_axis, panel
from fanin.report.read.folders import Run, task_of
from fanin.report.read.series import Metrics, Profiles

LAYERS = "weight layer"
# By weight layers where they have activations, for modules alternate: a linear map's norm, its activation's, ...
PROFILE_PANELS = (
    ("weight", "activation_norm", "activation norm of a layer", "‖Z‖"),
    ("weight", "gradient_norm", "gradient norm of a layer", "‖∂L/∂W‖"),
)
WIDTHS = (7.5, 9.5, 13.2)  # inches, for so many panels
MOST_BANDS = 6
MOST_THEORY = 12
DASHES = (0, (4, 2.2))


def study_figure(sheet: Sheet, runs: Sequence[Run], profiles: Profiles, metrics: Metrics) -> Figure | None:
    """The study's figure, of as many panels as there is something to draw; None if there is nothing.

    Activation norm and gradient norm over weight layers, measured (thin: one seed, thick: geometric mean) over theory
    (dashed: median, shaded: one standard deviation of one seed, dotted: mean square); training loss over steps with
    the loss of guessing.
    """
    shown = [spec for spec in PROFILE_PANELS if profiles.lengths("init", *spec[:2]).any()]
    trained = any(len(metrics.series(i, "batch_loss")[0]) > 1 for i in range(len(runs)))
    count = len(shown) + trained
    if not count:
        return None
    figure, axes = sheet.figure(1, count, WIDTHS[count - 1], 4.5, [1.25, 1, 1][:count])
    for place, letter, (axis, quantity, title, unit) in zip(axes, "ab", shown, strict=False):
        draw_over_depth(place, sheet, profiles, axis, quantity)
        panel(place, letter, title, LAYERS, unit)
    if trained:
        metric_panel(axes[-1], sheet, runs, metrics, "batch_loss")
        word = task_of(runs).loss
        panel(axes[-1], "abc"[count - 1], f"training {word}", "step", word)
    sheet.legend(figure, axes, [*_style_handles(sheet, profiles), *mark_handles(axes)])
    return figure


def has_theory(profiles: Profiles) -> bool:
    """Whether any run has a theory for what the figure shows."""
    specs = [(axis, quantity) for axis, quantity, *_ in PROFILE_PANELS]
    return any(np.isfinite(profiles.matrix("init", *spec, "theory")).any() for spec in specs)


def draw_over_depth(axes: Axes, sheet: Sheet, profiles: Profiles, axis: str, quantity: str) -> None:
    """One quantity at initialization over depth, for every configuration, with its theory."""
    axes.set_yscale("log")
    values, lengths = profiles.matrix("init", axis, quantity), profiles.lengths("init", axis, quantity)
    theory, low, high = (profiles.matrix("init", axis, quantity, name) for name in ("theory", "band_low", "band_high"))
    mean_square = profiles.matrix("init", axis, f"{quantity}_mean_square", "theory")
    count = len(sheet.configurations)

    def line(curve: np.ndarray, colour: object, style: object, lw: float, order: float) -> None:
        axes.plot(np.arange(1, len(curve) + 1), positive(curve), ls=style, color=colour, lw=lw, zorder=order)

    for one, colour, dash in zip(sheet.configurations, sheet.colours, sheet.encoding.dashes, strict=True):
        members, dark = one.members, darker(colour)
        if count <= MOST_BANDS:
            band = geometric_mean(low[members]), geometric_mean(high[members])
            axes.fill_between(np.arange(1, len(band[0]) + 1), *band, color=colour, alpha=0.13, lw=0, zorder=1.5)
            for edge in band if len(members) > MOST_SEEDS else ():  # through the cloud, which hides the shade
                line(edge, dark, "-", 0.7, 3.3)
            line(geometric_mean(mean_square[members]), dark, ":", 0.9, 3.4)
        if count <= MOST_THEORY and not sheet.encoding.dashed:
            line(geometric_mean(theory[members]), dark, DASHES, 0.9, 3.5)
        chosen, seeds = (values[members], lengths[members]), cloud_size(count)
        draw_profile(axes, *chosen, colour, seeds=seeds, log=True, lw=mean_width(count), ls=dash)
    log_axis(axes)


def _style_handles(sheet: Sheet, profiles: Profiles) -> list[Artist]:
    """Legend entries for the line styles that occur; that there is no theory is said where there is none."""
    handles: list[Artist] = []
    count = len(sheet.configurations)
    most = max(len(one.members) for one in sheet.configurations)
    if most > 1 and cloud_size(count) > 1:
        drawn = cloud_size(count)
        label = "one seed" + (f" ({drawn} of {most} drawn)" if most > drawn else "")
        handles += [Line2D([], [], color=GREY, lw=0.7, alpha=0.7, label=label)]
    if most > 1:
        handles += [Line2D([], [], color=GREY, lw=1.8, label="mean over seeds")]
    if not has_theory(profiles):
        measured = profiles.lengths("init", "weight", "activation_norm").any()
        return [*handles, *([Line2D([], [], ls="", label="(no theory for this recipe)")] if measured else [])]
    if count <= MOST_THEORY and not sheet.encoding.dashed:
        handles += [Line2D([], [], color=GREY, lw=1.1, ls=DASHES, label="theory")]
    if count <= MOST_BANDS and np.isfinite(profiles.matrix("init", "weight", "activation_norm", "band_low")).any():
        handles += [Patch(color=GREY, alpha=0.2, lw=0, label="±1 sd of one seed")]
    if count <= MOST_BANDS and profiles.matrix("init", "weight", "activation_norm_mean_square", "theory").size:
        handles += [Line2D([], [], color=GREY, lw=1.1, ls=":", label="theory, mean square")]
    return handles
