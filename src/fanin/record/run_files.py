"""What status.json and result.json say of a run, whatever state they are in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fanin.record.atomic_files import loaded
from fanin.record.columns import EARLIER, FINISHED, STATES
from fanin.record.outcome import outcome_of
from fanin.record.overrides import RunConfig, named_overrides

Made = TypeVar("Made")

LARGEST = 1 << 20
"""Classes; a larger number is damage."""


@dataclass(eq=False)
class RunFiles:
    """What status.json and result.json say of one run.

    Attributes:
        folder: the run's folder.
        state: one of STATES; "unknown" where no file tells.
        status, result: the contents, {} where there are none.
        overrides: what makes this run differ from its siblings, seed included.
        notes: one line for each file that could not be read or contradicts another.
        made: what has been made of the files, for those who make the same again and again; see `once`.
    """

    folder: Path
    state: str = "unknown"
    status: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    made: dict[str, tuple[Any, Any]] = field(default_factory=dict, repr=False)

    def once(self, what: str, given: object, make: Callable[[], Made]) -> Made:
        """What `make` makes of the run's files, made again only where it is given something else than the last time."""
        before = self.made.get(what)
        if before is None or before[0] != given:
            self.made[what] = before = (given, make())
        made: Made = before[1]
        return made

    @cached_property
    def config(self) -> RunConfig:
        """The configuration: that of result.json, of an unfinished or old run what Hydra recorded."""
        return RunConfig(self.folder, self.result)

    def value(self, key: str) -> Any:
        """The run's value of a configuration key: among its overrides, else from its configuration."""
        value = self.overrides.get(key)
        return self.once(f"value of {key}", None, lambda: self.config.value(key)) if value is None else value

    @property
    def classes(self) -> int | None:
        """K, the number of classes; None if no file tells."""
        told = self.result.get("classes")
        if told is None:
            told = len(confusion) if isinstance(confusion := self.evaluation().get("confusion"), list) else None
        if told is None:
            kept = self.config.value("data.classes")
            told = len(kept) if isinstance(kept, list) else kept
        return told if isinstance(told, int) and not isinstance(told, bool) and 0 < told < LARGEST else None

    @property
    def chance_loss(self) -> float | None:
        """The loss of the best constant answer, ln K for cross-entropy; None if it is unknown."""
        if "chance_loss" in self.result:
            return as_number(self.result["chance_loss"])
        classes = self.classes
        plain = self.config.option("loss") in ("cross_entropy", "crossentropy")
        return math.log(classes) if plain and classes and classes > 1 else None

    @property
    def error(self) -> str | None:
        """The last line of the error that ended the run."""
        error = self.status.get("error")
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] if error else []
        return lines[-1] if lines else None

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The final metrics of result.json.

        One of an earlier version has the means over the last batches as train_*, and what is called so now as full_*.
        """
        told = _mapping(self.result.get("metrics"))
        if "full_loss" not in told:
            return told
        return {name: value for name, value in told.items() if name not in EARLIER} | {
            EARLIER[name]: told[name] for name in ("full_loss", "full_error") if name in told
        }

    def metric(self, name: str) -> float | None:
        """A final metric; None if it was not evaluated."""
        return as_number(self.metrics.get(name))

    def init(self, name: str) -> float | None:
        """A quantity at initialization; None if it was not measured."""
        return as_number(_mapping(self.result.get("init")).get(name))

    def evaluation(self, part: str = "test") -> dict[str, Any]:
        """What the final evaluation on a part of the data says beside loss and error, {} where there was none."""
        return _mapping(_mapping(self.result.get("evaluation")).get(part))

    @cached_property
    def numbers(self) -> dict[str, float]:
        """Every number of result.json by its name: final metrics, the test's evaluation, the rest, those of looks."""
        others = (_mapping(self.result.get(name)) for name in ("generalization", "init", "curvature"))
        sources = (self.metrics, self.evaluation(), self.result, *others)
        named = [(name, as_number(value)) for source in reversed(sources) for name, value in source.items()]
        return {name: number for name, number in named if number is not None}

    @property
    def outcome(self) -> str:
        """The outcome of the training, "" for an unfinished run."""
        return outcome_of(self.result)

    @property
    def verdict(self) -> str:
        """The verdict on the initialization, or ""."""
        return str(_mapping(self.result.get("init")).get("verdict") or self.result.get("verdict") or "")

    @property
    def verdicts(self) -> tuple[str, str]:
        """Those of the forward and of the backward pass; "" in an older run, which has one for both."""
        init = _mapping(self.result.get("init"))
        return str(init.get("forward") or ""), str(init.get("backward") or "")

    @property
    def source(self) -> str:
        """What its quantile among fresh draws comes from, a law or redraws; "" without either."""
        return str(_mapping(self.result.get("init")).get("source") or "")

    @property
    def diverged(self) -> dict[str, Any]:
        """{"step", "layer", "what"} of the first value that was not finite, or {}."""
        return _mapping(self.result.get("diverged"))

    @property
    def steps(self) -> float | None:
        """Steps made so far."""
        return as_number(self.result.get("steps", self.status.get("step")))


Kind = TypeVar("Kind", bound=RunFiles)


def read_run(folder: Path) -> RunFiles:
    """What the files in this folder say."""
    return read_into(RunFiles(folder))


def read_into(run: Kind) -> Kind:
    """Read status.json and result.json; what is missing, broken or contradictory becomes a note, never an error."""
    folder = run.folder
    run.status = _read_json(folder / "status.json", run.notes, required=True)
    run.result = _read_json(folder / "result.json", run.notes, required=False)
    state = run.status.get("state") or run.result.get("state") or "unknown"
    run.state = state if isinstance(state, str) and state in STATES else "unknown"
    if run.state != state:
        run.notes.append(f"status.json: unknown state {state!r}")
    if run.result and run.state not in FINISHED and run.state != "unknown":
        run.notes.append(f"result.json is that of an earlier attempt (status.json: {run.state}); left out")
        run.result = {}
    if run.state in FINISHED and not run.result and not run.notes:
        run.notes.append(f"result.json is missing although the run is {run.state}")
    overrides = run.result.get("overrides")
    run.overrides = dict(overrides) if isinstance(overrides, dict) else named_overrides(folder, run.config)
    run.overrides.pop("regularizer.mask.path", None)  # what it is of, its share and its seed say
    return run


def as_number(value: object) -> float | None:
    """A JSON value as a float ("nan", "inf" and "-inf" are floats), None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and value not in ("nan", "inf", "-inf"):
        return None
    return float(value)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_json(path: Path, notes: list[str], *, required: bool) -> dict[str, Any]:
    """The content of a JSON file; {} and, where that is strange, a note when it is missing or broken."""
    try:
        content = loaded(path.read_bytes())
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
