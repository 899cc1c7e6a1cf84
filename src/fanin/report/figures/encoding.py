"""How a figure tells configurations apart: by hue, shade and dashes, one of them for each choice that varies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize, to_hex, to_rgb
from matplotlib.lines import Line2D

from fanin.record.overrides import display
from fanin.report.read.configurations import Configuration, canonical, short_keys, varying_keys

# Okabe & Ito, Color Universal Design (2008), without the yellow that white paper swallows.
OKABE_ITO = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#5f5f5f"
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (5, 1.4, 1.2, 1.4)))
MOST_SHADES = 5
EXPERIMENT = "experiment"


@dataclass
class Encoding:
    """The line of each configuration, and what a legend says of it.

    Attributes:
        colours, dashes: of the configurations.
        entries: groups of legend entries, each of which starts a row.
        scale: the colour scale of a number with many values, with the number's name.
    """

    colours: list[str]
    dashes: list[Any]
    entries: list[list[Artist]] = field(default_factory=list)
    scale: tuple[ScalarMappable, str] | None = None

    @property
    def dashed(self) -> bool:
        """Whether dashes tell configurations apart, so that they can mean nothing else."""
        return any(one != "-" for one in self.dashes)


def encode(configurations: Sequence[Configuration]) -> Encoding:
    """Up to seven configurations have a hue each, named by their labels; more are told apart choice by choice.

    The choice with most options, one that is no number before others, has the hues (a second round of them dashed),
    or a number with more than seven values the colour scale. The next has shades, from light to dark in its order, or
    dashes. What is left over is named in the legend as not shown.
    """
    count = len(configurations)
    if count <= len(OKABE_ITO):
        named = [entry(one.label, colour) for one, colour in zip(configurations, OKABE_ITO, strict=False)]
        return Encoding(list(OKABE_ITO[:count]), ["-"] * count, [named])
    choices = sorted(_choices(configurations), key=lambda one: (one.numeric, -len(one.levels)))
    many = [one for one in choices if one.numeric and len(one.levels) > len(OKABE_ITO)]
    first = next((one for one in many or choices if many or len(one.levels) <= len(OKABE_ITO)), choices[0])
    made = _scaled(first) if many else _hues(first)
    shaded, left = bool(many), []
    for one in choices:
        names, count = one.names, len(one.levels)
        if one is first:
            continue
        if not shaded and count <= MOST_SHADES and (one.numeric or made.dashed):
            made.colours = [shade(colour, rank, count) for colour, rank in zip(made.colours, one.ranks, strict=True)]
            made.entries.append([entry(name, shade("#808080", i, count)) for i, name in enumerate(names)])
            shaded = True
        elif not made.dashed and count <= len(DASHES):
            made.dashes = [DASHES[rank] for rank in one.ranks]
            made.entries.append([entry(name, ls=DASHES[i], lw=1.6) for i, name in enumerate(names)])
        else:
            left.append(one.name)
    if left:
        made.entries.append([entry(f"(lines of one look differ in {', '.join(left)})", ls="")])
    return made


def shade(colour: str, rank: int, count: int) -> str:
    """The rank-th of so many shades of a colour, from light to dark."""
    where = 0.0 if count < 2 else 0.55 - 1.05 * rank / (count - 1)
    white = max(where, 0.0)
    red, green, blue = (white + (1 - abs(where)) * part for part in to_rgb(colour))
    return str(to_hex((red, green, blue)))


class _Choice(NamedTuple):
    """A key that varies: its short name, its different values (numbers by size), and which of them each one has."""

    name: str
    levels: list[Any]
    ranks: list[int]
    numeric: bool

    @property
    def names(self) -> list[str]:
        """The values as a legend has them."""
        return [f"{self.name}={'–' if level is None else display(level)}" for level in self.levels]


def _choices(configurations: Sequence[Configuration]) -> list[_Choice]:
    """The keys that vary, and the experiment where there are several."""
    columns: dict[str, list[Any]] = {}
    for key in varying_keys(configurations):
        columns[key] = [one.values.get(key) for one in configurations]
    experiments = [one.experiment for one in configurations]
    columns |= {EXPERIMENT: experiments} if len(set(experiments)) > 1 or not columns else {}
    short, choices = short_keys(list(columns)), []
    for key, values in columns.items():
        numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        different = {canonical(value): value for value in (sorted(values) if numeric else values)}
        ranks = {word: rank for rank, word in enumerate(different)}
        choices.append(_Choice(short[key], list(different.values()), [ranks[canonical(v)] for v in values], numeric))
    return choices


def _hues(choice: _Choice) -> Encoding:
    """A hue for each value; past the hues they come again with other dashes."""
    hues = len(OKABE_ITO)
    looks = [(OKABE_ITO[i % hues], DASHES[i // hues % len(DASHES)]) for i in range(len(choice.levels))]
    entries = [
        entry(name, hue, ls=dash, lw=2.4 if dash == "-" else 1.8)
        for (hue, dash), name in zip(looks, choice.names, strict=True)
    ]
    return Encoding([looks[rank][0] for rank in choice.ranks], [looks[rank][1] for rank in choice.ranks], [entries])


def _scaled(choice: _Choice) -> Encoding:
    """A colour for each number on a scale, without the last, yellow part of it, which white paper swallows."""
    colormap = ListedColormap(mpl.colormaps["viridis"](np.linspace(0, 0.92, 256)))
    low, high = choice.levels[0], choice.levels[-1]
    # Learning rates and widths span decades; a factor of 20 or more reads better on a logarithmic scale.
    norm = LogNorm(low, high) if low > 0 and high / low >= 20 else Normalize(low, high)
    colours = [str(to_hex(colormap(float(norm(choice.levels[rank]))))) for rank in choice.ranks]
    return Encoding(colours, ["-"] * len(colours), [], (ScalarMappable(norm, colormap), choice.name))


def entry(label: str, color: str = GREY, **style: Any) -> Artist:
    """A legend entry; a long label takes several lines and is never cut, for what differs may stand at its end."""
    return Line2D([], [], color=color, label=plain(fill(label, 44), len(label) + 9), **{"lw": 2.4} | style)


def plain(text: str, limit: int = 160) -> str:
    """A text that matplotlib neither reads as mathematics nor hides from legends."""
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return (" " + text if text.startswith("_") else text).replace("$", r"\$")
