"""The movement figure: what training changed in the profiles over depth, and how far each layer's weights moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from fanin.report.figures.init_figure import LAYERS, PROFILE_PANELS, module_label
from fanin.report.figures.lines import draw_profile
from fanin.report.figures.style import GREY, Sheet, log_axis, panel
from fanin.report.read.folders import Run
from fanin.report.read.series import Profiles

# Before: broad and pale; after: a dashed line that stays visible upon it where nothing has changed.
STYLES: tuple[dict[str, Any], ...] = ({"lw": 3.0, "alpha": 0.35}, {"lw": 1.3, "ls": (0, (4, 1.8))})


def movement_figure(sheet: Sheet, runs: Sequence[Run], profiles: Profiles) -> Figure | None:
    """Activation norm, gradient norm and weight variance before (broad) and after training (dashed), and movement.

    Means over the seeds that have both snapshots. Diverged runs are left out: where they broke off says nothing, and
    would set the scale. None where no weight moved in any run: before and after are the same.
    """
    movement = profiles.matrix("final", "weight", "weight_movement")
    lengths = profiles.lengths("final", "weight", "weight_movement")
    trained = (lengths > 0) & np.array([run.state != "diverged" for run in runs])
    members = [[i for i in one.members if trained[i]] for one in sheet.configurations]
    if not (movement[trained] > 0).any():
        return None
    figure, axes = sheet.figure(2, 2, 10.0, 7.2)
    panels = [*PROFILE_PANELS, ("weight", "weight_variance", "weight variance  n Var(W)", LAYERS)]
    for place, letter, (axis, quantity, title, xlabel) in zip(axes, "abc", panels, strict=False):
        _before_and_after(place, members, sheet.colours, profiles, axis, quantity)
        panel(place, letter, title, xlabel if axis == "weight" else module_label(profiles))
    for chosen, colour in zip(members, sheet.colours, strict=True):
        draw_profile(axes[3], movement[chosen], lengths[chosen], colour, seeds=1, log=False)
    axes[3].set_ylim(0, 1.05 * axes[3].get_ylim()[1])
    axes[3].yaxis.set_major_formatter(PercentFormatter(1.0))
    panel(axes[3], "d", "weight movement  ‖W − W(0)‖ / ‖W(0)‖", LAYERS)
    names = zip(("before training", "after training"), STYLES, strict=True)
    handles: list[Artist] = [Line2D([], [], color=GREY, label=name, **style) for name, style in names]
    diverged = sum(run.state == "diverged" for run in runs)
    if diverged:
        handles.append(Line2D([], [], ls="", label=f"({diverged} diverged run{'s' if diverged > 1 else ''} left out)"))
    sheet.legend(figure, axes, handles, {k for k, chosen in enumerate(members) if chosen})
    return figure


def _before_and_after(
    axes: Axes, members: Sequence[list[int]], colours: Sequence[str], profiles: Profiles, axis: str, quantity: str
) -> None:
    log = quantity != "weight_variance"
    if log:
        axes.set_yscale("log")
    for snapshot, style in zip(("init", "final"), STYLES, strict=True):
        values, lengths = profiles.matrix(snapshot, axis, quantity), profiles.lengths(snapshot, axis, quantity)
        for chosen, colour in zip(members, colours, strict=True):
            draw_profile(axes, values[chosen], lengths[chosen], colour, seeds=1, log=log, **style)
    if log:
        log_axis(axes)
