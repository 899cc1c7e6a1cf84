"""The objective: the number of a run that a job returns to Hydra, and that a searching sweeper minimizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fanin.errors import choice
from fanin.record.columns import FINAL, names

ORDER = ("val_error", "val_loss", "test_error", "test_loss", "train_loss")
"""Where none is chosen: the first that the run has."""


def check_objective(name: object) -> None:
    """Refuse what is no metric.

    Raises:
        OptionError: those that there are.
    """
    if name is not None:
        choice("objective", name, names(FINAL))


def objective_of(result: Mapping[str, Any] | None, name: str | None) -> float:
    """The objective of a run, smaller is better; infinite where it diverged, failed or does not have it.

    Args:
        result: the content of result.json; None if there is none.
        name: the metric; None for the first of `ORDER` that the run has.

    >>> objective_of({"state": "done", "metrics": {"val_error": None, "val_loss": 0.5}}, None)
    0.5
    >>> objective_of({"state": "diverged", "metrics": {"val_error": 0.9}}, "val_error")
    inf
    """
    if result is None or result.get("state") == "diverged":
        return math.inf
    metrics = result["metrics"]
    value = next((metrics[key] for key in ((name,) if name else ORDER) if metrics.get(key) is not None), math.inf)
    return float(value) if math.isfinite(value) else math.inf
