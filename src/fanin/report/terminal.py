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

# Headers by position in StudyRow.cells.
HEADERS = (
    "", "seeds", "factor/\nlayer", "theory", "at this\nwidth", "gradient\nfirst", "gradient\nlast",
    "outcome", "verdict", "deviation\nin sd",
)  # fmt: skip
LABEL, OUTCOME, VERDICT, DEVIATION = 0, 7, 8, 9
NUMERIC = (1, 2, 3, 4, 5, 6)
FIRST_TO_GO = (4, 1, 3, 5, 6, 9)  # where the terminal is narrow; at 80 columns the first two may go
COLOURS = {"vanishing": "blue", "critical": "green", "stable": "green", "exploding": "red"}
MOST_ROWS = 40
MOST_NOTES = 5


def print_study(report: Report, console: Console) -> None:
    """Print the study table, notes, the files written and the command that opens TensorBoard.

    Narrow terminals get fewer columns, never cut ones; what is left out stands in table.md.
    """
    console.print(Text(report.title, style="bold"))
    console.print(Text(report.setting))
    console.print(_table([row.cells() for row in report.study[:MOST_ROWS]], console.width))
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


def _table(rows: list[list[str]], width: int) -> Table:
    """The table with as many of its columns as fit; labels, outcomes and verdicts may take several lines."""
    widths = _widths(rows, width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for position, exact in widths.items():
        table.add_column(
            HEADERS[position], justify="right" if position in NUMERIC else "left", width=exact, overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(row[i], style=COLOURS.get(row[i], "") if i == VERDICT else "") for i in widths))
    return table


def _widths(rows: list[list[str]], width: int) -> dict[int, int]:
    """The columns that fit, empty ones left out, and the width of each."""
    natural = {
        position: max(len(text) for text in [*header.split("\n"), *(row[position] for row in rows)])
        for position, header in enumerate(HEADERS)
        if any(row[position] for row in rows)
    }
    least = {LABEL: max(18, width // 4), OUTCOME: 11, VERDICT: 9, DEVIATION: 9}
    widths = {position: min(wish, least.get(position, wish)) for position, wish in natural.items()}

    def left() -> int:
        return width - sum(widths.values()) - 2 * len(widths) - 1

    for position in FIRST_TO_GO:
        if left() < 0:
            widths.pop(position, None)
    for position in least:
        if position in widths:
            widths[position] += max(0, min(left(), natural[position] - widths[position]))
    return widths


def _line(console: Console, text: str) -> None:
    """A line that can be copied: never wrapped, whatever the width."""
    console.print(Text(text), soft_wrap=True)


def _near(path: Path) -> str:
    """The path as seen from here where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) and not relative.startswith("..") else str(path)
