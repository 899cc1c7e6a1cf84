"""Cyclic schedules: the learning rate rises again."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.errors import integer, number
from fanin.parts.schedules.base import Schedule, half_cosine


@dataclass(kw_only=True)
class Triangular(Schedule):
    """Linear rises and falls between min and max, with peaks that decay from cycle to cycle.

    In cycle $m = floor(1 + t / (2 half_cycle))$, $b = abs(t / half_cycle - 2m + 1)$:
    $alpha_t = min + (max_m - min) max(0, 1 - b)$, where $max_m = max decay^(m-1)$, but no less than min.
    It starts at min, as if warmed up already. Source: Smith 2017.

    Args:
        min: learning rate at the bottom, >= 0.
        max: learning rate at the first peak, >= min; null: the optimizer's lr.
        half_cycle: steps from the bottom to the peak, >= 1.
        decay: factor of max from one cycle to the next, in (0, 1].

    Raises:
        OptionError: a value is out of range.

    >>> [Triangular(half_cycle=2)(t, 1.0) for t in range(6)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]
    """

    min: float = 0.0
    max: float | None = None
    half_cycle: int = 1000
    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.min = number("min", self.min, 0)
        if self.max is not None:
            self.max = number("max", self.max, self.min)
        integer("half_cycle", self.half_cycle, 1)
        self.decay = number("decay", self.decay, 0, 1, open_low=True)

    def after_warmup(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""
        cycle = 1 + t // (2 * self.half_cycle)
        below_peak = abs(t / self.half_cycle - 2 * cycle + 1)
        peak = max(self.min, (lr if self.max is None else self.max) * self.decay ** (cycle - 1))
        return self.min + (peak - self.min) * max(0.0, 1 - below_peak)


@dataclass(kw_only=True)
class WarmRestarts(Schedule):
    """Half cosines from a down to min, each T_mult times as long as the one before.

    $alpha_t = min + (a - min)/2 (1 + cos(pi T_cur / T_i))$, with $T_i = T0 T_mult^i$ and $T_cur < T_i$ the steps since
    the last restart: a again at each restart, and never quite min. Source: Loshchilov & Hutter 2017.
    Args:
        T0: steps of the first cycle, >= 1.
        T_mult: factor of the length from one cycle to the next, an integer >= 1.
        min: learning rate that each cycle falls to, >= 0.

    Raises:
        OptionError: a value is out of range.

    >>> [round(WarmRestarts(T0=2, T_mult=2)(t, 1.0), 4) for t in range(7)]
    [1.0, 0.5, 1.0, 0.8536, 0.5, 0.1464, 1.0]
    """

    T0: int = 1000
    T_mult: int = 1
    min: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("T0", self.T0, 1)
        integer("T_mult", self.T_mult, 1)
        self.min = number("min", self.min, 0)

    def after_warmup(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""
        since, length = t, self.T0
        if self.T_mult == 1:
            since %= length
        while since >= length:
            since -= length
            length *= self.T_mult
        return self.min + (lr - self.min) * half_cosine(since / length)
