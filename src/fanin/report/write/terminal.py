"""The study table on the terminal, with where to look next."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Literal

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from fanin.errors import counted

if TYPE_CHECKING:
    from fanin.report.write.page import Report
    from fanin.report.write.tables import Table

# Headers by position in StudyRow.cells.
HEADERS = (
    "", "seeds", "factor/\nlayer", "theory", "at this\nwidth", "gradient\nfirst", "gradient\nlast",
    "outcome", "verdict", "deviation\nin sd",
)  # fmt: skip
LABEL, OUTCOME, VERDICT, DEVIATION = 0, 7, 8, 9
FIRST_TO_GO = (4, 1, 3, 5, 6, 9)  # where the terminal is narrow; at 80 columns the first two may go
COLOURS = {"vanishing": "blue", "critical": "green", "stable": "green", "exploding": "red"}
CLAIMS = {True: "green", False: "red", None: "yellow"}
HEADER_WIDTH = 14  # a study's own header takes more lines where it is longer
MOST_ROWS = 40
MOST_NOTES = 5
# TensorBoard smooths what it draws by 0.6 until it is told otherwise.
PROFILES = "smoothing=0&tagFilter=profile_init/.*_norm_log10"
MOST_TICKED = 40  # runs that TensorBoard ticks by itself


def print_study(report: Report, console: Console) -> None:
    """Print the study table, claims, notes, the files written and the command that opens TensorBoard.

    Narrow terminals get fewer columns, never cut words; what is left out is named, and stands in table.md.
    """
    console.print(Text(report.title, style="bold"))
    console.print(Text(report.setting))
    table, left_out = _table(report.table, console.width)
    console.print(table)
    if left_out:
        console.print(Text(f"no room for {'; '.join(left_out)}: see {near(report.tables[1])}"))
    if (more := len(report.study) - MOST_ROWS) > 0:
        console.print(Text(f"and {counted(more, 'more configuration')} in {near(report.tables[1])}"))
    for claim in report.claims:
        told = Text(f"claim {claim.verdict}: ", style=CLAIMS[claim.holds])
        console.print(told.append(f"{claim.text} ({claim.evidence})", style="default"))
    for note in report.notes[:MOST_NOTES]:
        console.print(Text(f"note: {note}", style="yellow"))
    if (more := len(report.notes) - MOST_NOTES) > 0:
        console.print(Text(f"and {counted(more, 'more note')} in {near(report.index)}"))
    figure = next((path for path in report.figures if path.name == "study.png" or path.stem in report.captions), None)
    for name, path in (("figure", figure), ("page", report.index), ("runs", report.summary_path)):
        if path is not None:
            line(console, f"{name:<12}{near(path)}")
    line(console, f"tensorboard --logdir {shlex.quote(near(report.grid))}")
    if report.study["activation_last_gmean"].notna().any():
        line(console, f"{'profiles':<12}http://localhost:6006/?{PROFILES}#timeseries")
    shown = report.study["runs"].sum() + len(list(report.out.glob("tensorboard/*/*/")))  # theory has four
    if shown > MOST_TICKED:
        line(console, f"(its custom scalars tick none of more than {MOST_TICKED} runs: tick those to see)")


@dataclass(frozen=True)
class _Plan:
    """How a table may shrink: the least width of columns whose texts may take several lines, and who goes first."""

    headers: Sequence[str]
    least: dict[int, int]
    first_to_go: Sequence[int]


def _plan(table: Table, width: int) -> _Plan:
    """That of the usual table, or of a study's, where its own columns go from the right after the seeds."""
    label = max(18, width // 4)
    if table.initialization:
        return _Plan(HEADERS, {LABEL: label, OUTCOME: 11, VERDICT: 9, DEVIATION: 9}, FIRST_TO_GO)
    last = len(table.header) - 1
    headers = ["", *("\n".join(wrap(name, HEADER_WIDTH)) for name in table.header[1:])]
    return _Plan(headers, {LABEL: label, last: 11}, (1, *range(last - 1, 1, -1)))


def _table(made: Table, width: int) -> tuple[RichTable, list[str]]:
    """The table with as many of its columns as fit, and the names of the others; words are never broken."""
    rows, plan = made.rows[:MOST_ROWS], _plan(made, width)
    widths, left_out = _widths(rows, plan, width)
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for position, exact in widths.items():
        side: Literal["left", "right"] = "right" if position in made.numeric else "left"
        table.add_column(plan.headers[position], justify=side, width=exact, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[i], style=_colour(made, row, i)) for i in widths))
    return table, [made.header[position] for position in left_out]


def _colour(table: Table, row: Sequence[str], position: int) -> str:
    return COLOURS.get(row[position], "") if table.initialization and position == VERDICT else ""


def _widths(rows: Sequence[Sequence[str]], plan: _Plan, width: int) -> tuple[dict[int, int], list[int]]:
    """The columns that fit, empty ones left out, with the width of each; and those for which there is no room."""
    natural = {
        position: max(len(text) for text in [*header.split("\n"), *(row[position] for row in rows)])
        for position, header in enumerate(plan.headers)
        if any(row[position] for row in rows)
    }
    widths, left_out = dict(natural), []
    for position, least in plan.least.items():
        if position in natural:
            texts = [plan.headers[position], *(row[position] for row in rows)]
            longest = max(len(word) for text in texts for word in text.split())
            widths[position] = min(natural[position], max(least, longest))

    def left() -> int:
        return width - sum(widths.values()) - 2 * len(widths) - 1

    for position in plan.first_to_go:
        if left() < 0 and position in widths:
            del widths[position]
            left_out.append(position)
    for position in plan.least:
        if position in widths:
            widths[position] += max(0, min(left(), natural[position] - widths[position]))
    return widths, sorted(left_out)


def line(console: Console, text: str) -> None:
    """A line that can be copied: never wrapped, whatever the width."""
    console.print(Text(text), soft_wrap=True)


def near(path: Path) -> str:
    """The path as seen from here where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) and not relative.startswith("..") else str(path)
