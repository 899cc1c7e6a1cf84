"""fanin.load: what runs have written, as tidy tables."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fanin.errors import UserError
from fanin.record import columns
from fanin.record.columns import TEXT, names

if TYPE_CHECKING:
    import pandas as pd

    from fanin.api.composing import Folder
    from fanin.report.read.folders import Run as RunOfReport

METRICS, PROFILES = ("metrics.csv", names(columns.METRICS)), ("profiles.csv", names(columns.PROFILES))

Table = tuple[str, tuple[str, ...]]
"""A file of a run's folder, and its columns."""


def _empty() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"run": pd.Series(dtype=object)})


@dataclass(frozen=True, eq=False)
class Tables:
    """What runs have written; every table has a column `run`, a run's folder below the one common to all.

    Attributes:
        runs: a row per run, the columns of summary.csv: state, outcome, verdict, what varies, final metrics, what init
            says. Its index counts.
        metrics: a row per run and logged step, the columns of metrics.csv.
        profiles: a row per run, snapshot, layer and quantity, the columns of profiles.csv.
        curvature: the rows of curvature.csv of the runs that have one, see probe.curvature; else empty.
        histograms: the rows of histograms.csv where runs have one (probe.histograms); else empty.
        notes: a line for each file that could not be read, or not all of it.
        folders: of the runs, in the order of their rows.
    """

    runs: pd.DataFrame
    metrics: pd.DataFrame
    profiles: pd.DataFrame
    curvature: pd.DataFrame
    notes: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    histograms: pd.DataFrame = field(default_factory=_empty)

    def __repr__(self) -> str:
        told = [f"{name} {len(getattr(self, name))}" for name in ("runs", "metrics", "profiles")]
        return f"<fanin tables, rows: {', '.join(told)}>"


def load(*paths: Folder) -> Tables:
    """The tables of all runs at or below some folders; patterns of the shell are taken.

    Args:
        paths: folders of runs, of grids or of anything above; "outputs/**" and "outputs/*/seed=1*" name several.

    Raises:
        UserError: a path is not there, no pattern matches, or there are no runs.

    >>> load("outputs/**").runs[["run", "seed", "test_error"]]    # doctest: +SKIP
    """
    from fanin.report.read.folders import grid_of

    if not paths:
        raise UserError('load: no folder; fanin.load("outputs/**") reads all runs there')
    root, folders = grid_of([folder for path in paths for folder in folders_named(path)])
    return tables_of(folders, root)


def folders_named(path: Folder) -> list[Path]:
    """The folders that a path or a pattern names; the name of one that is there is no pattern, whatever is in it."""
    if not isinstance(path, (str, Path)):
        raise UserError(f"load: {path!r} must be the path of a folder, or a pattern")
    if Path(path).exists() or not glob.has_magic(str(path)):
        return [Path(path)]
    found = [Path(one) for one in sorted(glob.glob(str(path), recursive=True)) if Path(one).is_dir()]  # noqa: PTH207
    if not found:
        raise UserError(f"{path}: no folder is so called")
    return found


def tables_of(folders: Sequence[Path], root: Path) -> Tables:
    """The tables of the runs in some folders, whose names are their paths below the root."""
    import pandas as pd

    from fanin.record.summary import header_of, rows_of
    from fanin.report.read.folders import read_runs

    runs = read_runs(folders, root)
    rows = rows_of(runs)
    for run, row in zip(runs, rows, strict=True):
        row["run"] = run.name
    called = [run.name for run in runs]
    metrics, profiles = (_named(table_of(runs, *table), called) for table in (METRICS, PROFILES))
    curvature, histograms = _joined(runs, "curvature.csv"), _joined(runs, "histograms.csv")
    notes = tuple(f"{run.name}: {note}" for run in runs for note in run.notes)
    return Tables(
        pd.DataFrame(rows, columns=header_of(rows)), metrics, profiles, curvature, notes, tuple(folders), histograms
    )


def one_table(folder: Path, table: Table) -> pd.DataFrame:
    """A table of one run, without a column for it."""
    from fanin.report.read.folders import Run

    return table_of([Run(folder)], *table).drop(columns="run")


def table_of(runs: Sequence[RunOfReport], name: str, wanted: Sequence[str]) -> pd.DataFrame:
    """A file of all runs as one table; texts are text, and whole numbers are integers where none is missing."""
    from fanin.report.read.series import read_table

    table = read_table(runs, name, wanted)
    kinds = {column: "object" for column in wanted if column in TEXT}
    kinds |= {one: "int64" for one in ("step", "index") if one in wanted and table[one].notna().all()}
    return table.astype(kinds)


def _joined(runs: Sequence[RunOfReport], name: str) -> pd.DataFrame:
    """A file whose columns are not settled, of the runs that have it, with `run` as the first column."""
    import pandas as pd

    tables = []
    for run in runs:
        path = run.folder / name
        if path.is_file():
            try:
                table = pd.read_csv(path)
            except (OSError, ValueError) as error:  # empty, or no table
                run.notes.append(f"{name} cannot be read: {error}")
                continue
            table.insert(0, "run", run.name)
            tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"run": pd.Series(dtype=object)})


def _named(table: pd.DataFrame, called: Sequence[str]) -> pd.DataFrame:
    """A table with the names of runs in the place of their positions, in the first column."""
    named = table["run"].map(dict(enumerate(called))).astype("object")
    rest = table.drop(columns="run")
    rest.insert(0, "run", named)
    return rest
