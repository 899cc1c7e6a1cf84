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

from fanin.report.figures.encoding import GREY
from fanin.report.figures.init_figure import LAYERS, PROFILE_PANELS
from fanin.report.figures.lines import cut_off, draw_profile, mark_handles, usual_top
from fanin.report.figures.style import Sheet, log_axis, panel
from fanin.report.read.folders import Run
from fanin.report.read.series import Profiles

BEFORE: dict[str, Any] = {"lw": 3.0, "alpha": 0.35}
AFTER: dict[str, Any] = {"lw": 1.3, "ls": (0, (4, 1.8))}  # visible upon it where nothing has changed
PANELS = (
    *PROFILE_PANELS,
    ("weight", "weight_variance", "weight variance of a layer", "n Var(W)"),
    ("weight", "weight_movement", "weight movement of a layer", "‖W − W(0)‖ / ‖W(0)‖"),
)


def movement_figure(sheet: Sheet, runs: Sequence[Run], profiles: Profiles) -> Figure | None:
    """Activation norm, gradient norm and weight variance before (broad) and after training (dashed), and movement.

    Means over the seeds that have both snapshots. Diverged runs are left out: where they broke off says nothing, and
    would set the scale. None if no weight moved in any run: before and after are the same.
    """
    movement = profiles.matrix("final", "weight", "weight_movement")
    lengths = profiles.lengths("final", "weight", "weight_movement")
    trained = (lengths > 0) & np.array([run.state != "diverged" for run in runs])
    members = [[i for i in one.members if trained[i]] for one in sheet.configurations]
    if not (movement[trained] > 0).any():
        return None
    figure, axes = sheet.figure(2, 2, 10.0, 7.2)
    for place, letter, (axis, quantity, title, unit) in zip(axes, "abcd", PANELS, strict=True):
        _panel(place, sheet, members, profiles, axis, quantity)
        panel(place, letter, title, LAYERS, unit)
    axes[3].yaxis.set_major_formatter(PercentFormatter(1.0))
    after = AFTER | ({"ls": "-"} if sheet.encoding.dashed else {})
    names = {"before training": BEFORE, "after training": after}
    handles: list[Artist] = [Line2D([], [], color=GREY, label=name, **style) for name, style in names.items()]
    diverged = sum(run.state == "diverged" for run in runs)
    if diverged:
        handles.append(Line2D([], [], ls="", label=f"({diverged} diverged run{'s' if diverged > 1 else ''} left out)"))
    handles += mark_handles(axes)
    sheet.legend(figure, axes, handles, {k for k, chosen in enumerate(members) if chosen})
    return figure


def _panel(
    axes: Axes, sheet: Sheet, members: Sequence[list[int]], profiles: Profiles, axis: str, quantity: str
) -> None:
    """One quantity before and after; of the movement, which is 0 before, only after."""
    log = quantity.endswith("_norm")
    if log:
        axes.set_yscale("log")
    moved = quantity == "weight_movement"
    drawn = []
    for snapshot, style in (("final", {"lw": 1.5}),) if moved else (("init", BEFORE), ("final", AFTER)):
        values, lengths = profiles.matrix(snapshot, axis, quantity), profiles.lengths(snapshot, axis, quantity)
        for chosen, colour, dash in zip(members, sheet.colours, sheet.encoding.dashes, strict=True):
            own = {"ls": dash} if moved or (sheet.encoding.dashed and snapshot == "final") else {}
            mean = draw_profile(axes, values[chosen], lengths[chosen], colour, seeds=1, log=log, **style | own)
            drawn.append((np.arange(1.0, len(mean) + 1), mean, colour))
    if log:
        log_axis(axes)
    else:
        axes.set_ylim(bottom=0)
        cut_off(axes, usual_top([mean for _, mean, _ in drawn]), drawn)
