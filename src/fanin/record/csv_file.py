"""CSV files, written in one place: tables that grow row by row, and tables that are written whole."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from fanin.record.atomic_files import write_atomically

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets evaluate a cell that begins with one of these as a formula."""


class CsvFile:
    """A CSV file that grows row by row; each row is handed to the system at once, so that a killed process loses none.

    Args:
        path: the file; it appears at once, with its header.
        header: the columns; rows may leave some out (empty) but may not add any.
        keep: whether a row of an earlier attempt stays; a row for which it raises ValueError or KeyError is dropped.
            None drops all of them.

    Attributes:
        kept: the rows that stayed.
        count: how many rows the file has.
    """

    def __init__(
        self, path: Path, header: tuple[str, ...], keep: Callable[[dict[str, str]], bool] | None = None
    ) -> None:
        self.path, self.header = path, header
        self.kept = _rows_to_keep(path, header, keep) if keep is not None and path.exists() else []
        self.count = len(self.kept)
        text = io.StringIO()
        writer = csv.DictWriter(text, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.kept)
        write_atomically(path, lambda file: file.write(text.getvalue().encode()))
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, header, lineterminator="\n", restval="")

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows; floats in the shortest form that reads back to the same value."""
        self._writer.writerows(rows)
        self._file.flush()
        self.count += len(rows)

    def write_cells(self, rows: Sequence[tuple[object, ...]]) -> None:
        """Append rows that are in the order of the header already."""
        csv.writer(self._file, lineterminator="\n").writerows(rows)
        self._file.flush()
        self.count += len(rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _rows_to_keep(path: Path, header: tuple[str, ...], keep: Callable[[dict[str, str]], bool]) -> list[dict[str, str]]:
    """The complete rows of a file that `keep` wants, without damaged ones."""
    # A kill can cut the last row short, within a number too: only what ends with a newline is whole.
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def wanted(row: dict[str, str]) -> bool:
        try:
            return row.keys() == set(header) and None not in row.values() and keep(row)
        except (ValueError, KeyError):
            return False

    try:
        return [row for row in csv.DictReader(lines) if wanted(row)]
    except csv.Error:
        return []


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a whole table atomically; cells as `as_text` has them."""
    text = lines_of([columns, *rows])
    write_atomically(path, lambda file: file.write(text.encode(errors="replace")))


def lines_of(rows: Iterable[Sequence[object]]) -> str:
    """Rows as the lines of a table."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([as_text(value) for value in row] for row in rows)
    return text.getvalue()


def cells_of(line: str) -> list[str]:
    """The cells of a line; an empty list if it is no line of CSV."""
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def read_table(path: Path) -> list[dict[str, str]] | None:
    """The rows of a CSV file, damaged or not, without cells beyond the header; None without a file, or of no CSV.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            return [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(file)]
    except (FileNotFoundError, csv.Error):
        return None


def as_text(value: object) -> str:
    """A value as it stands in a CSV file: None empty, whole floats without ".0", lists as JSON.

    A text that a spreadsheet would evaluate gets an apostrophe in front; numbers stay numbers.

    >>> [as_text(value) for value in (None, 2.0, 0.1, [1, "a"], "-0.5", "=1+1")]
    ['', '2', '0.1', '[1, "a"]', '-0.5', "'=1+1"]
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if not isinstance(value, str):
        return json.dumps(value, default=str)
    return f"'{value}" if value.startswith(FORMULAS) and not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
