"""Figures that need not be drawn again: those of a grid in which nothing was left to run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fanin import __version__
from fanin.record.atomic_files import read_json, write_json
from fanin.report.read.folders import Run

RECORD = ".figures.json"
READ = (
    "status.json", "result.json", "metrics.csv", "profiles.csv", "curvature.csv", "trajectory.csv", "histograms.csv",
    ".hydra/config.yaml",     ".hydra/hydra.yaml", ".hydra/overrides.yaml",
)  # fmt: skip
"""What a report may read of a run."""


def fingerprint(runs: Sequence[Run], asked: Sequence[str]) -> str:
    """A hash that changes with the runs, with any file of theirs that a report may read, and with what was asked."""
    content = [__version__, *asked]
    for run in runs:
        content += [str(run.folder), *stamp(run.folder)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def stamp(folder: Path) -> list[str]:
    """What changes whenever a file of a run changes that a report may read."""
    said = []
    for name in READ:  # paths as texts: of thousands of runs, making objects of them takes longer than asking
        with suppress(OSError):
            one = os.stat(f"{folder}/{name}")  # noqa: PTH116
            said.append(f"{name} {one.st_size} {one.st_mtime_ns} {one.st_ino}")
    return said


def drawn_before(out: Path, mark: str | None, record_name: str = RECORD) -> list[Path] | None:
    """The figures that were drawn from the same files, None: from any, where all of them are still there."""
    record = read_json(out / record_name) or {}
    if "figures" not in record or mark not in (None, record.get("fingerprint")):
        return None
    figures = [out / name for name in record["figures"]]
    return figures if all(figure.is_file() for figure in figures) else None


def forget(out: Path, record_name: str = RECORD) -> None:
    """Remove the figures of an earlier report, those of its studies too."""
    for name in (read_json(out / record_name) or {}).get("figures", ()):
        if Path(str(name)).name == name and Path(name).suffix in (".png", ".svg", ".pdf"):
            (out / name).unlink(missing_ok=True)


def remember(out: Path, mark: str, figures: Sequence[Path], record_name: str = RECORD) -> None:
    """Write down what the figures were drawn from."""
    write_json(out / record_name, {"fingerprint": mark, "figures": [figure.name for figure in figures]})
