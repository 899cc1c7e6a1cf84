"""Reading the CSV files of many runs at once.

Files of one header are joined and parsed in one go: a thousand runs take one call of the parser instead of a thousand.
A file that does not fit is parsed by itself, its cells one by one, and what is unreadable noted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fanin.errors import counted
from fanin.record import columns, csv_file
from fanin.record.columns import EARLIER, LATER, TEXT, names
from fanin.report.read.folders import Run

T = TypeVar("T")
Floats = NDArray[np.float64]
METRICS = names(columns.METRICS)
PROFILES = tuple(name for name in names(columns.PROFILES) if name != "layer")  # its name is not asked for
NOT_EARLIER = (
    "train_loss",
    "train_error",
    *names(columns.SPENT),
    *LATER,
)  # columns that not every file of an earlier version has
LARGEST_INDEX = 100_000  # a larger one is garbage, and would fill the memory


class Profiles:
    """The profiles over depth of all runs, read when something is asked of them.

    A run's notes then say what of its profiles.csv could not be read.

    Args:
        runs: all runs.
        table: what `read_table` gives for them, where it is known.
    """

    def __init__(self, runs: Sequence[Run], table: pd.DataFrame | None = None) -> None:
        self.runs = len(runs)
        self._read: Callable[[], pd.DataFrame] = partial(read_table, runs, "profiles.csv", PROFILES)
        if table is not None:
            self._read = partial(pd.DataFrame, table)

    @cached_property
    def _table(self) -> pd.DataFrame:
        """Read when it is first asked for: a report whose figures stand needs no profiles."""
        table = self._read()
        good = table["index"].between(1, LARGEST_INDEX) & (table["index"] % 1 == 0)
        return table if good.all() else table[good].reset_index(drop=True)

    def read(self) -> None:
        """Read the files now: processes forked later would each read them, and keep the notes for themselves."""
        _ = self._table

    @cached_property
    def _rows(self) -> dict[tuple[str, ...], NDArray[np.intp]]:
        rows: Any = self._table.groupby(["snapshot", "axis", "quantity"], observed=True).indices
        return dict(rows)

    @property
    def snapshots(self) -> list[str]:
        """The snapshots that any run has: init, steps in their order, final."""
        found = {key[0] for key in self._rows}
        steps = sorted((one for one in found if one.isdecimal()), key=int)
        return [*({"init"} & found), *steps, *({"final"} & found)]

    def quantities(self, axis: str) -> list[str]:
        """What any run has measured along an axis, but for what is theory alone."""
        names = {key[2] for key in self._rows if key[1] == axis}
        return sorted(name for name in names if not name.endswith("_mean_square"))

    def matrix(self, snapshot: str, axis: str, quantity: str, column: str = "value") -> Floats:
        """One column as [runs, largest index], nan where there is no row; [runs, 0] where no run has any."""
        run, index, value = self._columns(snapshot, axis, quantity, column)
        matrix = np.full((self.runs, int(index.max(initial=0))), np.nan)
        matrix[run, index - 1] = value
        return matrix

    def words(self, snapshot: str, axis: str, quantity: str, column: str) -> NDArray[np.object_]:
        """A column of text as [runs, largest index], "" where there is none."""
        run, index, word = self._columns(snapshot, axis, quantity, column)
        matrix = np.full((self.runs, int(index.max(initial=0))), "", object)
        matrix[run, index - 1] = np.where(pd.isna(word), "", word)
        return matrix

    def lengths(self, snapshot: str, axis: str, quantity: str) -> NDArray[np.intp]:
        """The largest index of each run, [runs]; what lies beyond is not missing, the run has no such layer."""
        run, index, _ = self._columns(snapshot, axis, quantity, "value")
        lengths = np.zeros(self.runs, np.intp)
        np.maximum.at(lengths, run, index)
        return lengths

    def _columns(self, *of: str) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]:
        rows = self._rows.get(of[:3], np.empty(0, np.intp))
        run, index, value = (self._table[name].to_numpy()[rows] for name in ("run", "index", of[3]))
        return run.astype(np.intp), index.astype(np.intp), value


class Metrics:
    """The metrics over steps of all runs, as `Profiles`."""

    def __init__(self, runs: Sequence[Run], table: pd.DataFrame | None = None) -> None:
        self._runs = len(runs)
        self._read: Callable[[], pd.DataFrame] = partial(read_table, runs, "metrics.csv", METRICS)
        if table is not None:
            self._read = partial(pd.DataFrame, table)

    @cached_property
    def _table(self) -> pd.DataFrame:
        table = self._read()
        return pd.DataFrame(table[np.isfinite(table["step"])])

    def read(self) -> None:
        """Read the files now; see Profiles."""
        _ = self._table

    @cached_property
    def _columns(self) -> dict[str, Floats]:
        return {name: self._table[name].to_numpy() for name in METRICS}

    @cached_property
    def _ends(self) -> NDArray[np.intp]:
        return np.searchsorted(self._table["run"].to_numpy(), np.arange(self._runs + 1))

    def series(self, run: int, column: str) -> tuple[Floats, Floats]:
        """Steps and values of one run, where the metric was evaluated; infinite values stay, nan is left out."""
        rows = slice(self._ends[run], self._ends[run + 1])
        step, value = self._columns["step"][rows], self._columns[column][rows]
        there = ~np.isnan(value)
        return step[there], value[there]

    def has(self, column: str) -> bool:
        """Whether any run has a number in a column."""
        return bool((~np.isnan(self._columns[column])).any())

    def along(self, runs: Sequence[int], steps: Floats, x: str) -> Floats:
        """Where these steps [S] are on another axis, a column of metrics.csv: the mean over the runs that tell it.

        It grows with the steps: a run that ended early leaves the mean and does not take it back.
        """
        if x == "step" or not len(steps):
            return steps
        told = [self.series(run, x) for run in runs]
        places = np.full((len(told), len(steps)), np.nan)
        for row, (step, value) in zip(places, told, strict=True):
            there = np.isin(steps, step)
            row[there] = value[np.searchsorted(step, steps[there])]
        counts = (~np.isnan(places)).sum(axis=0)
        mean = np.where(counts > 0, np.nansum(places, axis=0) / np.maximum(counts, 1), np.nan)
        return np.asarray(np.fmax.accumulate(mean))

    def matrix(self, runs: Sequence[int], column: str) -> tuple[Floats, Floats]:
        """All steps [S] at which any of these runs was evaluated, and values [runs, S], nan where one was not."""
        return on_all_steps([self.series(run, column) for run in runs])


def on_all_steps(series: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """All steps [S] of some series of steps and values, and the values [series, S], nan where one lacks the step."""
    steps = np.unique(np.concatenate([np.empty(0), *(step for step, _ in series)]))
    values = np.full((len(series), len(steps)), np.nan)
    for row, (step, value) in zip(values, series, strict=True):
        row[np.searchsorted(steps, step)] = value
    return steps, values


def read_rows(path: Path, notes: list[str], parse: Callable[[dict[str, str]], T]) -> list[T]:
    """What `parse` makes of the rows of one file, [] without it; those that it cannot read are left out, and noted."""
    try:
        rows = csv_file.read_table(path) or []
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {error}")
        return []
    found = []
    for row in rows:
        with suppress(KeyError, ValueError):
            found.append(parse(row))
    if lost := len(rows) - len(found):
        notes.append(f"{path.name}: {lost} rows could not be read")
    return found


def read_table(runs: Sequence[Run], name: str, wanted: Sequence[str]) -> pd.DataFrame:
    """One table of these columns of all runs' files with a column `run`, ordered by run."""
    bodies: dict[tuple[str, ...], dict[int, bytes]] = {}  # by the header
    for i, run in enumerate(runs):
        header, _, body = _whole_lines(run.folder / name, run.notes).partition(b"\n")
        if header:
            bodies.setdefault(_names(header.strip()), {})[i] = body
    tables = []
    for named, of_runs in bodies.items():
        if lacking := [column for column in wanted if column not in (*named, *NOT_EARLIER)]:
            for i in of_runs:
                runs[i].notes.append(f"{name} cannot be read: its header lacks {', '.join(lacking)}")
            continue
        try:
            tables.append(_parse(named, of_runs, wanted))
        except ValueError:
            tables += [_parse_alone(named, i, body, name, wanted, runs[i].notes) for i, body in of_runs.items()]
    filled = [table for table in tables if len(table)] or [pd.DataFrame(columns=[*wanted, "run"], dtype=float)]
    if len(filled) > 1:
        table = pd.concat([one.astype(dict.fromkeys({*TEXT} & {*wanted}, str)) for one in filled])
        filled = [table.sort_values("run", kind="stable", ignore_index=True)]
    table = filled[0].astype(_types(wanted))
    for column in TEXT:  # without a word in any row its categories would be numbers, which no words can join
        if column in wanted and not len(table[column].cat.categories):
            nothing = pd.Categorical.from_codes(np.full(len(table), -1), pd.Index([], dtype="str"))
            table = table.assign(**{column: nothing})
    return table


def _types(wanted: Sequence[str]) -> dict[str, str]:
    return {name: "category" if name in TEXT else "float64" for name in wanted}


def _names(header: bytes) -> tuple[str, ...]:
    """The columns that a header names; a metrics.csv of an earlier version has other names for batch means."""
    named = next(csv.reader([header.decode(errors="replace").replace("\0", "")]), [])
    earlier = "train_loss" in named and "batch_loss" not in named
    return tuple(EARLIER.get(name, name) if earlier else name for name in named)


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


def _parse(named: Sequence[str], bodies: Mapping[int, bytes], wanted: Sequence[str]) -> pd.DataFrame:
    """Parse the joined bodies of files with one header; columns that they lack are nan.

    Raises:
        ValueError: a file that is not of the plain form, a value that is not what its column holds.
    """
    lines = [body.count(b"\n") for body in bodies.values()]
    for body, count in zip(bodies.values(), lines, strict=True):
        if b'"' in body or b"\0" in body or body.count(b",") != count * (len(named) - 1):
            raise ValueError("not a comma for each column but the last, or quotes")
    there = [name for name in wanted if name in named]
    table = pd.read_csv(
        io.BytesIO(b"".join(bodies.values())), names=list(named), usecols=there, dtype=_types(there),
        header=None, index_col=False, engine="c", quoting=csv.QUOTE_NONE, skip_blank_lines=False, low_memory=False,
    )  # fmt: skip
    if len(table) != sum(lines):
        raise ValueError("the parser saw other lines than there are")
    return table.reindex(columns=list(wanted)).assign(run=np.repeat(np.fromiter(bodies, np.intp, len(bodies)), lines))


def _parse_alone(
    named: Sequence[str], run: int, body: bytes, name: str, wanted: Sequence[str], notes: list[str]
) -> pd.DataFrame:
    """Parse one file by the names in its header, cell by cell where it must be, and count what cannot be read."""
    try:
        return _parse(named, {run: body}, wanted)
    except ValueError:
        pass
    try:
        rows = list(csv.reader(io.StringIO(body.decode(errors="replace"))))
    except csv.Error as error:
        notes.append(f"{name} cannot be read: {error}")
        return pd.DataFrame()
    texts = pd.DataFrame([row for row in rows if len(row) == len(named)], columns=list(named), dtype=str)
    texts = texts.reindex(columns=list(wanted), fill_value="")
    numbers = texts.drop(columns=[*TEXT], errors="ignore").apply(pd.to_numeric, errors="coerce")
    good = (numbers.notna() | texts[numbers.columns].isin(["", "nan"])).all(axis=1)
    if skipped := len(rows) - int(good.sum()):
        notes.append(f"{name}: {counted(skipped, 'line')} could not be read")
    return pd.DataFrame(texts.assign(**numbers, run=run)[good])
