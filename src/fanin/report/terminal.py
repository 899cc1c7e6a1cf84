"""The study table on the terminal, with where to look next."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from fanin.report import Report

# Header, key of StudyRow.cells by position, and the console width from which on the column is shown.
COLUMNS = (
    ("", 0, 0), ("seeds", 1, 0), ("factor per\nlayer", 2, 0), ("theory", 3, 0), ("at this\nwidth", 4, 88),
    ("gradient\nfirst", 5, 0), ("gradient\nlast", 6, 100), ("outcome", 7, 0), ("verdict", 8, 0),
    ("deviation (sd)", 9, 112),
)  # fmt: skip
NUMERIC = (1, 2, 3, 4, 5, 6)
COLOURS = {"vanishing": "blue", "critical": "green", "stable": "green", "exploding": "red"}
MOST_ROWS = 40
MOST_NOTES = 5


def print_study(report: Report, console: Console) -> None:
    """Print the study table, notes, the files written and the command that opens TensorBoard.

    Narrow terminals get fewer columns, never cut ones; what is left out stands in table.md.
    """
    console.print(Text(report.title, style="bold"))
    console.print(Text(report.setting))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    columns = [(header, position) for header, position, width in COLUMNS if console.width >= width]
    cells = [row.cells() for row in report.study[:MOST_ROWS]]
    columns = [(header, position) for header, position in columns if any(line[position] for line in cells)]
    for header, position in columns:
        numeric = position in NUMERIC
        table.add_column(
            header, justify="right" if numeric else "left", no_wrap=numeric, vertical="bottom" if 0 else "top"
        )
    for line in cells:
        table.add_row(*(Text(line[i], style=COLOURS.get(line[i], "") if i == 8 else "") for _, i in columns))
    console.print(table)
    if len(report.study) > MOST_ROWS:
        console.print(f"and {len(report.study) - MOST_ROWS} more configurations in {_near(report.tables[1])}")
    for note in report.notes[:MOST_NOTES]:
        console.print(Text(f"note: {note}", style="yellow"))
    if len(report.notes) > MOST_NOTES:
        console.print(f"and {len(report.notes) - MOST_NOTES} more notes in {_near(report.index)}")
    figure = next((path for path in report.figures if path.name == "study.png"), None)
    for name, path in (("figure", figure), ("page", report.index), ("runs", report.summary_path)):
        if path is not None:
            _line(console, f"{name:<12}{_near(path)}")
    _line(console, f"tensorboard --logdir {shlex.quote(_near(report.grid))}")


def _line(console: Console, text: str) -> None:
    """A line that can be copied: never wrapped, whatever the width."""
    console.print(Text(text), soft_wrap=True)


def _near(path: Path) -> str:
    """The path as seen from here where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) and not relative.startswith("../..") else str(path)
