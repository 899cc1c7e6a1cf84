"""Schedules that end at a given step, by default with the run."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field

from fanin.errors import OptionError, flag, integer, number
from fanin.parts.schedules.base import Schedule, half_cosine


@dataclass(kw_only=True)
class Timed(Schedule):
    """A schedule of T steps.

    Args:
        total_steps: T, not counting the warm-up; null: all of the run after the warm-up.

    Raises:
        OptionError: a value is out of range; total_steps is null and the length of the run is not set.
    """

    total_steps: int | None = None
    _length: int | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.total_steps is not None:
            integer("total_steps", self.total_steps, 1)

    def set_length(self, steps: int) -> None:
        """Take T from the run if total_steps is null."""
        # A run no longer than its warm-up, or of 0 steps, never decays; T = 1 keeps the formulas finite.
        self._length = max(1, steps - self.warmup_steps)

    def after_warmup(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""
        total = self.total_steps if self.total_steps is not None else self._length
        if total is None:
            raise OptionError("total_steps", None, "an integer >= 1", "or call set_length(steps) first")
        return self.at(t, total, lr)

    @abstractmethod
    def at(self, t: int, total: int, lr: float) -> float:
        """The learning rate of step t of T = total; t may be beyond it."""


@dataclass(kw_only=True)
class Falling(Timed):
    """From a down to min: alpha_t = min + (a - min) left(t/T), and min from T on.

    Args:
        total_steps: T, not counting the warm-up; null: all of the run after the warm-up.
        min: learning rate at the end, >= 0.

    Raises:
        OptionError: a value is out of range; total_steps is null and the length of the run is not set.
    """

    min: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.min = number("min", self.min, 0)

    def at(self, t: int, total: int, lr: float) -> float:
        """The learning rate of step t of T = total."""
        return self.min if t >= total else self.min + (lr - self.min) * self.left(t / total)

    @abstractmethod
    def left(self, done: float) -> float:
        """What is left of the way down, from 1 at done = 0 to 0 at done = 1."""


@dataclass(kw_only=True)
class Cosine(Falling):
    """Half a cosine from a down to min: $alpha_t = min + (a - min)/2 (1 + cos(pi t/T))$, and min from T on.

    With cyclic, the cosine goes on: a again at 2T, min at 3T. Source: Loshchilov & Hutter 2017.

    Args:
        total_steps: T, not counting the warm-up; null: all of the run after the warm-up.
        min: learning rate at T, >= 0.
        cyclic: whether it rises again after T, as torch's CosineAnnealingLR does.

    Raises:
        OptionError: a value is out of range; total_steps is null and the length of the run is not set.

    >>> [round(Cosine(total_steps=4)(t, 1.0), 4) for t in range(6)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0, 0.0]
    >>> [round(Cosine(total_steps=2, cyclic=True)(t, 1.0), 4) for t in range(6)]
    [1.0, 0.5, 0.0, 0.5, 1.0, 0.5]
    """

    cyclic: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        flag("cyclic", self.cyclic)

    def at(self, t: int, total: int, lr: float) -> float:
        """The learning rate of step t of T = total."""
        return super().at(total - abs(t % (2 * total) - total) if self.cyclic else t, total, lr)

    def left(self, done: float) -> float:
        """(1 + cos(pi t/T)) / 2."""
        return half_cosine(done)


class Linear(Falling):
    """A straight line from a down to min: $alpha_t = min + (a - min) (1 - t/T)$, and min from T on.

    >>> [Linear(total_steps=4)(t, 1.0) for t in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """

    def left(self, done: float) -> float:
        """1 - t/T."""
        return 1 - done


@dataclass(kw_only=True)
class Polynomial(Falling):
    """A power of the line from a down to min: $alpha_t = min + (a - min) (1 - t/T)^power$, and min from T on.

    Args:
        total_steps: T, not counting the warm-up; null: all of the run after the warm-up.
        power: > 0; 1 is the line, above it the fall is fast at first.
        min: learning rate at the end, >= 0.

    Raises:
        OptionError: a value is out of range; total_steps is null and the length of the run is not set.

    >>> [Polynomial(total_steps=4, power=2)(t, 1.0) for t in range(5)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0]
    """

    power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.power = number("power", self.power, 0, open_low=True)

    def left(self, done: float) -> float:
        """(1 - t/T)^power."""
        return float((1 - done) ** self.power)


@dataclass(kw_only=True)
class OneCycle(Timed):
    """Up to a along half a cosine, then down to almost nothing along another: for training at large rates.

    From a / start_factor at t = 0 to a at r = peak_share T - 1, then to a / start_factor / end_factor at T - 1,
    the run's last step: $alpha_t = y + (x - y)/2 (1 + cos(pi u))$, from x to y with u from 0 to 1.
    torch.optim.lr_scheduler.OneCycleLR is the same (its div_factor and final_div_factor), but also cycles the
    momentum by default. Source: Smith & Topin 2018.

    Args:
        total_steps: T, not counting the warm-up; null: all of the run after the warm-up.
        peak_share: of the steps, before the peak, in [0, 1].
        start_factor: the learning rate starts at a / start_factor, >= 1.
        end_factor: it ends at the first one / end_factor, >= 1.

    Raises:
        OptionError: a value is out of range; total_steps is null and the length of the run is not set.

    >>> [round(OneCycle(total_steps=10)(t, 1.0), 6) for t in (0, 2, 9)]
    [0.04, 1.0, 4e-06]
    """

    peak_share: float = 0.3
    start_factor: float = 25.0
    end_factor: float = 10000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peak_share = number("peak_share", self.peak_share, 0, 1)
        self.start_factor = number("start_factor", self.start_factor, 1)
        self.end_factor = number("end_factor", self.end_factor, 1)

    def at(self, t: int, total: int, lr: float) -> float:
        """The learning rate of step t of T = total; the last one beyond."""
        first, peak, last = lr / self.start_factor, self.peak_share * total - 1, total - 1
        final = first / self.end_factor
        if t >= last > peak or t > last:
            return final
        if t >= peak:
            return final + (lr - final) * (half_cosine((t - peak) / (last - peak)) if last > peak else 1.0)
        return lr + (first - lr) * half_cosine(t / peak)


@dataclass(kw_only=True)
class ExponentialRise(Timed):
    """From low up to a by equal factors: $alpha_t = low (a/low)^(t/(T - 1))$, and a from T - 1 on.

    For a range test: the learning rate of each step is another one, and the loss says which of them are of use.

    Args:
        total_steps: T, not counting the warm-up; null: all of the run after the warm-up.
        low: learning rate of the first step, > 0.

    Raises:
        OptionError: a value is out of range; total_steps is null and the length of the run is not set.

    Source: Smith, Cyclical learning rates for training neural networks (2017), section 3.3.

    >>> [ExponentialRise(total_steps=4, low=0.001)(t, 1.0) for t in (0, 3, 4)]
    [0.001, 1.0, 1.0]
    """

    low: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.low = number("low", self.low, 0, open_low=True)

    def at(self, t: int, total: int, lr: float) -> float:
        """The learning rate at t of T steps."""
        if t >= total - 1:
            return lr
        return self.low * math.exp(t / (total - 1) * math.log(lr / self.low)) if lr > 0 and t else min(self.low, lr)
