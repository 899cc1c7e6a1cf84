"""The files of a search, beside the runs of its grid: what is searched, and what came of every rung."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fanin.record import search_columns
from fanin.record.atomic_files import read_json, write_json
from fanin.record.columns import names
from fanin.record.csv_file import read_table, write_table

Key = TypeVar("Key", bound=Hashable)
FOLDER, SETTINGS, STUDY, RUNGS = "search", "search.json", "study.log", "rungs.csv"


@dataclass(frozen=True)
class RungRow:
    """A run on a rung: a row of rungs.csv."""

    bracket: int
    rung: int
    trial: int
    run: str
    seed: int
    steps: int
    values: tuple[float, ...]
    state: str
    reason: str = ""

    def cells(self) -> tuple[object, ...]:
        """As it is written; numbers in the shortest form that reads back to the same."""
        place = self.bracket, self.rung, self.trial, self.run, self.seed, self.steps
        return *place, " ".join(map(repr, self.values)), self.state, self.reason

    @property
    def good(self) -> bool:
        """Whether there is a number to go by."""
        return all(map(math.isfinite, self.values))


def read_rungs(grid: Path) -> list[RungRow]:
    """The rows of a grid's rungs.csv; [] where there is none."""
    table = read_table(grid / FOLDER / RUNGS) or []
    numbers = ("bracket", "rung", "trial", "seed", "steps")
    rows = []
    for row in table:
        try:
            bracket, rung, trial, seed, steps = (int(row[name]) for name in numbers)
            values = tuple(map(float, row["value"].lstrip("'").split()))
            rows.append(RungRow(bracket, rung, trial, row["run"], seed, steps, values, row["state"], row["reason"]))
        except (KeyError, ValueError, AttributeError):  # damaged
            continue
    return rows


def write_rungs(grid: Path, rows: Iterable[RungRow]) -> None:
    """Write rungs.csv, whole."""
    write_table(grid / FOLDER / RUNGS, names(search_columns.RUNGS), (row.cells() for row in rows))


def read_search(grid: Path) -> dict[str, Any] | None:
    """What search.json says; None where there is no search."""
    return read_json(grid / FOLDER / SETTINGS)


def write_search(grid: Path, content: dict[str, Any]) -> None:
    """Write search.json."""
    write_json(grid / FOLDER / SETTINGS, content)


def grouped(rows: Iterable[RungRow], key: Callable[[RungRow], Key]) -> dict[Key, list[RungRow]]:
    """The rows that have the same key, in their order."""
    found: dict[Key, list[RungRow]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def of_runs(grid: Path) -> dict[str, dict[str, object]]:
    """The columns of summary.csv that a search has, by run; of a run of several trials those of the first."""
    if not (grid / FOLDER / RUNGS).is_file():
        return {}
    by_trial = grouped(read_rungs(grid), lambda row: row.trial)
    found: dict[str, dict[str, object]] = {}
    for trial in sorted(by_trial):
        reasons = dict.fromkeys(row.reason for row in by_trial[trial] if row.reason)
        for run in dict.fromkeys(row.run for row in by_trial[trial]):
            told: dict[str, object] = {
                "trial": trial,
                "rung": _last(by_trial[trial], run),
                "dropped": "; ".join(reasons) or None,
            }
            found.setdefault(run, told)
    return found


def _last(rows: Sequence[RungRow], run: str) -> int:
    return max(row.rung for row in rows if row.run == run)
