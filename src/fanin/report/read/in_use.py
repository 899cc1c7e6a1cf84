"""What the networks of a grid are in use, pruned, quantized and exported ones too: the in_use.csv files below it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fanin.record.columns import IN_USE, IN_USE_FILE, names
from fanin.record.csv_file import read_table
from fanin.report.write.tables import Table

DEEPEST = 3
"""Folders below a grid's: fanin-prune, fanin-quantize and fanin-export write beside the runs or where they are told."""

HEADER = ("form", "run", "error %", "agrees %", "kB", "zeros %", "ms for 1", "ms for 100")

Row = dict[str, str]


def forms_below(grid: Path) -> list[Row]:
    """The rows of all these files, each form of a run once; damaged ones are left out."""
    files = sorted(map(Path, _files_below(str(grid), DEEPEST)))
    found: dict[tuple[str, str], Row] = {}
    for file in files:
        if file.parent.name == "report":
            continue
        for row in read_table(file) or []:
            if set(names(IN_USE)) <= row.keys() and _numbers(row):
                found.setdefault((row["form"], row["run"]), row)
    return list(found.values())


def _files_below(place: str, deepest: int) -> Iterator[str]:
    """The in_use.csv files in a folder, and so many folders below it; as texts, see `folders.find_runs`."""
    try:
        with os.scandir(place) as there:
            entries = list(there)
    except OSError:
        return
    for one in entries:
        if one.name == IN_USE_FILE:
            yield one.path
        elif deepest > 0 and not one.name.startswith(".") and one.is_dir():
            yield from _files_below(one.path, deepest - 1)


def table_of_forms(rows: list[Row], grid: Path) -> Table:
    """The table for people: error with its 95 % interval, size, zeros and latency of each form."""
    return Table("in use", HEADER, [_cells(row, grid) for row in rows])


def _numbers(row: Row) -> bool:
    try:
        return all(float(row[name]) is not None for name in names(IN_USE) if name not in ("form", "run"))
    except ValueError:
        return False


def _cells(row: Row, grid: Path) -> list[str]:
    of = {name: float(row[name]) for name in names(IN_USE) if name not in ("form", "run")}
    shown = os.path.relpath(row["run"], grid)
    error = f"{100 * of['error']:.3g} [{100 * of['low']:.3g}, {100 * of['high']:.3g}]"
    times = [f"{1e3 * of[name]:.3g}" if of[name] == of[name] else "" for name in ("latency_1", "latency_100")]
    parts = [f"{100 * of['agreement']:.4g}", f"{of['bytes'] / 1024:.4g}", f"{100 * of['zeros']:.3g}"]
    return [row["form"], row["run"] if shown.startswith("..") else shown, error, *parts, *times]
