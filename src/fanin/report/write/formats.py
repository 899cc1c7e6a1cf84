"""The tables of a report in other forms: LaTeX for a paper, JSON and Parquet for a program; CSV and Markdown as always.

What stands in a name is shown as it is and does nothing: TeX, Markdown and spreadsheets read no commands in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from fanin.errors import UserError, did_you_mean
from fanin.record.atomic_files import jsonable, write_whole
from fanin.record.csv_file import write_table
from fanin.record.overrides import display
from fanin.report.write.tables import Table

ENDINGS = {"latex": "tex", "markdown": "md", "csv": "csv", "json": "json", "parquet": "parquet"}
"""The formats and how their files end."""

LONGEST_LINE = 40  # letters; a longer first column is broken into lines
LONGEST_WORD = 24
PREAMBLE = r"% \usepackage{booktabs} \input{NAME.tex}; compile with LuaLaTeX where names have letters beyond Latin"
TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\symbol{34}", "'": r"\symbol{39}", "`": r"\symbol{96}", "-": "-{}", "[": "{[}",
    "]": "{]}", "*": "{*}", "±": r"$\pm$", "–": "--", "…": r"\dots{}",
}  # fmt: skip
"""What TeX would read as a command, an option of the line break before it, or a ligature."""


def formats_of(typed: str | None) -> list[str]:
    """The formats that were asked for, "latex,json"; none where nothing was typed.

    Raises:
        UserError: one that there is not, or that needs a package that is not installed.
    """
    formats = list(dict.fromkeys(name.strip() for name in (typed or "").split(",") if name.strip()))
    for name in formats or ([] if typed is None else [typed]):
        if name not in ENDINGS:
            fix = did_you_mean(name, [*ENDINGS]) or f"there are {', '.join(ENDINGS)}"
            raise UserError(f"--format {name}: {fix}")
        if name == "parquet" and find_spec("pyarrow") is None:
            raise UserError("--format parquet: needs the package pyarrow; pip install pyarrow, or take csv or json")
    return formats


def formats_there(out: Path, stem: str) -> list[str]:
    """The formats of which an earlier report has left a file that this installation can write again."""
    there = [name for name, ending in ENDINGS.items() if (out / f"{stem}.{ending}").exists()]
    return [name for name in there if name != "parquet" or find_spec("pyarrow") is not None]


def write_formats(
    formats: Collection[str], out: Path, stem: str, tables: Sequence[Table], rows: Sequence[Mapping[str, Any]]
) -> list[Path]:
    """Write <stem>.tex, .json and .parquet into a folder, as far as asked for; the files written.

    Args:
        formats: see formats_of.
        out, stem: where; <stem>.csv and <stem>.md are there already.
        tables: the tables for people, which LaTeX shows.
        rows: the numbers, a mapping for each row of the CSV file, which JSON and Parquet hold.
    """
    contents = {
        "latex": lambda: _latex(tables, stem),
        "json": lambda: _json(rows),
        "parquet": lambda: _parquet(rows),
    }
    paths = {name: out / f"{stem}.{ENDINGS[name]}" for name in contents if name in formats}
    for name, path in paths.items():
        write_whole(path, contents[name]())
    return list(paths.values())


def replace_table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write the rows by these columns in the place of an earlier report's; the file, [] and no file without rows."""
    path.unlink(missing_ok=True)
    if rows:
        write_table(path, columns, [[row[name] for name in columns] for row in rows])
    return [path] if rows else []


def tex(text: str) -> str:
    r"""A text as TeX sets it, letter by letter; a long word may be broken.

    >>> print(tex("c=2 & 5_%"))
    c=2 \& 5\_\%
    """
    words = []
    for word in text.split():
        parts = re.split(r"(?<=[,=./_+])", word) if len(word) > LONGEST_WORD else [word]
        parts = [part[i : i + LONGEST_WORD] for part in parts for i in range(0, len(part), LONGEST_WORD)]
        words.append(r"\allowbreak{}".join("".join(TEX.get(letter, letter) for letter in part) for part in parts))
    return " ".join(words)


def _latex(tables: Sequence[Table], stem: str) -> bytes:
    """A tabular for each table, without a float around it."""
    lines = [PREAMBLE.replace("NAME", stem)]
    for table in tables:
        wide = max((len(row[0]) for row in table.rows), default=0) > LONGEST_LINE
        columns = (r"p{0.4\linewidth}" if wide else "l") + "l" * (len(table.header) - 1)
        lines += [f"% {' '.join(table.title.split())}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
        lines += [_line(table.header), r"\midrule", *map(_line, table.rows), r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines).encode(errors="replace")


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(tex, cells)) + r" \\"


def _json(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A list of objects, with null for what there is not; NaN and infinities, which JSON lacks, as words."""
    return (json.dumps(jsonable([*rows]), indent=1, allow_nan=False, default=str) + "\n").encode()


def _parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A column is of numbers, of truth values or of texts."""
    columns = {name: _column([row.get(name) for row in rows]) for name in dict.fromkeys(k for row in rows for k in row)}
    data: bytes = pd.DataFrame(columns).to_parquet(None, engine="pyarrow", index=False)
    return data


def _column(values: Sequence[Any]) -> pd.Series[Any]:
    there = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in there) and there:
        return pd.Series(values, dtype="boolean")
    if all(isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 for value in there):
        return pd.Series(values, dtype="Int64")
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in there):
        return pd.Series([float("nan") if value is None else float(value) for value in values])
    return pd.Series([None if value is None else display(value) for value in values], dtype="string")
