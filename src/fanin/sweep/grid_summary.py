"""summary.csv of a grid: a row per run, growing as runs end, whoever runs them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from fanin.record.summary import summary_row, write_summary


def update_summary(grid: Path, runs: Sequence[Path]) -> None:
    """Put the rows of runs that ended into the grid's summary.csv, in place of earlier rows of those runs."""
    path, names = grid / "summary.csv", {run.name for run in runs}
    with FileLock(grid / ".summary.lock"):
        rows: list[dict[str, object]] = []
        if path.exists():
            with path.open(newline="") as file:
                rows = [{key: value for key, value in row.items() if key} for row in csv.DictReader(file)]
        rows = [row for row in rows if row.get("run") not in names]
        write_summary(path, [*rows, *map(summary_row, runs)])
