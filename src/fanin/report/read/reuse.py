"""Figures that need not be drawn again: those of a grid in which nothing was left to run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fanin import __version__
from fanin.record.atomic_files import read_json, write_json
from fanin.report.read.folders import Run

RECORD = ".figures.json"
READ = (
    "status.json", "result.json", "metrics.csv", "profiles.csv", "trajectory.csv", ".hydra/config.yaml",
    ".hydra/hydra.yaml", ".hydra/overrides.yaml",
)  # fmt: skip
"""What a report may read of a run."""


def fingerprint(runs: Sequence[Run], asked: Sequence[str]) -> str:
    """A hash that changes with the runs, with any file of theirs that a report may read, and with what was asked."""
    content = [__version__, *asked]
    for run in runs:
        content.append(str(run.folder))
        for name in READ:
            with suppress(OSError):
                said = (run.folder / name).stat()
                content.append(f"{name} {said.st_size} {said.st_mtime_ns} {said.st_ino}")
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def drawn_before(out: Path, mark: str) -> list[Path] | None:
    """The figures that were drawn from the same files, where all of them are still there."""
    record = read_json(out / RECORD) or {}
    if record.get("fingerprint") != mark:
        return None
    figures = [out / name for name in record["figures"]]
    return figures if all(figure.is_file() for figure in figures) else None


def forget(out: Path) -> None:
    """Remove the figures of an earlier report, those of its studies too."""
    for name in (read_json(out / RECORD) or {}).get("figures", ()):
        if Path(str(name)).name == name and Path(name).suffix in (".png", ".svg"):
            (out / name).unlink(missing_ok=True)


def remember(out: Path, mark: str, figures: Sequence[Path]) -> None:
    """Write down what the figures were drawn from."""
    write_json(out / RECORD, {"fingerprint": mark, "figures": [figure.name for figure in figures]})
