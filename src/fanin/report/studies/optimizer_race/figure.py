"""The figure of a race: paths over contours, and below them the height that is left over steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.report.figures.style import GREY, OKABE_ITO, Sheet, panel, plain
from fanin.report.read.series import Floats
from fanin.report.studies.base import Evidence
from fanin.report.studies.optimizer_race.races import TOLERANCE, Race, races
from fanin.theory.surfaces import KINDS, Surface

COLUMNS = 4
SHAPE = 1.2
"""Width of a panel with contours over its height."""

ORDER = ("gd", "momentum", "ema_momentum", "unbiased_momentum", "nesterov", "adam", "newton", "lbfgs")
COLOURS = dict(zip(ORDER, ("#000000", *OKABE_ITO[:2], "#56B4E9", *OKABE_ITO[3:5], "#D55E00", "#7B3FA0"), strict=True))
TITLES = {"quadratic": "quadratic", "saddle": "saddle", "rosenbrock": "Rosenbrock", "valley": "valley"}


def race_figure(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """Two panels for each surface, four surfaces in a row."""
    by_surface: dict[tuple[object, ...], list[Race]] = {}
    for race in races(evidence.runs):
        by_surface.setdefault(race.key, []).append(race)
    if not by_surface:
        return None
    keys = sorted(by_surface, key=lambda key: (KINDS.index(str(key[0])), *map(float, key[1:])))  # type: ignore[arg-type]
    columns = min(COLUMNS, len(keys))
    rows = -(-len(keys) // columns)
    figure, axes = sheet.figure(2 * rows, columns, max(3.1 * columns, 6.2), 0.8 + 5.8 * rows)
    present = {race.optimizer for some in by_surface.values() for race in some}
    order = [name for name in ORDER if name in present] + sorted(present - set(ORDER))
    spare = iter([*OKABE_ITO, GREY] * len(order))
    colours = {name: COLOURS.get(name) or next(spare) for name in order}
    for place, key in enumerate(keys):
        row, column = divmod(place, columns)
        above, below = (axes[(2 * row + half) * columns + column] for half in (0, 1))
        some = sorted(by_surface[key], key=lambda race: order.index(race.optimizer))
        _paths(above, some, colours, chr(ord("a") + place))
        _heights(below, some, colours)
    for axis in (axes[half * columns + column] for half in range(2 * rows) for column in range(columns)):
        if not axis.has_data():
            axis.set_axis_off()
    handles = [Line2D([], [], color=colours[name], lw=2.2, ls=_style(name), label=plain(name)) for name in order]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(order), 2 * columns), frameon=False)
    return figure


def _paths(axes: Axes, some: Sequence[Race], colours: dict[str, str], letter: str) -> None:
    """Contours and paths, on equal scales for both coordinates."""
    on, start = some[0].surface, some[0].points[0]
    (left, right), (low, high) = _window(on, start, some)
    x, y = np.meshgrid(np.linspace(left, right, 300), np.linspace(low, high, 300))
    height = np.asarray(on.value(x, y)) - on.lowest
    # Even steps of the root show the floor of a valley and its walls alike.
    levels = np.linspace(0, np.sqrt(height.max()), 24)[1:] ** 2
    axes.contour(x, y, height, levels=levels, colors="#c8c8c8", linewidths=0.6, zorder=1)
    for race in some:
        x, y = np.clip(race.points, -1e6, 1e6).T
        axes.plot(x, y, color=colours[race.optimizer], lw=1.1, ls=_style(race.optimizer), zorder=3)
        axes.plot(x, y, ".", color=colours[race.optimizer], ms=2.6, zorder=3)
    axes.plot(*start, "o", mfc="white", mec="black", ms=6, zorder=5)
    axes.plot(*np.transpose(on.minima), "*", color="black", mec="white", ms=11, zorder=5, ls="")
    if on.saddles:
        axes.plot(*np.transpose(on.saddles), "X", color="black", mec="white", ms=8, zorder=5, ls="")
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    axes.set_box_aspect(1 / SHAPE)  # with which both coordinates have one scale
    axes.grid(False)
    title = TITLES.get(on.kind, on.kind) + (f", kappa = {some[0].condition:g}" if on.kind == "quadratic" else "")
    panel(axes, letter, title, "")


def _heights(axes: Axes, some: Sequence[Race], colours: dict[str, str]) -> None:
    """The share of the height that is left, over steps."""
    for race in some:
        share = np.maximum(race.left, 1e-18)
        axes.plot(share, color=colours[race.optimizer], lw=1.3, ls=_style(race.optimizer), zorder=3)
    axes.axhline(TOLERANCE, color=GREY, lw=0.9, ls=(0, (1, 1.5)), zorder=2)
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_xlim(left=0)
    axes.set_yscale("log")
    axes.set_ylim(1e-12, 30)
    panel(axes, "", "height left, 1 at the start", "step")


def _window(on: Surface, start: Floats, some: Sequence[Race]) -> tuple[tuple[float, float], tuple[float, float]]:
    """What of the plane is shown: start and stationary points with a margin, and the paths where they stay near."""
    known = np.array([start, *on.minima, *on.saddles])
    middle, half = (known.max(0) + known.min(0)) / 2, (known.max(0) - known.min(0)) / 2
    half = np.maximum(1.1 * half, 0.4 * half.max())
    paths = np.concatenate([race.points for race in some])
    seen = paths[np.isfinite(paths).all(1) & (np.abs(paths - middle) < 1.5 * half.max()).all(1)]
    low, high = np.minimum(middle - half, seen.min(0)), np.maximum(middle + half, seen.max(0))
    middle, (wide, tall) = (low + high) / 2, 0.56 * (high - low)
    wide, tall = max(wide, SHAPE * tall), max(tall, wide / SHAPE)
    return (middle[0] - wide, middle[0] + wide), (middle[1] - tall, middle[1] + tall)


def _style(optimizer: str) -> tuple[float, tuple[float, ...]] | str:
    """Dashed where the path may lie on momentum's."""
    return (0, (3, 3)) if optimizer == "ema_momentum" else "-"
