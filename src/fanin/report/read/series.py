"""Reading the CSV files of many runs at once.

All files of a kind have one header, so their bodies are joined and parsed in one go: a thousand runs take one call
of the parser instead of a thousand. A file that does not fit is read line by line, and what is unreadable noted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fanin.record import columns
from fanin.record.columns import TEXT, names
from fanin.report.read.folders import Run

Floats = NDArray[np.float64]
METRICS, FULL = names(columns.METRICS), names(columns.FULL)
LARGEST_INDEX = 100_000  # a larger one is garbage, and would fill the memory


class Profiles:
    """The profiles over depth of all runs; `table` has the columns of profiles.csv and `run`, a position."""

    def __init__(self, table: pd.DataFrame, runs: int) -> None:
        self.runs = runs
        index = table["index"].to_numpy()
        good = (index >= 1) & (index <= LARGEST_INDEX) & (index == np.floor(index))
        self._table = table if good.all() else table[good]
        codes = [self._table[name].cat.codes.to_numpy() for name in ("snapshot", "axis", "quantity")]
        self._codes = dict(zip(("snapshot", "axis", "quantity"), codes, strict=True))

    def matrix(self, snapshot: str, axis: str, quantity: str, column: str = "value") -> Floats:
        """One column as [runs, largest index], nan where there is no row; [runs, 0] where no run has any."""
        rows = self._rows(snapshot, axis, quantity)
        run, index = (self._table[name].to_numpy()[rows].astype(np.intp) for name in ("run", "index"))
        matrix = np.full((self.runs, int(index.max(initial=0))), np.nan)
        matrix[run, index - 1] = self._table[column].to_numpy()[rows]
        return matrix

    def lengths(self, snapshot: str, axis: str, quantity: str) -> NDArray[np.intp]:
        """The largest index of each run, [runs]; what lies beyond is not missing, the run has no such layer."""
        rows = self._rows(snapshot, axis, quantity)
        run, index = (self._table[name].to_numpy()[rows].astype(np.intp) for name in ("run", "index"))
        lengths = np.zeros(self.runs, np.intp)
        np.maximum.at(lengths, run, index)
        return lengths

    def _rows(self, snapshot: str, axis: str, quantity: str) -> NDArray[np.intp]:
        chosen: NDArray[np.bool_] = np.ones(len(self._table), bool)
        for name, word in (("snapshot", snapshot), ("axis", axis), ("quantity", quantity)):
            categories = list(self._table[name].cat.categories)
            code = categories.index(word) if word in categories else -2  # -1 is a missing text
            chosen &= self._codes[name] == code
        return np.flatnonzero(chosen)


class Metrics:
    """The metrics over steps of all runs."""

    def __init__(self, table: pd.DataFrame, runs: int) -> None:
        table = table[np.isfinite(table["step"].to_numpy())]
        self._columns = {name: table[name].to_numpy() for name in (*METRICS, *FULL)}
        self._ends = np.searchsorted(table["run"].to_numpy(), np.arange(runs + 1))

    def series(self, run: int, column: str) -> tuple[Floats, Floats]:
        """Steps and values of one run, where the metric was evaluated; infinite values stay, nan is left out."""
        rows = slice(self._ends[run], self._ends[run + 1])
        step, value = self._columns["step"][rows], self._columns[column][rows]
        there = ~np.isnan(value)
        return step[there], value[there]

    def matrix(self, runs: Sequence[int], column: str) -> tuple[Floats, Floats]:
        """All steps [S] at which any of these runs was evaluated, and values [runs, S], nan where one was not."""
        series = [self.series(run, column) for run in runs]
        steps = np.unique(np.concatenate([step for step, _ in series])) if series else np.empty(0)
        values = np.full((len(series), len(steps)), np.nan)
        for row, (step, value) in zip(values, series, strict=True):
            row[np.searchsorted(steps, step)] = value
        return steps, values


@dataclass(frozen=True)
class _Kind:
    """A kind of CSV file: its name, header, the columns to read, and those at the end that not every file has."""

    name: str
    header: tuple[str, ...]
    columns: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @property
    def text(self) -> list[str]:
        return [column for column in self.columns if column in TEXT]


_PROFILES = _Kind(
    "profiles.csv",
    names(columns.PROFILES),
    tuple(name for name in names(columns.PROFILES) if name != "layer"),
)
_METRICS = _Kind("metrics.csv", METRICS + FULL, METRICS + FULL, FULL)


def read_profiles(runs: Sequence[Run]) -> Profiles:
    """The profiles.csv of all runs; a run's notes say what could not be read."""
    return Profiles(_read(runs, _PROFILES), len(runs))


def read_metrics(runs: Sequence[Run]) -> Metrics:
    """The metrics.csv of all runs; a run's notes say what could not be read."""
    return Metrics(_read(runs, _METRICS), len(runs))


def _read(runs: Sequence[Run], kind: _Kind) -> pd.DataFrame:
    """One table of all runs' files with a column `run`, ordered by run."""
    bodies = {i: _body(run.folder / kind.name, kind, run.notes) for i, run in enumerate(runs)}
    usual = {i: body for i, body in bodies.items() if body is not None}
    tables, unreadable = _parse_all(usual, kind)
    odd = [i for i, body in bodies.items() if body is None] + unreadable
    if not odd and len(tables) == 1:
        return tables[0]
    tables += [_read_lines(runs[i].folder / kind.name, kind, runs[i].notes).assign(run=i) for i in odd]
    filled = [table for table in tables if len(table)] or [_parse({}, kind)]
    joined = pd.concat(filled, ignore_index=True).sort_values("run", kind="stable", ignore_index=True)
    return joined.astype(dict.fromkeys(kind.text, "category"))


def _parse_all(bodies: Mapping[int, bytes], kind: _Kind) -> tuple[list[pd.DataFrame], list[int]]:
    """Tables of all bodies that parse, and the runs of those that do not, found by halving."""
    try:
        return [_parse(bodies, kind)], []
    except ValueError:
        if len(bodies) == 1:
            return [], list(bodies)
    tables: list[pd.DataFrame] = []
    unreadable: list[int] = []
    middle = len(bodies) // 2
    for half in (list(bodies.items())[:middle], list(bodies.items())[middle:]):
        parsed, bad = _parse_all(dict(half), kind)
        tables += parsed
        unreadable += bad
    return tables, unreadable


def _body(path: Path, kind: _Kind, notes: list[str]) -> bytes | None:
    """The lines of a file below its header, b"" where there is no file, None where it does not have the usual form.

    A last line without its end is being written, or was when the run was killed; it is left out.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError:
        return None
    start, end = data.find(b"\n") + 1, data.rfind(b"\n") + 1
    if not data:
        return b""
    header, body = data[:start].strip().split(b","), data[start:end]
    lacking = [name for name in kind.optional if name.encode() not in header]
    usual = [name.encode() for name in kind.header if name not in lacking]
    if header != usual or b'"' in data or b"\0" in data or body.count(b",") != body.count(b"\n") * (len(header) - 1):
        return None
    if lacking:
        body = body.replace(b"\n", b"," * len(lacking) + b"\n")
    if end != len(data):
        notes.append(f"{path.name} ends in the middle of a line, which is left out")
    return body


def _parse(bodies: Mapping[int, bytes], kind: _Kind) -> pd.DataFrame:
    """Parse joined bodies.

    Raises:
        ValueError: some value is not what its column holds, or a line is not a line for the parser.
    """
    types: dict[str, Any] = {name: "category" if name in TEXT else "float64" for name in kind.columns}
    table = pd.read_csv(
        io.BytesIO(b"".join(bodies.values())),
        names=list(kind.header),
        usecols=list(kind.columns),
        dtype=types,
        header=None,
        index_col=False,
        engine="c",
        quoting=csv.QUOTE_NONE,
        skip_blank_lines=False,
        low_memory=False,
    )
    lines = [body.count(b"\n") for body in bodies.values()]
    if len(table) != sum(lines):
        raise ValueError("the parser saw other lines than there are")
    table["run"] = np.repeat(np.fromiter(bodies, np.intp, len(bodies)), lines)
    return table


def _read_lines(path: Path, kind: _Kind, notes: list[str]) -> pd.DataFrame:
    """Read a file of unusual form line by line, by the names in its header, and count what cannot be read."""
    rows: list[dict[str, Any]] = []
    skipped = 0
    missing: list[str] = []
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            reader = csv.DictReader(file)
            missing = [name for name in kind.columns if name not in (*(reader.fieldnames or ()), *kind.optional)]
            for record in reader if not missing else ():
                row = _row(record, kind)
                rows += [row] if row else []
                skipped += row is None
    except (OSError, csv.Error) as error:
        notes.append(f"{path.name} cannot be read: {error}")
    if missing:
        notes.append(f"{path.name} cannot be read: its header lacks {', '.join(missing)}")
    elif skipped:
        notes.append(f"{path.name}: {skipped} line{'s' if skipped > 1 else ''} could not be read")
    return pd.DataFrame(rows, columns=list(kind.columns))


def _row(record: Mapping[str, str | None], kind: _Kind) -> dict[str, Any] | None:
    convert: Callable[[str], float] = lambda text: float(text) if text else np.nan  # noqa: E731
    try:
        values = {name: record.get(name, "") or "" for name in kind.columns}
        if None in record.values() or None in record:
            return None
        return {name: text if name in TEXT else convert(text) for name, text in values.items()}
    except ValueError:
        return None
