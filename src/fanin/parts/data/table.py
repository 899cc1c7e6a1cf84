"""A table in a CSV file: what its columns are, and its rows as numbers. Read in stretches, so that any size will do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fanin.errors import OptionError, UserError, counted

if TYPE_CHECKING:
    import pandas as pd

STRETCH = 50_000
"""Rows that are read at once."""

MOST_CATEGORIES = 1000
"""Different texts of a column of categories."""

SHOWN = 8
"""Columns that an error names."""


@dataclass
class Column:
    """What one column holds.

    Attributes:
        name: its name.
        numeric: whether every value that is there is a finite number.
        texts: the different values of a column of categories, in order of their first row.
        missing: rows without a value.
    """

    name: str
    numeric: bool = True
    texts: dict[str, None] = field(default_factory=dict)
    missing: int = 0

    @property
    def categories(self) -> list[str]:
        """The different texts, sorted; numbers by their size."""
        try:
            return sorted(self.texts, key=float)
        except ValueError:
            return sorted(self.texts)


def stretches(path: Path, separator: str, columns: list[str] | None = None) -> Iterator[pd.DataFrame]:
    """The rows of a file, some thousand at a time, every cell as text and an empty one as nan.

    Raises:
        UserError: it cannot be read as a table.
    """
    import pandas as pd

    try:
        with pd.read_csv(
            path,
            sep=separator,
            dtype=str,
            usecols=columns,
            chunksize=STRETCH,
            skipinitialspace=True,
            encoding="utf-8-sig",
        ) as reader:
            yield from reader
    except (ValueError, UnicodeDecodeError) as error:  # pandas' own are ValueErrors
        said = " ".join(str(error).split())
        raise UserError(f"data=csv: {path} cannot be read as a table ({said})") from None


def names_of(path: Path, separator: str) -> list[str]:
    """The names in the first line; all different."""
    for rows in stretches(path, separator):
        return list(rows.columns)
    raise UserError(f"data=csv: {path} has no row below its names")


def scan(
    path: Path, separator: str, columns: Sequence[str], categories: Sequence[str]
) -> tuple[dict[str, Column], int]:
    """What the columns hold, and how many rows there are.

    A column is of numbers where every value reads as a finite number, else of categories; those named in `categories`
    are that even so.
    """
    found, count = {name: Column(name, numeric=name not in categories) for name in columns}, 0
    for rows in stretches(path, separator, list(columns)):
        count += len(rows)
        for name, column in found.items():
            there = rows[name].dropna()
            column.missing += len(rows) - len(there)
            column.numeric = column.numeric and bool(np.isfinite(as_numbers(there)).all())
            if len(column.texts) <= MOST_CATEGORIES:
                column.texts |= dict.fromkeys(map(str, there.unique()))
    if not count:
        raise UserError(f"data=csv: {path} has no row below its names")
    return found, count


def as_numbers(cells: pd.Series[str]) -> NDArray[np.float64]:
    """Cells of text as numbers; nan for what is none."""
    import pandas as pd

    return np.asarray(pd.to_numeric(cells, errors="coerce"), dtype=np.float64)


@dataclass(frozen=True)
class Encoding:
    """How rows become inputs: a number for each numeric column, and 0 or 1 for each category of the others.

    Args:
        columns: of the inputs, in the file's order.

    Attributes:
        features: a name for each input: the column's, or "column=category".
    """

    columns: Sequence[Column]

    def __post_init__(self) -> None:
        for column in self.columns:
            if not column.numeric and len(column.texts) > MOST_CATEGORIES:
                fix = f"choose the columns without {column.name}"
                told = f"{column.name} has more than {MOST_CATEGORIES} different texts"
                raise OptionError(
                    "columns", [one.name for one in self.columns], "numbers or categories", f"{told}; {fix}"
                )

    @property
    def features(self) -> list[str]:
        """The name of each input."""
        return [name for one in self.columns for name in self._named(one)]

    @staticmethod
    def _named(column: Column) -> list[str]:
        return [column.name] if column.numeric else [f"{column.name}={text}" for text in column.categories]

    def __call__(self, rows: pd.DataFrame) -> NDArray[np.float32]:
        """Inputs [n, features]; nan for a missing number, zeros for a missing category."""
        made = np.zeros((len(rows), len(self.features)), dtype=np.float32)
        place = 0
        for column in self.columns:
            if column.numeric:
                made[:, place] = as_numbers(rows[column.name])
                place += 1
                continue
            made[:, place : place + len(column.categories)] = codes(rows[column.name], column)[:, None] == np.arange(
                len(column.categories)
            )
            place += len(column.categories)
        return made


def codes(cells: pd.Series[str], column: Column) -> NDArray[np.int64]:
    """The place of each cell among its column's categories; -1 where it is missing or unknown."""
    import pandas as pd

    return pd.Categorical(cells, categories=column.categories).codes.astype(np.int64)


def told_missing(columns: Sequence[Column]) -> str:
    """ "3 values are missing: age (2), port (1)"; nothing where none is."""
    lacking = [one for one in columns if one.missing]
    if not lacking:
        return ""
    total = sum(one.missing for one in lacking)
    named = [f"{one.name} ({one.missing})" for one in lacking[:SHOWN]]
    more = [f"{len(lacking) - SHOWN} more columns"] if len(lacking) > SHOWN else []
    return f"{counted(total, 'value')} {'is' if total == 1 else 'are'} missing: {', '.join(named + more)}"
