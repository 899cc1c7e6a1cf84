"""The metric of a run as it is now: on its way, at its end, or not to be had."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanin.record.csv_file import read_table
from fanin.record.run_files import as_number, read_run

READY = ("paused", "done", "diverged", "pruned", "failed")
"""States of a run that a rung is over for."""


@dataclass(frozen=True)
class Measured:
    """What a run has come to: None for a metric that it does not have."""

    state: str
    steps: int
    values: tuple[float | None, ...]
    error: str = ""


def measured(folder: Path, metrics: Sequence[str]) -> Measured:
    """Read the metrics of a run from its files."""
    run = read_run(folder)
    steps = int(as_number(run.result.get("steps", run.status.get("step"))) or 0)
    if run.state not in ("paused", "done", "pruned"):
        at = f"diverged at step {run.diverged.get('step')}" if run.state == "diverged" else ""
        return Measured(run.state, steps, (math.nan,) * len(metrics), run.error or at)
    numbers: dict[str, float | None] = {}
    if run.state == "paused":
        row = (read_table(folder / "metrics.csv") or [{}])[-1]
        numbers = {name: as_number(_float(text)) for name, text in row.items()}
    else:
        last = {
            name: _float(text) for row in read_table(folder / "metrics.csv") or [] for name, text in row.items() if text
        }
        numbers = last | dict(run.numbers)
    found = tuple(numbers.get(name, as_number(_deep(run.result, name))) for name in metrics)
    return Measured(run.state, steps, found)


def _float(text: object) -> float | None:
    try:
        return float(str(text))
    except ValueError:
        return None


def _deep(result: dict[str, Any], name: str) -> Any:
    """What stands in result.json under a name with dots."""
    node: Any = result
    for key in name.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node
