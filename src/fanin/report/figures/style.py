"""The look that all figures share: colours, fonts, titles and legends."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from itertools import cycle
from string import ascii_lowercase
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fanin.report.figures import paper
from fanin.report.figures.encoding import GREY, OKABE_ITO, Encoding, encode, note, plain
from fanin.report.figures.roles import Asked
from fanin.report.figures.ticks import counts, log_axis, shorten
from fanin.report.read.configurations import Configuration

__all__ = ["GREY", "OKABE_ITO", "Panel", "Sheet", "darker", "log_axis", "look", "panel", "plain"]

FACET = (2.45, 2.3)  # inches, of a panel among several of its quantity
WHOLE = ("step", "weight layer", "module", "trial")  # labels of axes that count
RC: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 8.5,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.7, "xtick.major.width": 0.7, "ytick.major.width": 0.7, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.6, "lines.solid_capstyle": "round",
    "figure.facecolor": "white", "savefig.facecolor": "white", "svg.hashsalt": "fanin", "path.simplify": True,
}  # fmt: skip


class Panel(NamedTuple):
    """What stands in one panel of a figure: what draws it, its title, and the words at its axes."""

    draw: Callable[[Axes], object]
    title: str
    xlabel: str
    ylabel: str = ""


@dataclass
class Sheet:
    """What the figures of a report share: its title, what all runs share and what varies, the configurations' looks.

    Attributes:
        values, asked: see `encoding.encode`; figures have several panels of a quantity only where `asked` is given.
        crowd: the most configurations that stand in one panel.
    """

    title: str
    setting: str
    configurations: Sequence[Configuration]
    values: Sequence[float] = ()
    asked: Asked | None = None
    encoding: Encoding = field(init=False)
    crowd: int = field(init=False)

    def __post_init__(self) -> None:
        self.encoding = encode(self.configurations, self.values, self.asked)
        self.crowd = max(Counter(self.encoding.facets).values(), default=0)

    @property
    def facets(self) -> list[Sheet]:
        """A sheet for each panel of a quantity, with the configurations that stand in it; itself where there is one."""
        titles = self.encoding.titles
        return [self] if len(titles) < 2 else [self._facet(i) for i in range(len(titles))]

    def _facet(self, facet: int) -> Sheet:
        places = [place for place, own in enumerate(self.encoding.facets) if own == facet]
        part = copy(self)
        part.configurations = [self.configurations[place] for place in places]
        part.encoding, part.title = self.encoding.of(places), self.encoding.titles[facet]
        return part

    def rows(
        self, quantities: int, columns: int, width: float, height: float, ratios: Sequence[float] | None = None
    ) -> tuple[Figure, list[list[Axes]]]:
        """An empty figure with a row of panels for each quantity: one for each facet, which share its axes.

        Without facets each has a single panel, as `cells` places them.
        """
        parts = self.facets
        if len(parts) == 1:
            figure, axes = self.cells(quantities, columns, width, height, ratios)
            return figure, [[place] for place in axes]
        columns, width = len(parts), max(FACET[0], 7.0 / len(parts))
        figure, axes = self.figure(quantities, columns, 1.2 + width * columns, 0.9 + FACET[1] * quantities, share=True)
        for place, part in zip(axes, parts, strict=False):
            title = plain(fill(part.title, int(13 * width), max_lines=2, placeholder=" …"))
            note(place, title, (0, 1), (0, 19), fontsize=9.5, fontweight="bold", ha="left", va="bottom")
        return figure, [axes[i * columns : (i + 1) * columns] for i in range(quantities)]

    def cells(
        self, count: int, columns: int, width: float, height: float, ratios: Sequence[float] | None = None
    ) -> tuple[Figure, list[Axes]]:
        """An empty figure of so many panels, so many of them to a row; sizes in inches."""
        figure, axes = self.figure(math.ceil(count / columns), columns, width, height, ratios)
        for place in axes[count:]:
            place.remove()
        return figure, axes[:count]

    def panels(
        self,
        drawn: Sequence[Panel | None],
        columns: int,
        width: float,
        height: float,
        ratios: Sequence[float] | None = None,
        *,
        lettered: bool = True,
    ) -> tuple[Figure, list[Axes]]:
        """A figure of these panels, so many of them to a row, the place of None empty; see `cells`."""
        figure, axes = self.cells(len(drawn), columns, width, height, ratios)
        letters = cycle(ascii_lowercase if lettered else [""])
        for place, one in zip(axes, drawn, strict=True):
            if one is None:
                place.set_axis_off()
            else:
                one.draw(place)
                panel(place, next(letters), one.title, one.xlabel, one.ylabel)
        return figure, axes

    @property
    def colours(self) -> list[str]:
        """Of the configurations."""
        return self.encoding.colours

    def figure(
        self,
        rows: int,
        columns: int,
        width: float,
        height: float,
        ratios: Sequence[float] | None = None,
        *,
        share: bool = False,
    ) -> tuple[Figure, list[Axes]]:
        """An empty figure with title and setting in a strip above its panels; sizes in inches.

        For a paper it has the width of a column, the panels one below the other, and no strip, for it has a caption.
        """
        if paper.for_paper():
            count = rows * columns
            figure = Figure(figsize=(paper.COLUMN, 0.4 + paper.PANEL * count), layout="constrained")
            return figure, list(figure.subplots(count, 1, squeeze=False).flat)
        setting = fill(self.setting, int(14 * width))
        strip = 0.5 + 0.16 * setting.count("\n")
        height += strip - 0.5
        figure = Figure(figsize=(width, height), layout="constrained")
        layout: Any = figure.get_layout_engine()
        layout.set(rect=(0, 0, 1, 1 - strip / height), w_pad=0.06, h_pad=0.06)
        where: dict[str, Any] = {"x": 0.1 / width, "ha": "left", "va": "top"}
        title = plain(self.title, int(12 * width))
        figure.text(y=1 - 0.09 / height, s=title, fontsize=11.5, fontweight="bold", **where)
        figure.text(y=1 - 0.32 / height, s=plain(setting, len(setting)), color=GREY, **where)
        shared: Any = {"sharex": "row", "sharey": "row"} if share else {}
        return figure, list(figure.subplots(rows, columns, squeeze=False, width_ratios=ratios, **shared).flat)

    def legend(
        self, figure: Figure, axes: Sequence[Axes], styles: Sequence[Artist], drawn: Collection[int] | None = None
    ) -> None:
        """What tells the configurations apart, then what the line styles mean, below the panels.

        Where each configuration has an entry, only those at the positions `drawn` are named; None for all.
        """
        groups = self.encoding.entries
        if self.encoding.scale is not None:
            mappable, name = self.encoding.scale
            figure.colorbar(mappable, ax=corners(axes), label=plain(name), pad=0.01, fraction=0.03, aspect=30)
        elif drawn is not None and len(groups) == 1 and len(groups[0]) == len(self.configurations):
            groups = [[entry for position, entry in enumerate(groups[0]) if position in drawn]]
        columns, cells = _legend_grid([*groups, list(styles)], figure.get_figwidth())
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
            letters = [max(map(len, str(cell.get_label()).split("\n"))) for cell in cells]
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


def corners(axes: Sequence[Axes]) -> list[Axes]:
    """Of some panels of a grid the few that reach as far as all of them: a colour bar that belongs to them is as large.

    Constrained layout measures a bar once for each of its panels.
    """
    spots = [one.get_subplotspec() for one in axes]
    ends = [(-s.rowspan.start, s.rowspan.stop, -s.colspan.start, s.colspan.stop) for s in spots if s is not None]
    kept = {0} | {column.index(max(column)) for column in zip(*ends, strict=True)}
    return [axes[place] for place in sorted(kept)] if len(ends) == len(axes) else list(axes)


def darker(colour: str) -> tuple[float, float, float]:
    """The colour of theory: that of its configuration, darkened to stand out from the measured line."""
    red, green, blue = to_rgb(colour)
    return 0.45 * red, 0.45 * green, 0.45 * blue


def panel(axes: Axes, letter: str, title: str, xlabel: str, ylabel: str = "") -> None:
    """Title and labels of a panel; an axis that counts layers or steps has whole numbers."""
    note(axes, paper.in_column(f"{letter}  {title}"), (0, 1), (0, 6), fontsize=9.5, ha="left", va="bottom")
    axes.set_xlabel(paper.in_column(xlabel))
    axes.set_ylabel(ylabel)
    if xlabel.startswith(WHOLE):
        counts(axes)
    shorten([axes])
    axes.yaxis.set_offset_position("right")  # on the left its power of ten would lie on the title
    if xlabel.startswith(WHOLE) and axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def label_row(row: Sequence[Axes], letter: str, title: str, xlabel: str, ylabel: str, *, last: bool = True) -> None:
    """Title and labels of panels of one quantity: of several the first has the y label, which is the title, too.

    Several that are not the last of their x axis have no words below them.
    """
    if len(row) == 1:
        panel(row[0], letter, title, xlabel, ylabel)
        return
    for axes in row:
        panel(axes, "", "", xlabel)
        if not last:
            axes.set_xlabel("")
            axes.tick_params(axis="x", labelbottom=False)
        axes.tick_params(axis="y", which="both", left=axes is row[0], labelleft=axes is row[0])
    row[0].set_ylabel(title if title.endswith(ylabel) else f"{title}\n{ylabel}")


@contextmanager
def look(style: str = "screen") -> Iterator[None]:
    """Draw and save with the report's settings, whatever the user's matplotlibrc says; see `paper` for the style."""
    with mpl.rc_context(), paper.chosen(style), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a label's character that the font lacks is drawn as a box
        mpl.rcdefaults()
        mpl.rcParams.update(RC | (paper.RC if paper.for_paper() else {}))
        yield
