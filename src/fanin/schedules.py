"""Learning-rate schedules: functions of the step, with a warm-up that composes with any of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from fanin.errors import OptionError, choice, integer, number

WARMUPS = ("linear", "cosine", "constant")


@dataclass(kw_only=True)
class Schedule(ABC):
    """The learning rate of each step.

    alpha(step) = a * w(step) for step < warmup_steps, else decay(step - warmup_steps, a); with s = step + 1
    and W = warmup_steps, w is s/W (linear), (1 - cos(pi s/W)) / 2 (cosine) or warmup_factor (constant):
    the first two reach a at the last step of the warm-up. Source: Goyal et al. 2017.

    Args:
        warmup_steps: 0 for no warm-up.
        warmup: linear, cosine or constant.
        warmup_factor: share of the learning rate during a constant warm-up, in (0, 1].

    Raises:
        OptionError: a value is out of range.
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
            return self.decay(step - self.warmup_steps, lr)
        if self.warmup == "constant":
            return lr * self.warmup_factor
        done = (step + 1) / self.warmup_steps
        return lr * (done if self.warmup == "linear" else (1 - math.cos(math.pi * done)) / 2)

    @abstractmethod
    def decay(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""

    def fit(self, steps: int) -> None:  # noqa: B027 (most schedules need not know)
        """Told the number of steps of the run, warm-up included."""


@dataclass(kw_only=True)
class Constant(Schedule):
    """alpha_t = a."""

    def decay(self, t: int, lr: float) -> float:
        """The learning rate itself."""
        return lr


@dataclass(kw_only=True)
class Step(Schedule):
    """A staircase: alpha_t = a gamma^floor(t / size).

    Args:
        size: steps between two drops, >= 1.
        gamma: factor of each drop, > 0.

    Raises:
        OptionError: a value is out of range.
    """

    size: int = 1000
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("size", self.size, 1)
        self.gamma = number("gamma", self.gamma, 0, open_low=True)

    def decay(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""
        return lr * self.gamma ** (t // self.size)


@dataclass(kw_only=True)
class Cosine(Schedule):
    """Half a cosine from a down to min: alpha_t = min + (a - min)/2 (1 + cos(pi t/T)), and min from T on.

    Source: Loshchilov & Hutter 2017.

    Args:
        total_steps: T, not counting the warm-up; null: what `fit` leaves of the run after the warm-up.
        min: learning rate at the end, >= 0.

    Raises:
        OptionError: a value is out of range; total_steps is null and `fit` was not called.
    """

    total_steps: int | None = None
    min: float = 0.0
    _fitted: int | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.total_steps is not None:
            integer("total_steps", self.total_steps, 1)
        self.min = number("min", self.min, 0)

    def fit(self, steps: int) -> None:
        """Take T from the run, where total_steps is null."""
        # A run no longer than its warm-up, or of 0 steps, never decays; T = 1 keeps the formula finite.
        self._fitted = max(1, steps - self.warmup_steps)

    def decay(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""
        total = self.total_steps if self.total_steps is not None else self._fitted
        if total is None:
            raise OptionError("total_steps", None, "an integer >= 1", "or call fit(steps) first")
        if t >= total:
            return self.min
        return self.min + (lr - self.min) / 2 * (1 + math.cos(math.pi * t / total))
