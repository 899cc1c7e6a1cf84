"""summary.csv: a row per run, growing as runs end, under any launcher.

Free of pandas: the engine writes the summary each time that a run ends.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from fanin.errors import file_line
from fanin.record import columns, search_columns
from fanin.record.atomic_files import alone, write_atomically, write_whole
from fanin.record.columns import FINISHED, names
from fanin.record.csv_file import cells_of, lines_of, read_table, write_table
from fanin.record.grid_folder import LOCK, SUMMARY, has_header, stranger
from fanin.record.run_files import RunFiles, as_number, read_run
from fanin.record.search_files import of_runs

log = logging.getLogger(__name__)

FIRST, LAST = names(columns.SUMMARY_FIRST), names(columns.SUMMARY_LAST)
SEARCH = names(search_columns.SUMMARY_SEARCH)
METRICS, INIT, EVALUATION = names(columns.FINAL), names(columns.INIT), names(columns.EVALUATION)

PATIENCE = 60.0
"""Seconds to wait for another process that writes the same summary, which takes it milliseconds."""

Row = dict[str, object]


def row_of(run: RunFiles, keys: Iterable[str] = ()) -> Row:
    """The row of a run: name, state, outcome, verdict, what varies, final metrics, what init says.

    Args:
        run: as it was read.
        keys: of the configuration, that vary in the grid: the run's own value stands in its row also where that is
            the default. Its overrides come in any case.
    """
    others = {*FIRST, *SEARCH, *LAST}
    varied = {key: run.value(key) for key in (*run.overrides, *keys) if key not in others}
    if "seed" in varied:
        varied["seed"] = varied.pop("seed")
    extra = [name for name in run.metrics if name not in METRICS]
    numbers = run.numbers
    return {
        **dict(zip(FIRST, (run.folder.name, run.state, run.outcome, run.verdict), strict=True)),
        **varied,
        **{name: run.metric(name) for name in (*METRICS, *extra)},
        "steps": run.steps,
        "epochs": as_number(run.result.get("epochs", run.status.get("epoch"))),
        "seconds": as_number(run.result.get("seconds", run.status.get("seconds"))),
        **{name: run.init(name) for name in INIT},
        **dict(zip(names(columns.INIT_WORDS), (*run.verdicts, run.source), strict=True)),
        "diverged_step": as_number(run.diverged.get("step")),
        "diverged_layer": run.diverged.get("layer"),
        "error": run.error,
        **{name: numbers.get(name) for name in EVALUATION},
    }


def rows_of(runs: Sequence[RunFiles], grid: Path | None = None) -> list[Row]:
    """The rows of runs, each with its value of every key that varies among them.

    Args:
        runs: as they were read.
        grid: their names are their folders' paths below it; None for the folders' own names.
    """
    keys = dict.fromkeys(key for run in runs for key in run.overrides)
    # A copy of each, for what follows adds to them.
    rows = [dict(run.once("row of the summary", list(keys), partial(row_of, run, keys))) for run in runs]
    for folder in {run.folder.parent for run in runs}:
        if found := of_runs(folder):
            for run, row in zip(runs, rows, strict=True):
                row |= found.get(run.folder.name, {}) if run.folder.parent == folder else {}
    if grid is not None:
        for run, row in zip(runs, rows, strict=True):
            row["run"] = (
                run.folder.name if grid in (run.folder, run.folder.parent) else run.folder.relative_to(grid).as_posix()
            )
    return rows


def update_summary(grid: Path, folders: Sequence[Path]) -> None:
    """Put the rows of runs that ended into the grid's summary.csv, in place of earlier rows of those runs.

    A summary that cannot be written fails no run: the log says so, and a report writes it again.
    """
    path = grid / SUMMARY
    try:
        _refuse_foreign(grid)
        with alone(grid / LOCK, PATIENCE):
            runs = [read_run(folder) for folder in folders]
            if _appended(path, runs):
                return
            rows = _earlier_rows(path, {folder.name for folder in folders})
            known = dict.fromkeys(key for row in rows for key in row if key not in (*FIRST, *SEARCH, *LAST))
            new = [key for run in runs for key in run.overrides if key not in known]
            for row in rows if new else ():  # what varies from now on had its default in them
                before = read_run(grid / str(row["run"]))
                row |= {key: before.value(key) for key in new}
            write_summary(path, [*rows, *(row_of(run, known) for run in runs)])
    except OSError as error:
        log.warning("summary.csv was not written: %s; fanin-report %s makes it", file_line(error), grid)


def rewrite_summary(grid: Path, runs: Sequence[RunFiles]) -> list[Row]:
    """Write summary.csv of a whole grid as it is now: runs that were read before they ended are read again.

    Args:
        grid: the folder of the runs.
        runs: in the order of their rows; rows that other processes have added come last.

    Returns:
        the rows of these runs.

    Raises:
        OSError: it cannot be written.
    """
    path = grid / SUMMARY
    _refuse_foreign(grid)
    with alone(grid / LOCK, PATIENCE):
        ended = [run if run.state in FINISHED else read_run(run.folder) for run in runs]
        more = {str(row["run"]) for row in _earlier_rows(path, set())} - {run.folder.name for run in runs}
        there = [grid / name for name in sorted(more) if (grid / name / "status.json").is_file()]
        runs_there = [*ended, *map(read_run, there)]
        rows = rows_of(runs_there, grid)
        header = header_of(rows)
        lines = [
            run.once("line of the summary", (header, row), partial(_line, header, row))
            for run, row in zip(runs_there, rows, strict=True)
        ]
        write_whole(path, "".join([lines_of([header]), *lines]).encode(errors="replace"))
    return rows[: len(runs)]


def header_of(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """The columns of rows: their union, what varies between verdict and metrics, then the seed, then a search's own."""
    known = {*FIRST, *LAST}
    others = list(dict.fromkeys(key for row in rows for key in row if key not in known))
    others.sort(key=lambda key: (key in SEARCH, key == "seed"))
    return [*FIRST, *others, *LAST]


def _line(header: Sequence[str], row: Mapping[str, object]) -> str:
    return lines_of([[row.get(column) for column in header]])


def write_summary(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write summary.csv atomically."""
    header = header_of(rows)
    write_table(path, header, ([row.get(column) for column in header] for row in rows))


def _refuse_foreign(grid: Path) -> None:
    """Raise FileExistsError if summary.csv was not written by a grid."""
    if stranger(grid) == SUMMARY:
        raise FileExistsError(f"{grid / SUMMARY} is no summary of runs, and stays as it is")


def _appended(path: Path, runs: Sequence[RunFiles]) -> bool:
    """Append the rows of new runs without parsing the others; False if they bring a new column or are there already.

    This is the usual case, and takes a fraction of the time.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return False
    header = tuple(cells_of(text.partition("\n")[0]))
    if header[: len(FIRST)] != FIRST or header[-len(LAST) :] != LAST or not text.endswith("\n"):
        return False
    rows = [row_of(run, header[len(FIRST) : -len(LAST)]) for run in runs]
    names = [lines_of([[row["run"]]]).rstrip("\n") for row in rows]
    if any(row.keys() - set(header) for row in rows) or any(f"\n{name}," in text for name in names):
        return False
    text += lines_of([row.get(column) for column in header] for row in rows)
    write_atomically(path, lambda file: file.write(text.encode(errors="replace")))
    return True


def _earlier_rows(path: Path, without: set[str]) -> list[Row]:
    """The rows of the file without those of some runs; made from the runs if it is damaged or has other columns."""
    table = read_table(path)
    whole = table is not None and has_header(path) and all(tuple(row)[-len(LAST) :] == LAST for row in table)
    if path.exists() and not whole:
        folders = sorted(status.parent for status in path.parent.glob("*/status.json"))
        return rows_of([read_run(folder) for folder in folders if folder.name not in without])
    return [dict(row) for row in table or [] if row["run"] and row["run"] not in without]
