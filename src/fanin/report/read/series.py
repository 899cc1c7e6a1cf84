"""Reading the CSV files of many runs at once.

Files of one header are joined and parsed in one go: a thousand runs take one call of the parser instead of a thousand.
A file that does not fit is parsed by itself, its cells one by one, and what is unreadable noted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fanin.record import columns
from fanin.record.columns import EARLIER, TEXT, names
from fanin.report.read.folders import Run

Floats = NDArray[np.float64]
METRICS = names(columns.METRICS)
PROFILES = tuple(name for name in names(columns.PROFILES) if name != "layer")  # its name is not asked for
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

    def words(self, snapshot: str, axis: str, quantity: str, column: str) -> NDArray[np.object_]:
        """A column of text as [runs, largest index], "" where there is none."""
        rows = self._rows(snapshot, axis, quantity)
        run, index = (self._table[name].to_numpy()[rows].astype(np.intp) for name in ("run", "index"))
        matrix = np.full((self.runs, int(index.max(initial=0))), "", object)
        matrix[run, index - 1] = self._table[column].astype(object).fillna("").to_numpy()[rows]
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
        self._columns = {name: table[name].to_numpy() for name in METRICS}
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


def read_profiles(runs: Sequence[Run]) -> Profiles:
    """The profiles.csv of all runs; a run's notes say what could not be read."""
    return Profiles(_read(runs, "profiles.csv", PROFILES), len(runs))


def read_metrics(runs: Sequence[Run]) -> Metrics:
    """The metrics.csv of all runs; a run's notes say what could not be read."""
    return Metrics(_read(runs, "metrics.csv", METRICS), len(runs))


def _read(runs: Sequence[Run], name: str, wanted: Sequence[str]) -> pd.DataFrame:
    """One table of these columns of all runs' files with a column `run`, ordered by run."""
    bodies: dict[bytes, dict[int, bytes]] = {}  # by the header
    for i, run in enumerate(runs):
        header, _, body = _whole_lines(run.folder / name, run.notes).partition(b"\n")
        if header:
            bodies.setdefault(_of_today(header.strip()), {})[i] = body
    tables = []
    for header, of_runs in bodies.items():
        try:
            tables.append(_parse(header, of_runs, wanted))
        except ValueError:
            tables += [_parse_alone(header, i, body, name, wanted, runs[i].notes) for i, body in of_runs.items()]
    filled = [table for table in tables if len(table)] or [pd.DataFrame(columns=[*wanted, "run"], dtype=float)]
    if len(filled) > 1:
        joined = pd.concat([table.astype(_types(wanted, str)) for table in filled], ignore_index=True)
        filled = [joined.sort_values("run", kind="stable", ignore_index=True)]
    return filled[0].astype(_types(wanted, "category"))


def _of_today(header: bytes) -> bytes:
    """The header of a metrics.csv of an earlier version, whose names of batch means are others now."""
    named = header.split(b",")
    if b"batch_loss" in named or b"train_loss" not in named:
        return header
    return b",".join(EARLIER.get(name.decode(errors="replace"), "").encode() or name for name in named)


def _types(wanted: Sequence[str], text: Any) -> dict[str, Any]:
    return {name: text if name in TEXT else "float64" for name in wanted}


def _whole_lines(path: Path, notes: list[str]) -> bytes:
    """The lines of a file; b"" where there is none.

    A last line without its end is being written, or was when the run was killed; it is left out.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {error}")
        return b""
    end = data.rfind(b"\n") + 1
    if end != len(data):
        ends = "ends in the middle of a line, which is left out"
        notes.append(f"{path.name} {ends if end else 'cannot be read: there is no whole line in it'}")
    return data[:end]


def _parse(header: bytes, bodies: Mapping[int, bytes], wanted: Sequence[str]) -> pd.DataFrame:
    """Parse the joined bodies of files with one header; columns that they lack are nan.

    Raises:
        ValueError: a file that is not of the plain form, a value that is not what its column holds, a column missing.
    """
    named = header.decode(errors="replace").split(",")
    lines = [body.count(b"\n") for body in bodies.values()]
    for body, count in zip(bodies.values(), lines, strict=True):
        if b'"' in body or b"\0" in body or body.count(b",") != count * (len(named) - 1):
            raise ValueError("not a comma for each column but the last, or quotes")
    if lacking := _lacking(named, wanted):
        raise ValueError(f"no {lacking}")
    there = [name for name in wanted if name in named]
    table = pd.read_csv(
        io.BytesIO(b"".join(bodies.values())), names=named, usecols=there, dtype=_types(there, "category"),
        header=None, index_col=False, engine="c", quoting=csv.QUOTE_NONE, skip_blank_lines=False, low_memory=False,
    )  # fmt: skip
    if len(table) != sum(lines):
        raise ValueError("the parser saw other lines than there are")
    return table.reindex(columns=list(wanted)).assign(run=np.repeat(np.fromiter(bodies, np.intp, len(bodies)), lines))


def _parse_alone(
    header: bytes, run: int, body: bytes, name: str, wanted: Sequence[str], notes: list[str]
) -> pd.DataFrame:
    """Parse one file by the names in its header, cell by cell where it must be, and count what cannot be read."""
    try:
        return _parse(header, {run: body}, wanted)
    except ValueError:
        pass
    empty = pd.DataFrame(columns=[*wanted, "run"])
    try:
        rows = list(csv.reader(io.StringIO((header + b"\n" + body).decode(errors="replace"))))
    except csv.Error as error:
        notes.append(f"{name} cannot be read: {error}")
        return empty
    if lacking := _lacking(rows[0], wanted):
        notes.append(f"{name} cannot be read: its header lacks {', '.join(lacking)}")
        return empty
    whole = [dict(zip(rows[0], row, strict=True)) for row in rows[1:] if len(row) == len(rows[0])]
    texts = pd.DataFrame(whole, columns=rows[0], dtype=str).reindex(columns=list(wanted), fill_value="")
    table = texts.copy()
    good = np.ones(len(texts), bool)
    for column in (name for name in wanted if name not in TEXT):
        table[column] = pd.to_numeric(texts[column], errors="coerce")
        good &= (table[column].notna() | texts[column].isin(["", "nan"])).to_numpy()
    if skipped := len(rows) - 1 - int(good.sum()):
        notes.append(f"{name}: {skipped} line{'s' if skipped > 1 else ''} could not be read")
    return table[good].assign(run=run)


def _lacking(named: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The columns that a header lacks, but for those that not every file of an earlier version has."""
    return [name for name in wanted if name not in named and name not in ("train_loss", "train_error")]
