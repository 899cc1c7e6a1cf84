"""The figure of a race: paths over contours, and below them the height that is left over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fanin.report.figures.encoding import shade
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
TITLES = {
    "quadratic": "quadratic",
    "saddle": "saddle",
    "rosenbrock": "Rosenbrock",
    "valley": "valley",
    "peaks": "peaks",
}


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
    looks = looks_of(by_surface)
    order = list(looks)
    for place, key in enumerate(keys):
        row, column = divmod(place, columns)
        above, below = (axes[(2 * row + half) * columns + column] for half in (0, 1))
        ranks = _ranks(by_surface[key])
        named = [((race.optimizer, ranks[race.optimizer].index(race.numbers)), race) for race in by_surface[key]]
        some = [(race, looks[name]) for name, race in sorted(named, key=lambda pair: order.index(pair[0]))]
        _paths(above, some, chr(ord("a") + place))
        _heights(below, some)
    for axis in (axes[half * columns + column] for half in range(2 * rows) for column in range(columns)):
        if not axis.has_data():
            axis.set_axis_off()
    handles = [
        Line2D([], [], color=one.colour, lw=2.2, ls=one.dashes, label=plain(one.label)) for one in looks.values()
    ]
    longest = max(len(one.label) for one in looks.values())
    fit = max(1, int(figure.get_figwidth() / (0.07 * longest + 0.6)))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), fit), frameon=False)
    return figure


class Look(NamedTuple):
    """How the races of one optimizer at one choice of its numbers are drawn."""

    colour: str
    dashes: Any
    label: str


def _ranks(some: Sequence[Race]) -> dict[str, list[Mapping[str, float]]]:
    """The different numbers that each optimizer had in these races, in ascending order."""
    found: dict[str, list[Mapping[str, float]]] = {}
    for race in some:
        if race.numbers not in found.setdefault(race.optimizer, []):
            found[race.optimizer].append(race.numbers)
    return {name: sorted(numbers, key=lambda one: sorted(one.items())) for name, numbers in found.items()}


def looks_of(by_surface: Mapping[tuple[object, ...], Sequence[Race]]) -> dict[tuple[str, int], Look]:
    """A look for each optimizer and, where it ran with several numbers on one surface, for each of them in their order.

    The numbers of one rank may differ between surfaces, as the best learning rates do, and are then not named.
    """
    everywhere = [_ranks(some) for some in by_surface.values()]
    present = {name for ranks in everywhere for name in ranks}
    order = [name for name in ORDER if name in present] + sorted(present - set(ORDER))
    spare = iter([*OKABE_ITO, GREY] * len(order))
    looks = {}
    for name in order:
        count = max(len(ranks.get(name, ())) for ranks in everywhere)
        colour = COLOURS.get(name) or next(spare)
        if count > 1 and len(order) == 1 and count <= len(OKABE_ITO):
            colours: Sequence[str] = OKABE_ITO
        elif count > 1:  # black has no darker shades
            colours = [shade(GREY if colour == "#000000" else colour, rank, count) for rank in range(count)]
        else:
            colours = [colour]
        for rank in range(count):
            label = name if count == 1 else f"{name} {_numbers(name, rank, everywhere) or f'no. {rank + 1}'}"
            looks[name, rank] = Look(colours[rank], (0, (3, 3)) if name == "ema_momentum" else "-", label)
    return looks


def _numbers(name: str, rank: int, everywhere: Sequence[Mapping[str, Sequence[Mapping[str, float]]]]) -> str:
    """What tells the rank-th numbers of an optimizer from its others: "lr=0.1"; nothing where surfaces differ in it."""
    told = set()
    for ranks in everywhere:
        some = ranks.get(name, ())
        if rank < len(some):
            varying = [key for key in some[rank] if len({one.get(key) for one in some}) > 1]
            told.add(", ".join(f"{key}={some[rank][key]:.3g}" for key in varying))
    return told.pop() if len(told) == 1 else ""


def _paths(axes: Axes, some: Sequence[tuple[Race, Look]], letter: str) -> None:
    """Contours and paths, on equal scales for both coordinates."""
    first = some[0][0]
    on, start = first.surface, first.points[0]
    (left, right), (low, high) = _window(on, start, [race for race, _ in some])
    x, y = np.meshgrid(np.linspace(left, right, 300), np.linspace(low, high, 300))
    height = np.asarray(on.value(x, y)) - on.lowest
    # Even steps of the root show the floor of a valley and its walls alike.
    levels = np.linspace(0, np.sqrt(height.max()), 24)[1:] ** 2
    axes.contour(x, y, height, levels=levels, colors="#c8c8c8", linewidths=0.6, zorder=1)
    for race, one in some:
        x, y = np.clip(race.points, -1e6, 1e6).T
        axes.plot(x, y, color=one.colour, lw=1.1, ls=one.dashes, zorder=3)
        axes.plot(x, y, ".", color=one.colour, ms=2.6, zorder=3)
    axes.plot(*start, "o", mfc="white", mec="black", ms=6, zorder=5)
    axes.plot(*np.transpose(on.minima), "*", color="black", mec="white", ms=11, zorder=5, ls="")
    if on.saddles:
        axes.plot(*np.transpose(on.saddles), "X", color="black", mec="white", ms=8, zorder=5, ls="")
    if on.maxima:
        axes.plot(*np.transpose(on.maxima), "^", color="black", mec="white", ms=8, zorder=5, ls="")
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    axes.set_box_aspect(1 / SHAPE)  # with which both coordinates have one scale
    axes.grid(False)
    title = TITLES.get(on.kind, on.kind) + (f", kappa = {first.condition:g}" if on.kind == "quadratic" else "")
    panel(axes, letter, title, "")


def _heights(axes: Axes, some: Sequence[tuple[Race, Look]]) -> None:
    """The share of the height that is left, over steps."""
    for race, one in some:
        axes.plot(np.maximum(race.left, 1e-18), color=one.colour, lw=1.3, ls=one.dashes, zorder=3)
    axes.axhline(TOLERANCE, color=GREY, lw=0.9, ls=(0, (1, 1.5)), zorder=2)
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_xlim(left=0)
    axes.set_yscale("log")
    axes.set_ylim(1e-12, 30)
    panel(axes, "", "height left, 1 at the start", "step")


def _window(on: Surface, start: Floats, some: Sequence[Race]) -> tuple[tuple[float, float], tuple[float, float]]:
    """What of the plane is shown: start and stationary points with a margin, and the paths where they stay near."""
    known = np.array([start, *on.minima, *on.saddles, *on.maxima])
    middle, half = (known.max(0) + known.min(0)) / 2, (known.max(0) - known.min(0)) / 2
    half = np.maximum(1.1 * half, 0.4 * half.max())
    paths = np.concatenate([race.points for race in some])
    seen = paths[np.isfinite(paths).all(1) & (np.abs(paths - middle) < 1.5 * half.max()).all(1)]
    low, high = np.minimum(middle - half, seen.min(0)), np.maximum(middle + half, seen.max(0))
    middle, (wide, tall) = (low + high) / 2, 0.56 * (high - low)
    wide, tall = max(wide, SHAPE * tall), max(tall, wide / SHAPE)
    return (middle[0] - wide, middle[0] + wide), (middle[1] - tall, middle[1] + tall)
