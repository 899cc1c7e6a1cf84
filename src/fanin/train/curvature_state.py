"""What a run's looks at its curvature hand on, and the rows of one look."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fanin.record.recorder import CurvatureRow

Found = tuple[list[list[CurvatureRow]], list[str]]
"""The rows of each run, and what there is to say of them, a line each."""


@dataclass
class CurvatureState:
    """What a run's next look begins with, and what the last one found; a checkpoint holds it.

    Attributes:
        vector: the sum of its extreme eigenvectors, [P].
        eta: the critical step.
        found: the last value of each number of the whole model, by quantity, and the verdict's words.
    """

    vector: Tensor | None = None
    eta: float | None = None
    found: dict[str, Any] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"vector": self.vector, "eta": self.eta, "found": dict(self.found)}

    @classmethod
    def of(cls, state: dict[str, Any] | None) -> CurvatureState:
        """From a checkpoint, which may be of an earlier version."""
        return cls(**(state or {}))


class Rows:
    """Collects the numbers of R runs."""

    def __init__(self, runs: int) -> None:
        self.rows: list[list[CurvatureRow]] = [[] for _ in range(runs)]
        self.words: list[dict[str, Any]] = [{} for _ in range(runs)]
        self.names: set[str] = set()

    def add(self, quantity: str, values: Tensor, layer: str = "", index: int | None = None) -> None:
        """One number for each run."""
        self.names.add(quantity)
        for rows, value in zip(self.rows, values.tolist(), strict=True):
            rows.append(CurvatureRow(layer, quantity, index, float(value)))
