"""Reading the files of runs again and again: what has not changed since the last time is not read a second time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from fanin.record.columns import TEXT
from fanin.report.read.folders import Run, name_runs, read_runs
from fanin.report.read.reuse import stamp
from fanin.report.read.series import METRICS, PROFILES, Metrics, Profiles, read_table


class Reader:
    """Reads the files of runs."""

    def runs(self, folders: Sequence[Path], root: Path) -> list[Run]:
        """The runs in these folders, by their paths below `root`."""
        return read_runs(folders, root)

    def profiles(self, runs: Sequence[Run]) -> Profiles:
        """profiles.csv of all."""
        return Profiles(runs)

    def metrics(self, runs: Sequence[Run]) -> Metrics:
        """metrics.csv of all."""
        return Metrics(runs)


class KeepingReader(Reader):
    """Keeps what it has read, and reads again the runs of which a file has changed since."""

    def __init__(self) -> None:
        self._runs: dict[Path, tuple[list[str], Run]] = {}
        self._profiles, self._metrics = _Table("profiles.csv", PROFILES), _Table("metrics.csv", METRICS)

    def runs(self, folders: Sequence[Path], root: Path) -> list[Run]:
        """The runs in these folders; one that has not changed is the same object as before, with its notes."""
        stamps = {folder: stamp(folder) for folder in folders}
        changed = [folder for folder in folders if self._runs.get(folder, (None,))[0] != stamps[folder]]
        fresh = dict(zip(changed, read_runs(changed, root), strict=True))
        self._runs = {
            folder: (stamps[folder], fresh[folder] if folder in fresh else self._runs[folder][1]) for folder in folders
        }
        return name_runs([run for _, run in self._runs.values()], root)

    def profiles(self, runs: Sequence[Run]) -> Profiles:
        """profiles.csv of all."""
        return Profiles(runs, self._profiles.of(runs))

    def metrics(self, runs: Sequence[Run]) -> Metrics:
        """metrics.csv of all."""
        return Metrics(runs, self._metrics.of(runs))


class _Table:
    """One table of all runs, of which the rows of known runs are kept."""

    def __init__(self, name: str, wanted: Sequence[str]) -> None:
        self._name, self._wanted = name, wanted
        self._runs: list[Run] = []
        self._kept = read_table([], name, wanted)

    def of(self, runs: Sequence[Run]) -> pd.DataFrame:
        """What `read_table` gives for these runs."""
        known = set(map(id, self._runs))
        new = [place for place, run in enumerate(runs) if id(run) not in known]
        fresh = read_table([runs[place] for place in new], self._name, self._wanted)
        fresh["run"] = np.asarray(new, np.intp)[fresh["run"].to_numpy(np.intp)]
        places = {id(run): place for place, run in enumerate(runs)}
        now = np.array([places.get(id(run), -1) for run in self._runs], np.intp)
        kept = self._kept
        if len(kept):
            kept = kept.assign(run=now[kept["run"].to_numpy(np.intp)])
            kept = kept if (now >= 0).all() else kept[kept["run"] >= 0]
        self._runs, self._kept = list(runs), _joined(kept, fresh).sort_values("run", kind="stable", ignore_index=True)
        return self._kept


def _joined(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The rows of both; columns of text stay categories."""
    if not len(one) or not len(other):
        return one if len(one) else other
    columns = {
        name: union_categoricals([one[name], other[name]])
        if name in TEXT
        else np.concatenate([one[name].to_numpy(), other[name].to_numpy()])
        for name in one.columns
    }
    return pd.DataFrame(columns)
