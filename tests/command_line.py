"""How the tests type commands and read what they leave."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TINY = ("model.depth=3", "model.width=16", "data.limit=300", "trainer.steps=6")
"""The smallest recipe that does everything: 3 batches an epoch, 2 epochs."""


@dataclass(frozen=True)
class Said:
    """What a command answered: its exit code, and the lines of its two streams."""

    code: int
    out: list[str]
    err: list[str]


def environment(**more: str) -> dict[str, str]:
    """This process's environment with one thread, without what would change a command's answer."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HYDRA_FULL_ERROR", "FANIN_DATA")}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"} | more


def start(folder: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """The real command, started in a folder and not waited for."""
    command = [sys.executable, "-m", "fanin.cli", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment(**more), stdout=pipe, stderr=pipe, text=True)


def end(process: subprocess.Popen[str], seconds: float = 120) -> Said:
    """Wait for a command."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Said(process.returncode, out.splitlines(), err.splitlines())


def fanin(folder: Path, *arguments: str, seconds: float = 120, **more: str) -> Said:
    """The real command, run in a folder to its end."""
    return end(start(folder, *arguments, **more), seconds)


def runs(grid: Path) -> dict[str, Path]:
    """The run folders of a grid by name."""
    return {path.parent.name: path.parent for path in sorted(grid.glob("*/status.json"))}


def read(path: Path) -> dict[str, Any]:
    """A JSON file."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def untimed(run: Path) -> tuple[list[dict[str, str]], str, dict[str, Any]]:
    """Everything in metrics.csv, profiles.csv and result.json but the clock, and the repository it was typed in."""
    metrics = [{key: value for key, value in row.items() if key != "seconds"} for row in table(run / "metrics.csv")]
    result = {key: value for key, value in read(run / "result.json").items() if key not in ("seconds", "git")}
    return metrics, (run / "profiles.csv").read_text(), result
