"""Figures that need not be drawn again: those of a grid in which nothing was left to run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
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


def noted(runs: Sequence[Run]) -> int:
    """How many notes the runs have: it grows where a file cannot be read whole."""
    return sum(len(run.notes) for run in runs)


def stamp(folder: Path) -> list[str]:
    """What changes whenever a file of a run changes that a report may read."""
    place, said = str(folder), []
    for name in READ:  # paths as texts: of thousands of runs, making objects of them takes longer than asking
        try:
            one = os.stat(f"{place}/{name}")  # noqa: PTH116
        except OSError:
            continue
        said.append(f"{name} {one.st_size} {one.st_mtime_ns} {one.st_ino}")
    return said


@dataclass(frozen=True)
class Drawn:
    """What an earlier report has drawn.

    Attributes:
        figures: the files.
        theory: what is said of theory beside them.
    """

    figures: list[Path]
    theory: str = ""


def drawn_before(out: Path, mark: str | None, record_name: str = RECORD) -> Drawn | None:
    """What was drawn from the same files, None: from any, where all of it is still there."""
    record = read_json(out / record_name) or {}
    same = mark is None or (mark != "" and mark == record.get("fingerprint") and "theory" in record)
    if "figures" not in record or not same:
        return None
    figures = [out / name for name in record["figures"]]
    if not all(figure.is_file() for figure in figures):
        return None
    return Drawn(figures, str(record.get("theory", "")))


def forget(out: Path, record_name: str = RECORD) -> None:
    """Remove the figures of an earlier report, those of its studies too."""
    for name in (read_json(out / record_name) or {}).get("figures", ()):
        if Path(str(name)).name == name and Path(name).suffix in (".png", ".svg", ".pdf"):
            (out / name).unlink(missing_ok=True)


def remember(out: Path, mark: str, drawn: Drawn, record_name: str = RECORD) -> None:
    """Write down what was drawn, and what from; an empty mark for what is to be drawn again each time."""
    content = {"fingerprint": mark, "theory": drawn.theory, "figures": [figure.name for figure in drawn.figures]}
    write_json(out / record_name, content)
