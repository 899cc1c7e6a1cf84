"""What every schedule is, and its warm-up."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fanin.errors import choice, integer, number

WARMUPS = ("linear", "cosine", "constant")


@dataclass(kw_only=True)
class Schedule(ABC):
    """The learning rate of each step.

    alpha(step) = a * w(step) for step < warmup_steps, else after_warmup(step - warmup_steps, a); with s = step + 1
    and W = warmup_steps, w is s/W (linear), (1 - cos(pi s/W)) / 2 (cosine) or warmup_factor (constant):
    the first two reach a at the last step of the warm-up. Source: Goyal et al. 2017.

    Args:
        warmup_steps: 0 for no warm-up.
        warmup: linear, cosine or constant.
        warmup_factor: share of the learning rate during a constant warm-up, in (0, 1].

    Raises:
        OptionError: a value is out of range.

    >>> from fanin.parts.schedules import Constant
    >>> [Constant(warmup_steps=4)(step, 1.0) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    warmup_steps: int = 0
    warmup: str = "linear"
    warmup_factor: float = 0.1

    def __post_init__(self) -> None:
        integer("warmup_steps", self.warmup_steps, 0)
        choice("warmup", self.warmup, WARMUPS)
        self.warmup_factor = number("warmup_factor", self.warmup_factor, 0, 1, open_low=True)

    def __call__(self, step: int, lr: float) -> float:
        """The learning rate of a step, counted from 0, where the recipe's learning rate is lr."""
        if step >= self.warmup_steps:
            return self.after_warmup(step - self.warmup_steps, lr)
        if self.warmup == "constant":
            return lr * self.warmup_factor
        done = (step + 1) / self.warmup_steps
        return lr * (done if self.warmup == "linear" else (1 - math.cos(math.pi * done)) / 2)

    @property
    def follows(self) -> str | None:
        """The column of metrics.csv that it follows; None: it looks at the step alone."""
        return None

    @abstractmethod
    def after_warmup(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""

    def set_length(self, steps: int) -> None:  # noqa: B027 (most schedules need not know)
        """Set the number of steps of the run, warm-up included."""

    def follow(self, row: Mapping[str, float | None]) -> None:  # noqa: B027 (most schedules look at the step alone)
        """Take note of an evaluation, a row of metrics.csv."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs beside the step: what `follow` took note of."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 (nothing, as above)
        """Go on where `state_dict` was taken."""


def half_cosine(done: float) -> float:
    """The share that is left of a fall along half a cosine: 1 at done = 0, 0 at done = 1.

    >>> half_cosine(0), half_cosine(0.5), half_cosine(1)
    (1.0, 0.5, 0.0)
    """
    return (1 + math.cos(math.pi * done)) / 2
