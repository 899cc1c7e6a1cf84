"""One row per run from its small JSON files, and the summary.csv made of such rows.

Free of pandas: the engine writes the summary each time that a run ends.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fanin.record import columns
from fanin.record.atomic_files import write_atomically
from fanin.record.columns import FINISHED, STATES, names
from fanin.record.outcome import outcome_of
from fanin.record.overrides import named_overrides

FIRST, LAST = names(columns.SUMMARY_FIRST), names(columns.SUMMARY_LAST)
METRICS, INIT, EVALUATION = names(columns.FINAL), names(columns.INIT), names(columns.EVALUATION)


@dataclass
class RunFiles:
    """What status.json and result.json say of one run.

    Attributes:
        folder: the run's folder.
        state: one of STATES; "unknown" where no file tells.
        status, result: the contents, {} where there are none.
        overrides: what makes this run differ from its siblings, seed included.
        notes: one line for each file that could not be read or contradicts another.
    """

    folder: Path
    state: str = "unknown"
    status: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def error(self) -> str | None:
        """The last line of the error that ended the run."""
        error = self.status.get("error")
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] if error else []
        return lines[-1] if lines else None

    @property
    def metrics(self) -> dict[str, Any]:
        """The final metrics as they stand in result.json."""
        return _mapping(self.result.get("metrics"))

    def metric(self, name: str) -> float | None:
        """A final metric; None where it was not evaluated."""
        return as_number(self.metrics.get(name))

    def init(self, name: str) -> float | None:
        """A quantity at initialization; None where it was not measured."""
        return as_number(_mapping(self.result.get("init")).get(name))

    def evaluation(self, part: str = "test") -> dict[str, Any]:
        """What the final evaluation on a part of the data says beside loss and error, {} where there was none."""
        return _mapping(_mapping(self.result.get("evaluation")).get(part))

    @property
    def numbers(self) -> dict[str, float]:
        """Every number of result.json by its name: final metrics, the test's evaluation, the rest, those at init."""
        sources = (self.metrics, self.evaluation(), self.result, _mapping(self.result.get("init")))
        named = [(name, as_number(value)) for source in reversed(sources) for name, value in source.items()]
        return {name: number for name, number in named if number is not None}

    @property
    def outcome(self) -> str:
        """What came of the training, or nothing for an unfinished run."""
        return outcome_of(self.result)

    @property
    def verdict(self) -> str:
        """The verdict on the initialization, or nothing."""
        return str(_mapping(self.result.get("init")).get("verdict") or self.result.get("verdict") or "")

    @property
    def verdicts(self) -> tuple[str, str]:
        """Those of the forward and of the backward pass; nothing where an older run has one for both."""
        init = _mapping(self.result.get("init"))
        return str(init.get("forward") or ""), str(init.get("backward") or "")

    @property
    def diverged(self) -> dict[str, Any]:
        """{"step", "layer", "what"} of the first value that was not finite, or {}."""
        return _mapping(self.result.get("diverged"))

    @property
    def steps(self) -> float | None:
        """Steps made so far."""
        return as_number(self.result.get("steps", self.status.get("step")))


def read_run(folder: Path) -> RunFiles:
    """Read status.json and result.json; what is missing, broken or contradictory becomes a note, never an error."""
    run = RunFiles(folder)
    run.status = _read_json(folder / "status.json", run.notes, required=True)
    run.result = _read_json(folder / "result.json", run.notes, required=False)
    state = run.status.get("state") or run.result.get("state") or "unknown"
    run.state = state if state in STATES else "unknown"
    if run.state != state:
        run.notes.append(f"status.json: unknown state {state!r}")
    if run.result and run.state not in FINISHED and run.state != "unknown":
        run.notes.append(f"result.json is that of an earlier attempt (status.json: {run.state}); left out")
        run.result = {}
    if run.state in FINISHED and not run.result and not run.notes:
        run.notes.append(f"result.json is missing although the run is {run.state}")
    overrides = run.result.get("overrides")
    run.overrides = dict(overrides) if isinstance(overrides, dict) else named_overrides(folder)
    return run


def summary_row(folder: Path, grid: Path | None = None) -> dict[str, object]:
    """The run's row of summary.csv: name, state, outcome, verdict, overrides, final metrics, quantities at init.

    The name is the folder's path below `grid`, which matters where an override's "/" nests folders.
    """
    row = row_of(read_run(folder))
    return row if grid is None else row | {"run": folder.relative_to(grid).as_posix()}


def row_of(run: RunFiles) -> dict[str, object]:
    """The row of a run that has been read; None where there is no value."""
    overrides = {key: value for key, value in run.overrides.items() if key not in (*FIRST, *LAST)}
    if "seed" in overrides:
        overrides["seed"] = overrides.pop("seed")
    extra = [name for name in run.metrics if name not in METRICS]
    numbers = run.numbers
    return {
        **dict(zip(FIRST, (run.folder.name, run.state, run.outcome, run.verdict), strict=True)),
        **overrides,
        **{name: run.metric(name) for name in (*METRICS, *extra)},
        "steps": run.steps,
        "epochs": as_number(run.result.get("epochs", run.status.get("epoch"))),
        "seconds": as_number(run.result.get("seconds", run.status.get("seconds"))),
        **{name: run.init(name) for name in INIT},
        "diverged_step": as_number(run.diverged.get("step")),
        "diverged_layer": run.diverged.get("layer"),
        "error": run.error,
        **{name: numbers.get(name) for name in EVALUATION},
    }


def write_summary(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write summary.csv atomically; columns are the union over rows, overrides between verdict and metrics."""
    known = {*FIRST, *LAST}
    others = list(dict.fromkeys(key for row in rows for key in row if key not in known))
    others.sort(key=lambda key: key == "seed")
    columns = [*FIRST, *others, *LAST]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([as_text(row.get(column)) for column in columns] for row in rows)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def as_number(value: object) -> float | None:
    """A JSON value as a float ("nan", "inf" and "-inf" are floats), None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and value not in ("nan", "inf", "-inf"):
        return None
    return float(value)


def as_text(value: object) -> str:
    """A value as it stands in a CSV file: None empty, whole floats without ".0", lists as JSON."""
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return value if isinstance(value, str) else json.dumps(value)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_json(path: Path, notes: list[str], *, required: bool) -> dict[str, Any]:
    """The content of a JSON file; {} and, where that is strange, a note when it is missing or broken."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        if required:
            notes.append(f"{path.name} is missing")
        return {}
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"{path.name} cannot be read: {error}")
        return {}
    if not isinstance(content, dict):
        notes.append(f"{path.name} cannot be read: not a JSON object")
        return {}
    return content
