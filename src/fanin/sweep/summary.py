"""summary.csv of a grid: a row per run, growing as runs end, whoever runs them."""

from __future__ import annotations

import csv
from pathlib import Path

from filelock import FileLock

from fanin.report.summary import summary_row, write_summary


def update_summary(grid: Path, run: Path) -> None:
    """Put the run's row into the grid's summary.csv, in place of an earlier row of that run."""
    path = grid / "summary.csv"
    with FileLock(grid / ".summary.lock"):
        rows: list[dict[str, object]] = []
        if path.exists():
            with path.open(newline="") as file:
                rows = [{key: value for key, value in row.items() if key} for row in csv.DictReader(file)]
        rows = [row for row in rows if row.get("run") != run.name]
        write_summary(path, [*rows, summary_row(run)])
