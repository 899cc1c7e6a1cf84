"""What is drawn: runs however they are given, read and grouped as the report does, and axes for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.api.composing import Folder
from fanin.api.finished_run import Run
from fanin.api.tables import Tables, folders_named
from fanin.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fanin.report.figures.style import Sheet
    from fanin.report.read import folders, series

Runs = Run | Sequence[Run] | Tables | Folder | Sequence[Folder]
"""What is drawn: a run, a grid or a list of runs, what fanin.load gave, a folder or a pattern, or several of these."""


@dataclass
class Read:
    """Runs as the report reads them, in the order of their configurations."""

    runs: list[folders.Run]
    sheet: Sheet
    grid: Path

    @property
    def metrics(self) -> series.Metrics:
        """metrics.csv of all."""
        from fanin.report.read.series import Metrics

        return Metrics(self.runs)

    @property
    def profiles(self) -> series.Profiles:
        """profiles.csv of all."""
        from fanin.report.read.series import Profiles

        return Profiles(self.runs)


def runs_of(what: Runs) -> Read:
    """Runs, however they are given, read and grouped as the report does.

    Raises:
        UserError: there are none, or they are none.
    """
    from fanin.report.figures.style import Sheet
    from fanin.report.read.configurations import group_runs, setting
    from fanin.report.read.folders import grid_of, read_runs, titled

    each: Any = [what] if isinstance(what, (Run, Tables, str, Path)) else what
    paths: list[Path] = []
    for one in each:
        if isinstance(one, Tables):
            paths += one.folders
        else:
            paths += [one.folder] if isinstance(one, Run) else folders_named(one)
    if not paths:
        raise UserError("plots: no runs were given")
    grid, found = grid_of(paths)
    runs = read_runs(found, grid)
    configurations = group_runs(runs)
    runs = [runs[position] for one in configurations for position in one.members]
    places = iter(range(len(runs)))
    for one in configurations:
        one.members = [next(places) for _ in one.members]
    return Read(runs, Sheet(titled(runs), setting(runs, configurations), configurations), grid)


def require(profiles: series.Profiles, snapshot: str, quantity: str) -> None:
    """Refuse a quantity that no run has.

    Raises:
        UserError: so it is.
    """
    if not profiles.lengths(snapshot, "weight", quantity).any():
        raise UserError(f"{quantity}: no run has it in a profile at {snapshot} over its weight layers")


def new_axes(axes: Axes | None) -> Axes:
    """The axes that were given, or new ones of pyplot."""
    if axes is not None:
        return axes
    import matplotlib.pyplot as plt

    made: Axes = plt.subplots()[1]
    return made


def drawn(axes: Axes | None, draw: Callable[[Axes], object], *, legend: Sequence[Any] = (), **words: str) -> Axes:
    """The axes that were given, or new ones of pyplot, with a panel, its title and labels, and entries of a legend."""
    from fanin.report.figures.ticks import shorten

    place = new_axes(axes)
    draw(place)
    place.set(**words)
    shorten([place])
    if legend:
        place.legend(handles=list(legend), fontsize="small")
    return place


def only_run(what: str, runs: Runs) -> tuple[Read, folders.Run]:
    """What was read of a single run, and the run.

    Raises:
        UserError: there are several, or none.
    """
    read = runs_of(runs)
    if len(read.runs) > 1:
        raise UserError(f"{what}: {len(read.runs)} runs; a panel shows one")
    return read, read.runs[0]


def only_configuration(what: str, runs: Runs) -> Read:
    """What was read of runs of one configuration.

    Raises:
        UserError: there are several, or no runs.
    """
    read = runs_of(runs)
    if (count := len(read.sheet.configurations)) > 1:
        raise UserError(f"{what}: {count} configurations; a panel shows one, so give the runs of one")
    return read


def with_legend(axes: Axes, sheet: Sheet, styles: Sequence[Any], *, wanted: bool) -> Axes:
    """The axes with what tells configurations apart, and what the line styles mean."""
    if not wanted:
        return axes
    encoding = sheet.encoding
    if encoding.scale is not None:
        mappable, name = encoding.scale
        axes.figure.colorbar(mappable, ax=axes, label=name)
    handles = [*(entry for group in encoding.entries for entry in group), *styles]
    if handles:
        axes.legend(handles=handles, fontsize="small")
    return axes
