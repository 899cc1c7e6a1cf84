"""The study table on the terminal, with where to look next."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from fanin.errors import counted
from fanin.report.tensorboard_events import BEST_FOLDER, MOST_TICKED, SEEDS

if TYPE_CHECKING:
    from fanin.report.write.page import Report
    from fanin.report.write.tables import Table

# Headers by position in the study table.
HEADERS = (
    "", "seeds", "factor/\nlayer", "theory", "at this\nwidth", "gradient\nfirst", "gradient\nlast",
    "outcome", "verdict", "deviation\nin sd",
)  # fmt: skip
LABEL, OUTCOME, VERDICT, DEVIATION = 0, 7, 8, 9
FIRST_TO_GO: tuple[int, ...] = (4, 1, 3, 5, 6, 9)  # where the terminal is narrow; at 80 columns the first two may go
COLOURS = {"vanishing": "blue", "critical": "green", "stable": "green", "exploding": "red"}
CLAIMS = {True: "green", False: "red", None: "yellow"}
HEADER_WIDTH = 14  # a study's own header takes more lines where it is longer
MOST_ROWS = 40
MOST_NOTES = 5
MOST_ANSWERS = 3
MOST_LINES = 3  # of an answer: the best, the second, what is not told from it
# TensorBoard smooths what it draws by 0.6 until it is told otherwise.
PROFILES = "smoothing=0&tagFilter=profile_init/.*_norm_log10"


def print_study(report: Report, console: Console) -> None:
    """Print the study table, claims, notes, the files written and the command that opens TensorBoard.

    Narrow terminals get fewer columns, never cut words; what all configurations have alike is told in a line above the
    table, and what is left out is named, and stands in table.md.
    """
    console.print(Text(report.title, style="bold"))
    console.print(Text(report.setting))
    for said in report.answers[:MOST_ANSWERS]:
        for text in said.lines[:MOST_LINES]:
            console.print(Text(text, style="green" if text.startswith("best") else ""))
    table, alike, left_out = _table(report.table, console.width)
    if alike:
        console.print(Text(f"all: {', '.join(alike)}"))
    console.print(table)
    if left_out:
        console.print(Text(f"no room for {'; '.join(left_out)}: see {near(report.tables[1])}"))
    if (more := len(report.table.rows) - MOST_ROWS) > 0:
        console.print(Text(f"and {counted(more, 'more configuration')} in {near(report.tables[1])}"))
    for words in report.search:
        console.print(Text(words))
    for claim in report.claims:
        told = Text(f"claim {claim.verdict}: ", style=CLAIMS[claim.holds])
        console.print(told.append(f"{claim.text} ({claim.evidence})", style="default"))
    for note in report.notes[:MOST_NOTES]:
        console.print(Text(f"note: {note}", style="yellow"))
    if (more := len(report.notes) - MOST_NOTES) > 0:
        console.print(Text(f"and {counted(more, 'more note')} in {near(report.index)}"))
    figure = next((path for path in report.figures if path.name == "study.png" or path.stem in report.captions), None)
    files = {"figure": figure, "page": report.index, "run": report.run_page, "runs": report.summary_path}
    print_files(console, {name: path for name, path in files.items() if path is not None})
    line(console, f"tensorboard --logdir {shlex.quote(near(report.grid))}")
    if report.study["activation_last_gmean"].notna().any():
        line(console, f"{'profiles':<12}http://localhost:6006/?{PROFILES}#timeseries")
    shown = report.study["runs"].sum() + len(list(report.out.glob("tensorboard/*/*/")))  # theory has four
    if shown > MOST_TICKED:
        line(console, f"(its custom scalars tick none of more than {MOST_TICKED} runs: tick those to see)")
        fewer = {
            BEST_FOLDER: "the best configurations, and quantiles of all",
            SEEDS: "means and quantiles over seeds",
        }
        there = [(path, words) for name, words in fewer.items() if (path := report.out / "tensorboard" / name).is_dir()]
        for path, words in there[:1]:
            line(console, f"tensorboard --logdir {shlex.quote(near(path))}  ({words})")


def _table(made: Table, width: int) -> tuple[RichTable, list[str], list[str]]:
    """The table with as many of its columns as fit, what all rows have, and the names of the others.

    Words are never broken. Where not all fit on one line, those go first that are equal in every row of several. Of the
    usual table some columns go before others; of a study's, its own go from the right after the seeds.
    """
    rows, last = made.rows[:MOST_ROWS], len(made.header) - 1
    label = max(18, width // 4)
    headers: Sequence[str] = HEADERS
    least, first_to_go = {LABEL: label, OUTCOME: 11, VERDICT: 9, DEVIATION: 9}, FIRST_TO_GO
    if not made.initialization:
        headers = ["", *("\n".join(wrap(name, HEADER_WIDTH)) for name in made.header[1:])]
        least, first_to_go = {LABEL: label, last: 11}, (1, *range(last - 1, 1, -1))
    texts = {i: [header, *(row[i] for row in rows)] for i, header in enumerate(headers) if any(row[i] for row in rows)}
    natural = {i: max(len(line) for text in column for line in text.split("\n")) for i, column in texts.items()}
    words = {i: max(len(word) for text in column for word in text.split()) for i, column in texts.items()}
    widths = {i: min(natural[i], max(least[i], words[i])) if i in least else natural[i] for i in natural}

    def left() -> int:
        return width - sum(widths.values()) - 2 * len(widths) - 1

    alike, left_out = [], []
    if sum(natural.values()) + 2 * len(natural) + 1 > width and len(made.rows) > 1:
        for i in [i for i in widths if i != LABEL and len({row[i] for row in made.rows}) == 1]:
            del widths[i]
            alike.append(f"{made.header[i]} {made.rows[0][i]}")
    for i in first_to_go:
        if i in widths and left() < 0:
            del widths[i]
            left_out.append(i)
    for i in (i for i in least if i in widths):
        widths[i] += max(0, min(left(), natural[i] - widths[i]))
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, exact in widths.items():
        table.add_column(headers[i], justify="right" if i in made.numeric else "left", width=exact, overflow="fold")
    for row in rows:
        coloured = {VERDICT: COLOURS.get(row[VERDICT], "")} if made.initialization else {}
        table.add_row(*(Text(row[i], style=coloured.get(i, "")) for i in widths))
    return table, alike, [made.header[i] for i in sorted(left_out)]


def line(console: Console, text: str) -> None:
    """A line that can be copied: never wrapped, whatever the width."""
    console.print(Text(text), soft_wrap=True)


def print_files(console: Console, files: Mapping[str, Path]) -> None:
    """A line for each file, its name in front."""
    for name, path in files.items():
        line(console, f"{name:<12}{near(path)}")


def near(path: Path) -> str:
    """The path as seen from here where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) and not relative.startswith("..") else str(path)
