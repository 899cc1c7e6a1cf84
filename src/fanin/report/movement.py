"""The movement figure: what training changed in the profiles over depth, and how far each layer's weights moved."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from fanin.report.figures import LAYERS, PROFILE_PANELS
from fanin.report.lines import draw_profile
from fanin.report.series import Profiles
from fanin.report.style import GREY, Sheet, log_axis, panel

# Before: broad and pale; after: a dashed line that stays visible upon it where nothing has changed.
STYLES: tuple[dict[str, Any], ...] = ({"lw": 3.0, "alpha": 0.35}, {"lw": 1.3, "ls": (0, (4, 1.8))})


def movement_figure(sheet: Sheet, profiles: Profiles) -> Figure | None:
    """Activation norm, gradient norm and weight variance before (broad) and after training (dashed), and movement.

    Means over the seeds that have both snapshots. None where no weight moved in any run: before and after are the same.
    """
    movement = profiles.matrix("final", "weight", "weight_movement")
    if not (movement > 0).any():
        return None
    figure, axes = sheet.figure(2, 2, 10.0, 7.2)
    panels = [*PROFILE_PANELS, ("weight", "weight_variance", "weight variance  n Var(W)", LAYERS)]
    for place, letter, (axis, quantity, title, xlabel) in zip(axes, "abc", panels, strict=False):
        _before_and_after(place, sheet, profiles, axis, quantity, log=quantity != "weight_variance")
        panel(place, letter, title, xlabel)
    lengths = profiles.lengths("final", "weight", "weight_movement")
    for one, colour in zip(sheet.configurations, sheet.colours, strict=True):
        draw_profile(axes[3], movement[one.members], lengths[one.members], colour, seeds=1, log=False)
    axes[3].set_ylim(0, 1.05 * axes[3].get_ylim()[1])
    axes[3].yaxis.set_major_formatter(PercentFormatter(1.0))
    panel(axes[3], "d", "weight movement  ‖W − W(0)‖ / ‖W(0)‖", LAYERS)
    names = ("before training", "after training")
    handles = [Line2D([], [], color=GREY, label=name, **style) for name, style in zip(names, STYLES, strict=True)]
    drawn = {k for k, one in enumerate(sheet.configurations) if lengths[one.members].any()}
    sheet.legend(figure, axes, handles, drawn)
    return figure


def _before_and_after(axes: Axes, sheet: Sheet, profiles: Profiles, axis: str, quantity: str, *, log: bool) -> None:
    if log:
        axes.set_yscale("log")
    values = [profiles.matrix(snapshot, axis, quantity) for snapshot in ("init", "final")]
    lengths = [profiles.lengths(snapshot, axis, quantity) for snapshot in ("init", "final")]
    both = np.minimum(*lengths)
    for one, colour in zip(sheet.configurations, sheet.colours, strict=True):
        members = np.array(one.members)[both[one.members] > 0]
        for snapshot, style in zip(values, STYLES, strict=True):
            draw_profile(axes, snapshot[members], both[members], colour, seeds=1, log=log, **style)
    if log:
        log_axis(axes)
