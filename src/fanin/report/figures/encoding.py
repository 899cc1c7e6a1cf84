"""How a figure tells configurations apart: by panel, hue, shade, mark and dashes, one for each axis that varies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize, to_hex, to_rgb
from matplotlib.lines import Line2D

from fanin.errors import counted
from fanin.report.figures.roles import CUT_INTO, MOST_FACETS, Asked, Roles, roles_of
from fanin.report.read.axes import Axis, axes_of, grouped
from fanin.report.read.configurations import Configuration

# Okabe & Ito, Color Universal Design (2008), without the yellow that white paper swallows.
OKABE_ITO = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#5f5f5f"
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (5, 1.4, 1.2, 1.4)))
MARKERS = ("o", "s", "D", "P", "p", "*", "<")  # beside those that say where a curve ends
MOST_SHADES = 5
MOST_NAMED = 14  # options of a choice; of more the best are named, and the others grey
FEW_NUMBERS = 3  # that hues tell apart better than shades
REST = "#c4c4c4"


@dataclass
class Encoding:
    """The line of each configuration, and what a legend says of it.

    Attributes:
        colours, dashes, markers: of the configurations; a marker stands on a few points of a line, "" for none.
        entries: groups of legend entries, each of which starts a row.
        scale: the colour scale of a number with many values, with the number's name.
        facets: of the configurations, the panel that each stands in.
        titles: of the panels; a single one has none.
        dashed: whether dashes tell configurations apart, so that they can mean nothing else.
    """

    colours: list[str]
    dashes: list[Any]
    entries: list[list[Artist]] = field(default_factory=list)
    scale: tuple[ScalarMappable, str] | None = None
    markers: list[str] = field(default_factory=list)
    facets: list[int] = field(default_factory=list)
    titles: list[str] = field(default_factory=lambda: [""])
    dashed: bool = False

    def __post_init__(self) -> None:
        self.markers = self.markers or [""] * len(self.colours)
        self.facets = self.facets or [0] * len(self.colours)
        self.dashed = self.dashed or any(one != "-" for one in self.dashes)

    @property
    def styles(self) -> list[dict[str, Any]]:
        """The look of each configuration's mean, colour apart."""
        return [{"ls": dash} | _marked(mark) for dash, mark in zip(self.dashes, self.markers, strict=True)]

    def of(self, places: Sequence[int]) -> Encoding:
        """The looks of some of the configurations, in one panel."""
        chosen = [[row[i] for i in places] for row in (self.colours, self.dashes, self.markers)]
        return Encoding(chosen[0], chosen[1], self.entries, self.scale, chosen[2], dashed=self.dashed)


def encode(
    configurations: Sequence[Configuration], values: Sequence[float] = (), asked: Asked | None = None
) -> Encoding:
    """How these configurations are told apart in one panel, or in several where `asked` is given.

    In one panel up to seven have a hue each, named by their labels, numbers of one axis a shade of one colour scale,
    options of one axis a mark beside the hue; more are told apart choice by choice. The choice with most options, one
    that is no number before others, has the hues (a second round of them dashed), or a number with more than seven
    values the colour scale. The next has shades, from light to dark in its order, or dashes. What is left over is named
    in the legend as not shown.

    Args:
        configurations: what is drawn.
        values: a metric of each, the smaller the better, by which axes are important; nan where there is none.
        asked: what panels and colours shall go by; see `roles.roles_of`.

    Raises:
        UserError: as roles_of.
    """
    count, axes = len(configurations), axes_of(configurations)
    if asked is not None and (roles := roles_of(axes, values, asked)) is not None:
        return _by_roles(count, roles, values)
    single = axes[0] if len(axes) == 1 else None
    if single is not None and single.kind != "choice" and len(single.values) > FEW_NUMBERS:
        return _sequential(single)
    if single is not None and single.kind == "choice" and asked is not None:
        return _hues(single, values)
    if count <= len(OKABE_ITO):
        named = [entry(one.label, colour) for one, colour in zip(configurations, OKABE_ITO, strict=False)]
        return Encoding(list(OKABE_ITO[:count]), ["-"] * count, [named])
    if single is not None:
        return _hues(single, values)
    choices = sorted(axes, key=lambda one: (one.kind == "number", -len(one.values)))
    many = [one for one in choices if one.kind == "number" and len(one.values) > len(OKABE_ITO)]
    first = next((one for one in many or choices if many or len(one.values) <= len(OKABE_ITO)), choices[0])
    made = _sequential(first) if many else _hues(first, values)
    shaded, left = bool(many), []
    for one in choices:
        names, count = [one.label(rank) for rank in range(len(one.values))], len(one.values)
        if one is first:
            continue
        if not shaded and count <= MOST_SHADES and (one.kind == "number" or made.dashed):
            made.colours = [shade(colour, rank, count) for colour, rank in zip(made.colours, one.ranks, strict=True)]
            made.entries.append([entry(name, shade("#808080", i, count)) for i, name in enumerate(names)])
            shaded = True
        elif not made.dashed and count <= len(DASHES):
            _dash(made, one)
        else:
            left.append(one)
    _say_left(made, left)
    return made


def _by_roles(count: int, roles: Roles, values: Sequence[float]) -> Encoding:
    """The looks of so many configurations: panels, colours and dashes, one axis each."""
    colour = roles.colour
    if colour is None:
        made = Encoding([OKABE_ITO[0]] * count, ["-"] * count)
    else:
        made = _hues(colour, values) if colour.kind == "choice" else _sequential(colour)
    if roles.dash is not None and not made.dashed:
        _dash(made, roles.dash)
    elif roles.dash is not None:
        roles.left.append(roles.dash)
    if roles.facet is not None:
        most = MOST_FACETS if len(roles.facet.values) <= MOST_FACETS else CUT_INTO
        made.facets, titles = grouped(roles.facet, most)
        made.titles = [f"{title} {roles.facet.unit}".rstrip() for title in titles]
    _say_left(made, roles.left)
    return made


def _dash(made: Encoding, axis: Axis) -> None:
    made.dashes, made.dashed = [DASHES[rank] for rank in axis.ranks], True
    made.entries.append([entry(axis.label(i), ls=DASHES[i], lw=1.6) for i in range(len(axis.values))])


def _say_left(made: Encoding, left: Sequence[Axis]) -> None:
    if left:
        names = ", ".join(axis.name for axis in left)
        made.entries.append([entry(f"(lines of one look differ in {names})", ls="")])


def _marked(marker: str) -> dict[str, Any]:
    """A marker on about every sixth part of a line, so that it tells colours apart where they cannot be seen."""
    return {"marker": marker, "ms": 4.5, "mec": "white", "mew": 0.5, "markevery": 0.17} if marker else {}


def shade(colour: str, rank: int, count: int) -> str:
    """The rank-th of so many shades of a colour, from light to dark."""
    where = 0.0 if count < 2 else 0.55 - 1.05 * rank / (count - 1)
    white = max(where, 0.0)
    red, green, blue = (white + (1 - abs(where)) * part for part in to_rgb(colour))
    return str(to_hex((red, green, blue)))


def _hues(axis: Axis, values: Sequence[float]) -> Encoding:
    """A hue and a mark for each option; past the hues they come again with other dashes.

    Of more than MOST_NAMED options those with the least mean of the metric have hues, and the others are grey.
    """
    count, hues, named = len(axis.values), len(OKABE_ITO), list(range(len(axis.values)))
    if count > MOST_NAMED and len(values) == len(axis.ranks):
        numbers, ranks = np.asarray(values, float), np.array(axis.ranks)
        own = [numbers[(ranks == rank) & np.isfinite(numbers)] for rank in named]
        named = sorted(named, key=lambda rank: float(own[rank].mean()) if len(own[rank]) else np.inf)[:hues]
    looks: dict[int, tuple[str, Any, str]] = dict.fromkeys(range(count), (REST, "-", ""))
    looks |= {
        one: (OKABE_ITO[i % hues], DASHES[i // hues % len(DASHES)], MARKERS[i % hues]) for i, one in enumerate(named)
    }
    entries = [
        entry(axis.label(one), hue, ls=dash, lw=2.4 if dash == "-" else 1.8, marker=mark, ms=5.5, mec="white")
        for one in named
        for hue, dash, mark in [looks[one]]
    ]
    if others := count - len(named):
        entries.append(entry(f"{counted(others, 'other')} behind these {len(named)}", REST, lw=1.2))
    colours, dashes, marks = ([looks[rank][i] for rank in axis.ranks] for i in range(3))
    return Encoding(colours, dashes, [entries], markers=marks)


def _sequential(axis: Axis) -> Encoding:
    """Colours from dark to light in the order of the values: each named, or of many numbers a scale.

    Without the last, yellow part of the colours, which white paper swallows.
    """
    colormap = ListedColormap(mpl.colormaps["viridis"](np.linspace(0, 0.92, 256)))
    count, levels = len(axis.values), axis.values
    if axis.kind == "number" and count > len(OKABE_ITO):
        norm = LogNorm(levels[0], levels[-1]) if axis.scale == "log" else Normalize(levels[0], levels[-1])
        own = [str(to_hex(colormap(float(norm(level))))) for level in levels]
        scale = ScalarMappable(norm, colormap)
        return Encoding([own[rank] for rank in axis.ranks], ["-"] * len(axis.ranks), [], (scale, axis.title))
    own = [str(to_hex(colormap(rank / max(1, count - 1)))) for rank in range(count)]
    step = -(-count // MOST_NAMED)
    named = sorted({*range(0, count, step), count - 1})
    unit = f" {axis.unit}" if axis.unit else ""
    entries = [entry(axis.label(rank) + unit, own[rank]) for rank in named]
    return Encoding([own[rank] for rank in axis.ranks], ["-"] * len(axis.ranks), [entries])


def entry(label: str, color: str = GREY, **style: Any) -> Artist:
    """A legend entry; a long label takes several lines and is never cut, for what differs may stand at its end."""
    return Line2D([], [], color=color, label=plain(fill(label, 44), len(label) + 9), **{"lw": 2.4} | style)


def note(axes: Axes, text: str, at: tuple[float, float], away: tuple[float, float], **style: Any) -> None:
    """Words near a place of a panel, in shares of its width and height, so many points away from it."""
    usual: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "fontsize": 8}
    axes.annotate(text, at, away, **usual | style)


def plain(text: str, limit: int = 160) -> str:
    """A text that matplotlib neither reads as mathematics nor hides from legends."""
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return (" " + text if text.startswith("_") else text).replace("$", r"\$")
