"""The look that all figures share: colours, fonts, titles, legends, and how they are saved."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter, LogLocator, NullLocator

from fanin.report.read.configurations import Configuration, numeric_axis, short_keys

# Okabe & Ito, Color Universal Design (2008), without the yellow that white paper swallows.
OKABE_ITO = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#5f5f5f"
LEGEND_LIMIT = 12
RC: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 8.5,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.7, "xtick.major.width": 0.7, "ytick.major.width": 0.7, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.6, "lines.solid_capstyle": "round",
    "figure.facecolor": "white", "savefig.facecolor": "white", "svg.hashsalt": "fanin", "path.simplify": True,
}  # fmt: skip


@dataclass
class Sheet:
    """What the figures of one report share.

    Attributes:
        title: the experiment.
        setting: the settings that all runs share, in a line.
        configurations: what is drawn, one colour each.
        colours: of the configurations.
        scale: the colour scale where there are too many for a legend, with the name of its axis.
    """

    title: str
    setting: str
    configurations: Sequence[Configuration]
    colours: list[str] = field(default_factory=list)
    scale: tuple[ScalarMappable, str] | None = None

    def __post_init__(self) -> None:
        count = len(self.configurations)
        if count <= len(OKABE_ITO):
            self.colours = list(OKABE_ITO[:count])
            return
        # Without its last, yellow part, which white paper swallows.
        colormap = ListedColormap(mpl.colormaps["viridis"](np.linspace(0, 0.92, 256)))
        key = numeric_axis(self.configurations) if count > LEGEND_LIMIT else None
        if key is None:
            self.colours = [_hex(colormap, i / (count - 1)) for i in range(count)]
            return
        numbers = [one.number(key) or 0.0 for one in self.configurations]
        low, high = min(numbers), max(numbers)
        # Learning rates and widths span decades; a factor of 20 or more reads better on a logarithmic scale.
        norm = LogNorm(low, high) if low > 0 and high / low >= 20 else Normalize(low, high)
        self.colours = [_hex(colormap, float(norm(number))) for number in numbers]
        self.scale = ScalarMappable(norm, colormap), short_keys([key])[key]

    def figure(
        self, rows: int, columns: int, width: float, height: float, ratios: Sequence[float] | None = None
    ) -> tuple[Figure, list[Axes]]:
        """An empty figure with title and setting in a strip above its panels; sizes in inches."""
        figure = Figure(figsize=(width, height), layout="constrained")
        layout = figure.get_layout_engine()
        assert isinstance(layout, ConstrainedLayoutEngine)
        layout.set(rect=(0, 0, 1, 1 - 0.5 / height), w_pad=0.06, h_pad=0.06)
        where: dict[str, Any] = {"ha": "left", "va": "top"}
        title, setting = plain(self.title, int(12 * width)), plain(self.setting, int(14 * width))
        figure.text(0.1 / width, 1 - 0.09 / height, title, fontsize=11.5, fontweight="bold", **where)
        figure.text(0.1 / width, 1 - 0.32 / height, setting, color=GREY, **where)
        return figure, list(figure.subplots(rows, columns, squeeze=False, width_ratios=ratios).flat)

    def legend(
        self, figure: Figure, axes: Sequence[Axes], styles: Sequence[Artist], drawn: Collection[int] | None = None
    ) -> None:
        """The colours of the configurations drawn, then what the line styles mean, below the panels."""
        handles: list[Artist] = []
        if self.scale is not None:
            mappable, name = self.scale
            figure.colorbar(mappable, ax=list(axes), label=plain(name), pad=0.01, fraction=0.03, aspect=30)
        elif len(self.configurations) <= LEGEND_LIMIT:
            for position, (one, colour) in enumerate(zip(self.configurations, self.colours, strict=True)):
                if drawn is None or position in drawn:
                    handles.append(Line2D([], [], color=colour, lw=2.4, label=plain(one.label, 40)))
        else:
            label = f"{len(self.configurations)} configurations, dark to light in the order of the table"
            handles.append(Line2D([], [], color=GREY, lw=2.4, label=label))
        columns, cells = _legend_grid([handles, list(styles)], figure.get_figwidth())
        if columns:
            figure.legend(handles=cells, loc="outside lower center", ncols=columns, frameon=False, borderpad=0.1)


def _legend_grid(groups: list[list[Artist]], width: float) -> tuple[int, list[Artist]]:
    """Number of columns that fit into so many inches, and the entries in matplotlib's order, column by column.

    All entries in one row where they fit; else each group starts a row of its own.
    """
    together = [entry for group in groups for entry in group]
    for arrangement, most in (([together], len(together)), (groups, max(map(len, groups)))):
        for columns in range(most, 0, -1):
            cells = _in_rows(arrangement, columns)
            rows = len(cells) // columns
            if arrangement[0] is together and rows > 1:
                break
            letters = [len(str(cell.get_label())) for cell in cells]
            longest = [max(letters[start : start + rows]) for start in range(0, len(cells), rows)]
            # About 0.068 inches a letter at 8.5 points, and 0.55 for the sample of the line and the gap.
            if sum(0.068 * count + 0.55 for count in longest) <= width:
                even = math.ceil(most / math.ceil(most / columns))
                return even, _in_rows(arrangement, even)
    return (1, together) if together else (0, [])


def _in_rows(groups: Sequence[Sequence[Artist]], columns: int) -> list[Artist]:
    """Legend entries so that each group starts a row; matplotlib fills columns first."""
    cells: list[Artist] = []
    for group in groups:
        cells += group
        cells += [Line2D([], [], ls="", label=" ") for _ in range(-len(group) % columns)]
    return [cell for column in range(columns) for cell in cells[column::columns]]


def log_axis(axes: Axes) -> None:
    """Few ticks on a logarithmic y axis over many decades; called after drawing."""
    low, high = axes.get_ylim()
    if high / max(low, 1e-300) > 1e3:
        axes.yaxis.set_major_locator(LogLocator(numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
    elif low > 1e-3 and high < 1e4:  # "20" reads better than "2 x 10^1"
        axes.yaxis.set_major_formatter(_PlainLog())
        axes.yaxis.set_minor_formatter(_PlainLog(minor_thresholds=(1.5, 0.4)))


class _PlainLog(LogFormatter):
    """Ticks of a logarithmic axis as plain numbers, thinned like matplotlib's own."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def darker(colour: str) -> tuple[float, float, float]:
    """The colour of theory: that of its configuration, darkened to stand out from the measured line."""
    red, green, blue = to_rgb(colour)
    return 0.45 * red, 0.45 * green, 0.45 * blue


def plain(text: str, limit: int = 160) -> str:
    """A text that matplotlib neither reads as mathematics nor hides from legends."""
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return (" " + text if text.startswith("_") else text).replace("$", r"\$")


def panel(axes: Axes, letter: str, title: str, xlabel: str) -> None:
    """Title and x label of a panel; the y axis is named by the title."""
    axes.annotate(
        f"{letter}  {title}", (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points",
        fontsize=9.5, ha="left", va="bottom",
    )  # fmt: skip
    axes.set_xlabel(xlabel)


@contextmanager
def look() -> Iterator[None]:
    """Draw and save with the report's settings, whatever the user's matplotlibrc says."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a label's character that the font lacks is drawn as a box
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def save(figure: Figure, out: Path, name: str) -> list[Path]:
    """Write a figure as PNG (150 dpi) and SVG; the same figure gives the same bytes."""
    paths = [out / f"{name}.png", out / f"{name}.svg"]
    figure.savefig(paths[0], dpi=150)
    figure.set_layout_engine("none")  # the places found for the PNG hold for the SVG
    figure.savefig(paths[1], metadata={"Date": None})
    return paths


def _hex(colormap: Colormap, where: float) -> str:
    red, green, blue, _ = colormap(where, bytes=True)
    return f"#{int(red):02x}{int(green):02x}{int(blue):02x}"
