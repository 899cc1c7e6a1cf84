"""Heat maps of a quantity over depth and time: layers from the input upwards, steps to the right."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from string import ascii_lowercase
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fanin.report.figures.encoding import plain
from fanin.report.figures.style import Sheet, corners, panel
from fanin.report.figures.ticks import plain_log
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats, Profiles
from fanin.report.read.surfaces import SHARES, Surface, surfaces_of

COLOURS = "viridis"
LAYERS = {"weight": "weight layer", "module": "module"}
USUAL = ("activation_norm", "gradient_norm", "update_ratio", "dead_units")
MOST_CONFIGURATIONS = 6
MOST_SEEDS = 20  # of a configuration, whose files are read
WITHIN = (0.01, 0.99)
"""The quantiles that limit a scale: what lies beyond has the colour of the end, and the scale an arrow."""
UNITS = {
    "activation_norm": "‖Z‖", "gradient_norm": "‖∂L/∂W‖", "update_ratio": "‖ΔW‖ / ‖W‖", "dead_units": "share",
    "weight_zeros": "share", "weight_movement": "‖W − W(0)‖ / ‖W(0)‖", "weight_variance": "n Var(W)",
    "weight_norm": "‖W‖",
}  # fmt: skip


def surfaces_figure(sheet: Sheet, runs: Sequence[Run], profiles: Profiles) -> Figure | None:
    """The usual quantities of each configuration, its mean over seeds; a scale for each quantity.

    None where nothing was measured at three steps or more, or there are too many configurations to be looked at.
    """
    if len(sheet.configurations) > MOST_CONFIGURATIONS:
        return None
    found = [surfaces_of(runs, one.members[:MOST_SEEDS], profiles) for one in sheet.configurations]
    quantities = [name for name in USUAL if any(name in one for one in found)]
    columns = [(one.label, of) for one, of in zip(sheet.configurations, found, strict=True) if of]
    if not quantities:
        return None
    height = 0.9 + 2.1 * len(quantities)
    figure, axes = sheet.figure(len(quantities), len(columns), max(5.0, 1.2 + 3.2 * len(columns)), height)
    letters = iter(ascii_lowercase)
    for row, quantity in enumerate(quantities):
        places = axes[row * len(columns) : (row + 1) * len(columns)]
        drawn = [of[quantity] for _, of in columns if quantity in of]
        scale = scale_of(drawn)
        for place, (label, of) in zip(places, columns, strict=True):
            if quantity not in of:
                place.set_axis_off()
                continue
            name = f"{quantity.replace('_', ' ')}{': ' + plain(label, 40) if len(columns) > 1 else ''}"
            surface_panel(place, of[quantity], scale)
            panel(place, next(letters), name, "step", "weight layer" if place is places[0] else "")
        colour_bar(figure, places, quantity, scale, drawn)
    return figure


def every_surface_figure(sheet: Sheet, found: dict[str, Surface]) -> Figure | None:
    """Every quantity of one run, two to a row, each with a scale of its own; None where there is none."""
    if not found:
        return None
    rows = (len(found) + 1) // 2
    figure, axes = sheet.cells(len(found), min(2, len(found)), 10.0 if len(found) > 1 else 5.5, 0.7 + 2.2 * rows)
    for place, letter, (quantity, surface) in zip(axes, cycle(ascii_lowercase), found.items(), strict=False):
        scale = scale_of([surface])
        surface_panel(place, surface, scale)
        panel(place, letter, plain(quantity.replace("_", " ")), "step", LAYERS[surface.axis])
        colour_bar(figure, [place], quantity, scale, [surface])
    return figure


def surface_panel(axes: Axes, surface: Surface, scale: Normalize) -> None:
    """One surface: a cell for each layer and step; grey is not finite or, on a logarithmic scale, zero."""
    values = surface.values
    shown = np.isfinite(values) & ((values > 0) | (not isinstance(scale, LogNorm)))
    edges = edges_of(surface.steps), np.arange(len(values) + 1) + 0.5
    colours = mpl.colormaps[COLOURS].with_extremes(bad="#bdbdbd")
    # As one image, also in a vector file: thousands of cells would be slow to open.
    axes.pcolormesh(*edges, np.ma.array(values, mask=~shown), cmap=colours, norm=scale, rasterized=True)
    axes.grid(visible=False)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def colour_bar(figure: Figure, axes: Sequence[Axes], quantity: str, scale: Normalize, drawn: Sequence[Surface]) -> None:
    """The scale beside its panels, with an arrow where values lie beyond its ends."""
    values = np.concatenate([one.values[np.isfinite(one.values)] for one in drawn])
    values = values[values > 0] if isinstance(scale, LogNorm) else values
    low, high = (
        (bool((values < scale.vmin).any()), bool((values > scale.vmax).any())) if len(values) else (False, False)
    )
    extend: Any = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((low, high), "neither")
    mappable = ScalarMappable(scale, mpl.colormaps[COLOURS])
    bar = figure.colorbar(mappable, ax=corners(axes), label=UNITS.get(quantity, ""), extend=extend, pad=0.01, aspect=15)
    if isinstance(scale, LogNorm):
        plain_log(bar.ax, float(scale.vmin or 0), float(scale.vmax or 0))


def scale_of(surfaces: Sequence[Surface]) -> Normalize:
    """A scale for some surfaces of one quantity: logarithmic but for shares, between quantiles of 1 and 99 %."""
    share = surfaces[0].quantity in SHARES
    values = np.concatenate([one.values[np.isfinite(one.values)] for one in surfaces])
    values = values if share else values[values > 0]
    low, high = np.quantile(values, WITHIN) if len(values) else (0.0 if share else 1.0, 1.0)
    if share or low <= 0:
        return Normalize(min(0.0, float(low)), float(high) if high > low else float(low) + 1.0)
    return LogNorm(float(low), float(high)) if high > low * (1 + 1e-9) else LogNorm(float(low) / 2, float(low) * 2)


def edges_of(steps: Floats) -> Floats:
    """The borders of the steps' columns: half way between neighbours, [S + 1].

    >>> edges_of(np.array([0.0, 10.0, 30.0])).tolist()
    [-5.0, 5.0, 20.0, 40.0]
    """
    middle = (steps[1:] + steps[:-1]) / 2
    first, last = steps[0] - (middle[0] - steps[0]), steps[-1] + (steps[-1] - middle[-1])
    return np.concatenate([[first], middle, [last]])
