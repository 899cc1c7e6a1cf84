"""The study figure: activation norm and gradient norm over depth at initialization, and the loss in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fanin.report.figures.lines import (
    MOST_SEEDS,
    cloud_size,
    draw_profile,
    geometric_mean,
    mark_handles,
    mean_width,
    positive,
)
from fanin.report.figures.loss import loss_panel
from fanin.report.figures.style import GREY, Sheet, darker, log_axis, panel
from fanin.report.read.folders import Run
from fanin.report.read.series import Metrics, Profiles

LAYERS = "weight layer"
PROFILE_PANELS = (
    ("module", "activation_norm", "activation norm  ‖Z‖", "module"),
    ("weight", "gradient_norm", "gradient norm  ‖∂L/∂W‖", LAYERS),
)
WIDTHS = (7.5, 9.5, 13.2)  # inches, for so many panels
MOST_BANDS = 6
MOST_THEORY = 12
DASHES = (0, (4, 2.2))


def study_figure(sheet: Sheet, runs: Sequence[Run], profiles: Profiles, metrics: Metrics) -> Figure | None:
    """The study's figure, of as many panels as there is something to draw; None where there is nothing.

    Activation norm over modules and gradient norm over weight layers, measured (thin: one seed, thick: geometric
    mean) over theory (dashed: median, shaded: one standard deviation of one seed, dotted: mean square); training
    loss over steps with ln K, the loss of guessing.
    """
    shown = [spec for spec in PROFILE_PANELS if profiles.lengths("init", *spec[:2]).any()]
    trained = any(len(metrics.series(i, "train_loss")[0]) > 1 for i in range(len(runs)))
    count = len(shown) + trained
    if not count:
        return None
    figure, axes = sheet.figure(1, count, WIDTHS[count - 1], 4.5, [1.25, 1, 1][:count])
    for place, letter, (axis, quantity, title, xlabel) in zip(axes, "ab", shown, strict=False):
        draw_over_depth(place, sheet, profiles, axis, quantity)
        panel(place, letter, title, xlabel if axis == "weight" else module_label(profiles))
    if trained:
        loss_panel(axes[-1], sheet, runs, metrics)
        panel(axes[-1], "abc"[count - 1], "training loss", "step")
    sheet.legend(figure, axes, [*_style_handles(sheet, profiles), *mark_handles(axes)])
    return figure


def module_label(profiles: Profiles) -> str:
    """What the module axis counts: input, linear, activation in turn, unless more lies between (normalization)."""
    modules, layers = (profiles.lengths("init", axis, "activation_norm") for axis in ("module", "weight"))
    plain = (modules == 2 * layers).all()
    return "module: 1 input, 2 linear 1, 3 activation 1, …" if plain else "module, from 1, the input"


def draw_over_depth(axes: Axes, sheet: Sheet, profiles: Profiles, axis: str, quantity: str) -> None:
    """One quantity at initialization over depth, for every configuration, with its theory."""
    axes.set_yscale("log")
    values, lengths = profiles.matrix("init", axis, quantity), profiles.lengths("init", axis, quantity)
    theory, low, high = (profiles.matrix("init", axis, quantity, name) for name in ("theory", "band_low", "band_high"))
    mean_square = profiles.matrix("init", axis, f"{quantity}_mean_square", "theory")
    count = len(sheet.configurations)
    for one, colour in zip(sheet.configurations, sheet.colours, strict=True):
        members = one.members
        if count <= MOST_BANDS:
            band = geometric_mean(low[members]), geometric_mean(high[members])
            axes.fill_between(np.arange(1, len(band[0]) + 1), *band, color=colour, alpha=0.13, lw=0, zorder=1.5)
            for edge in band if len(members) > MOST_SEEDS else ():  # through the cloud, which hides the shade
                axes.plot(np.arange(1, len(edge) + 1), positive(edge), color=darker(colour), lw=0.7, zorder=3.3)
            line = geometric_mean(mean_square[members])
            axes.plot(np.arange(1, len(line) + 1), positive(line), ":", color=darker(colour), lw=0.9, zorder=3.4)
        if count <= MOST_THEORY:
            line = geometric_mean(theory[members])
            axes.plot(np.arange(1, len(line) + 1), positive(line), ls=DASHES, color=darker(colour), lw=0.9, zorder=3.5)
        draw_profile(
            axes, values[members], lengths[members], colour, seeds=cloud_size(count), log=True, lw=mean_width(count)
        )
    log_axis(axes)


def _style_handles(sheet: Sheet, profiles: Profiles) -> list[Artist]:
    """Legend entries for the line styles that occur."""
    handles: list[Artist] = []
    count = len(sheet.configurations)
    most = max(len(one.members) for one in sheet.configurations)
    if most > 1 and cloud_size(count) > 1:
        drawn = cloud_size(count)
        label = "one seed" + (f" ({drawn} of {most} drawn)" if most > drawn else "")
        handles += [Line2D([], [], color=GREY, lw=0.7, alpha=0.7, label=label)]
    if most > 1:
        handles += [Line2D([], [], color=GREY, lw=1.8, label="mean over seeds")]
    theory = [profiles.matrix("init", axis, quantity, "theory") for axis, quantity, *_ in PROFILE_PANELS]
    if count <= MOST_THEORY and any(np.isfinite(one).any() for one in theory):
        handles += [Line2D([], [], color=GREY, lw=1.1, ls=DASHES, label="theory")]
    if count <= MOST_BANDS and np.isfinite(profiles.matrix("init", "module", "activation_norm", "band_low")).any():
        handles += [Patch(color=GREY, alpha=0.2, lw=0, label="±1 sd of one seed")]
    if count <= MOST_BANDS and profiles.matrix("init", "module", "activation_norm_mean_square", "theory").size:
        handles += [Line2D([], [], color=GREY, lw=1.1, ls=":", label="theory, mean square")]
    return handles
