"""The schedule that follows training: the learning rate falls where a monitored number no longer does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fanin.errors import choice, integer, number
from fanin.parts.schedules.base import Schedule
from fanin.record.columns import MONITORS


@dataclass(kw_only=True)
class Plateau(Schedule):
    """The learning rate times a factor whenever a monitored number has not improved for a while.

    $alpha_t = max(min, a factor^k)$, with k the number of plateaus so far. An evaluation improves on the best one if
    the monitored number is below (1 - threshold) times it; after more than `patience` evaluations in a row that do
    not, k rises by one, and the next `cooldown` evaluations do not count. torch.optim.lr_scheduler.ReduceLROnPlateau
    is the same, but that it leaves out changes below 1e-8. The count is part of a run's checkpoint.

    Args:
        monitor: val_loss, val_error, batch_loss or batch_error, of the training batches since the row before, or
            train_loss or train_error, of the whole training part; smaller is better.
        factor: of the learning rate at a plateau, in (0, 1).
        patience: evaluations in a row without improvement that are borne, >= 0.
        cooldown: evaluations after a plateau that do not count, >= 0.
        threshold: share of the best number by which an improvement is below it, in [0, 1).
        min: the least learning rate, >= 0.

    Raises:
        OptionError: a value is out of range.

    >>> schedule, rates = Plateau(factor=0.5, patience=1), []
    >>> for loss in (3.0, 2.0, 2.0, 2.0, 1.0):
    ...     schedule.follow({"val_loss": loss})
    ...     rates.append(schedule(0, 1.0))
    >>> rates
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    monitor: str = "val_loss"
    factor: float = 0.1
    patience: int = 10
    cooldown: int = 0
    threshold: float = 1e-4
    min: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("monitor", self.monitor, MONITORS)
        self.factor = number("factor", self.factor, 0, 1, open_low=True, open_high=True)
        integer("patience", self.patience, 0)
        integer("cooldown", self.cooldown, 0)
        self.threshold = number("threshold", self.threshold, 0, 1, open_high=True)
        self.min = number("min", self.min, 0)
        self._best, self._bad, self._cooling, self._plateaus = math.inf, 0, 0, 0

    @property
    def follows(self) -> str:
        """The monitored column."""
        return self.monitor

    def after_warmup(self, t: int, lr: float) -> float:
        """The learning rate after the plateaus so far, whatever the step."""
        return max(min(lr, self.min), lr * self.factor**self._plateaus)

    def follow(self, row: Mapping[str, float | None]) -> None:
        """Count an evaluation."""
        value = row.get(self.monitor)
        if value is None:
            return
        if value < self._best * (1 - self.threshold):
            self._best, self._bad = value, 0
        else:
            self._bad += 1
        if self._cooling:
            self._cooling, self._bad = self._cooling - 1, 0
        if self._bad > self.patience:
            self._plateaus, self._cooling, self._bad = self._plateaus + 1, self.cooldown, 0

    def state_dict(self) -> dict[str, Any]:
        """The best number so far, and what has been counted."""
        return {"best": self._best, "bad": self._bad, "cooling": self._cooling, "plateaus": self._plateaus}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._best, self._bad = state["best"], state["bad"]
        self._cooling, self._plateaus = state["cooling"], state["plateaus"]
