"""Reports: tables, figures and a page made of the folders that runs leave. Knows files only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from fanin.report.studies.base import Claim
    from fanin.report.write.tables import StudyRow, Table

__all__ = ["Report", "print_study", "write_report"]


@dataclass(frozen=True)
class Report:
    """What a report consists of.

    Attributes:
        title, setting: the experiment; what all its runs share, and the names of what varies.
        grid: the folder that holds all the runs.
        out: the report's own folder.
        summary: a row per run, with the columns of summary.csv.
        summary_path: where it was written.
        study: a row per configuration.
        table: the table for people.
        claims: of the experiments that are studies, judged.
        captions: of the studies' own figures, by the name of the figure, which is the experiment's.
        tables, figures: the files written.
        index: the page.
        notes: what is not as it should be, a line each, beginning with the name of the run or the experiment.
    """

    title: str
    setting: str
    grid: Path
    out: Path
    summary: pd.DataFrame
    summary_path: Path
    study: list[StudyRow]
    table: Table
    claims: list[Claim]
    captions: dict[str, str]
    tables: list[Path]
    figures: list[Path]
    index: Path
    notes: list[str]


def write_report(
    folders: Sequence[Path],
    out: Path | None = None,
    group_by: Sequence[str] | None = None,
    *,
    redraw: bool = True,
) -> Report:
    """Read all runs at or below the folders and write the report; an earlier one in its place is replaced.

    Args:
        folders: run folders or folders that hold some, at any depth.
        out: where to write; by default `report` in the folder common to all runs.
        group_by: configuration keys whose values make a configuration; by default all overrides but seed and fold.
        redraw: draw the figures also where they are there and no run's file has changed since.

    Returns:
        The report.

    Raises:
        UserError: no runs, a path that is no folder, an unknown key to group by.
        OSError: a folder that cannot be written.
    """
    from fanin.report.make import compose

    return compose(folders, out, group_by, redraw=redraw)


def print_study(report: Report, console: Console) -> None:
    """Print the study table, notes, the files written and the command that opens TensorBoard."""
    from fanin.report.write import terminal

    terminal.print_study(report, console)
