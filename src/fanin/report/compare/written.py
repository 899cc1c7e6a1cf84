"""A comparison written down: `fanin-report FOLDER --compare optimizer=sgd optimizer=adam`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from fanin.record.columns import names
from fanin.record.report_columns import COMPARE, COMPARE_RANKS
from fanin.report.compare.comparison import Comparison, hold
from fanin.report.compare.comparison_figures import pairs_figure, ranking_figure
from fanin.report.compare.ranking import Ranking
from fanin.report.figures.saving import save
from fanin.report.figures.style import Sheet, look
from fanin.report.write.formats import formats_there, replace_table, write_formats
from fanin.report.write.tables import Table
from fanin.report.write.templates import write_template
from fanin.report.write.terminal import print_files

MOST_LETTERS = 30


class Compared(NamedTuple):
    """A written comparison; `ranking` of three sides or more that have two blocks or more in common."""

    title: str
    metric: str
    comparisons: list[Comparison]
    ranking: Ranking | None
    out: Path
    tables: list[Path]
    figures: list[Path]


def compare(
    folders: Sequence[Path],
    sides: Sequence[str],
    metric: str | None = None,
    out: Path | None = None,
    *,
    reference: str | None = None,
    formats: Sequence[str] = (),
    style: str = "screen",
) -> Compared:
    """Compare the runs of each side with those of the first and write compare.csv, compare.md and the figure.

    Three sides or more are ranked too, in compare_ranks.csv and a figure of its own.

    Args:
        folders, sides, metric, reference: see `hold`.
        out: where to write; by default `report` in the folder common to all runs.
        formats: of the numbers beside CSV and Markdown, see write.formats; one that is there already is written again.
        style: of the figures, see figures.paper.

    Raises:
        UserError: see `hold`.
        OSError: a folder that cannot be written.
    """
    title, metric, grid, comparisons, ranking = hold(folders, sides, metric, reference=reference)
    place = grid / "report" if out is None else out.resolve()
    place.mkdir(parents=True, exist_ok=True)
    tables = [place / "compare.csv", place / "compare.md"]
    rows = [one.row(metric) for one in comparisons]
    columns = [name for name in names(COMPARE) if name in rows[0]]  # without those of three sides or more
    replace_table(tables[0], columns, rows)
    write_template(tables[1], "compare.md", title=title, metric=metric, comparisons=comparisons, ranking=ranking)
    for ending in ("png", "svg", "pdf"):  # of an earlier comparison
        (place / f"compare_ranks.{ending}").unlink(missing_ok=True)
    tables += replace_table(place / "compare_ranks.csv", names(COMPARE_RANKS), ranking.rows() if ranking else [])
    shown = [table for one in (*comparisons, ranking) if one and (table := one.table())]
    tables += write_formats({*formats, *formats_there(place, "compare")}, place, "compare", shown, rows)
    with look(style):
        figures = save(pairs_figure(Sheet(title, metric, []), comparisons), place, "compare")
        if ranking:
            figures += save(ranking_figure(Sheet(title, metric, []), ranking), place, "compare_ranks")
    return Compared(title, metric, comparisons, ranking, place, tables, figures)


def print_compared(result: Compared, console: Console) -> None:
    """Print what was matched and left out, then the comparisons, and the files written."""
    console.print(Text(f"{result.title}: {result.metric}", style="bold"))
    for one in result.comparisons:
        about = "" if len(result.comparisons) == 1 else f"{one.side.text} against {one.first.text}: "
        for note in one.notes:
            console.print(Text(f"{about}{note}", style="yellow"))
        _print_table(one.table(), console)
    if result.ranking:
        for note in result.ranking.notes:
            console.print(Text(note, style="yellow"))
        _print_table(result.ranking.table(), console)
        console.print(Text(result.ranking.words))
    print_files(console, {"table": result.tables[0], "text": result.tables[1]})
    for path in result.figures:
        if path.suffix == ".png":
            print_files(console, {"figure": path})


def _print_table(made: Table | None, console: Console) -> None:
    """The names of sides are not broken where there is room for the rest."""
    if made is not None:
        whole = max(len(row[0]) for row in made.rows) <= MOST_LETTERS
        table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
        for position, name in enumerate(made.header):
            table.add_column(
                Text(name), justify="right" if position else "left", overflow="fold", no_wrap=whole and not position
            )
        for row in made.rows:
            table.add_row(*map(Text, row))
        console.print(table)
