"""Cyclic schedules: the learning rate rises again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fanin.errors import OptionError, integer, number
from fanin.parts.schedules.base import Schedule, half_cosine

Each = float | Sequence[float]
"""One number for all cycles, or one for each, of which the last stays."""


def of_cycle(numbers: Each, cycle: int) -> float:
    """The number of a cycle, counted from 0.

    >>> of_cycle(0.5, 7), of_cycle([3.0, 2.0], 0), of_cycle([3.0, 2.0], 7)
    (0.5, 3.0, 2.0)
    """
    return numbers[min(cycle, len(numbers) - 1)] if isinstance(numbers, Sequence) else numbers


def _each(name: str, numbers: object, low: float = 0) -> Each:
    """Numbers >= low, one for all cycles or a list."""
    if not isinstance(numbers, Sequence) or isinstance(numbers, str):
        return number(name, numbers, low)
    if not numbers:
        raise OptionError(name, numbers, "a number, or a list of one for each cycle")
    return [number(f"{name}[{place}]", one, low) for place, one in enumerate(numbers)]


@dataclass(kw_only=True)
class Triangular(Schedule):
    """Linear rises and falls between min and max, with peaks that decay from cycle to cycle.

    In cycle $m = floor(1 + t / (2 half_cycle))$, $b = abs(t / half_cycle - 2m + 1)$:
    $alpha_t = min_m + (max_m decay^(m-1) - min_m) max(0, 1 - b)$, where the peak is no less than min_m.
    It starts at min, as if warmed up already. Source: Smith 2017.

    Args:
        min: learning rate at the bottom, >= 0; or a list of one for each cycle, of which the last stays.
        max: learning rate at the peak, >= min; or a list of one for each cycle; null: the optimizer's lr.
        half_cycle: steps from the bottom to the peak, >= 1.
        decay: factor of max from one cycle to the next, in (0, 1]; 1 with a list, which says each.

    Raises:
        OptionError: a value is out of range; a peak below its bottom.

    >>> [Triangular(half_cycle=2)(t, 1.0) for t in range(6)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]
    >>> [Triangular(half_cycle=2, min=[0, 0.5], max=[2, 1])(t, 9.0) for t in range(9)]
    [0.0, 1.0, 2.0, 1.0, 0.5, 0.75, 1.0, 0.75, 0.5]
    """

    min: Each = 0.0
    max: Each | None = None
    half_cycle: int = 1000
    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.min = _each("min", self.min)
        self.decay = number("decay", self.decay, 0, 1, open_low=True)
        if self.max is not None:
            self.max = _each("max", self.max)
            cycles = max(len(ends) if isinstance(ends, Sequence) else 1 for ends in (self.min, self.max))
            for cycle in range(cycles):
                number("max", of_cycle(self.max, cycle), of_cycle(self.min, cycle))
            if isinstance(self.max, Sequence) and self.decay != 1:
                raise OptionError("decay", self.decay, "1 where max is a list, which says the peak of each cycle")
        integer("half_cycle", self.half_cycle, 1)

    def after_warmup(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""
        cycle = t // (2 * self.half_cycle)
        below_peak = abs(t / self.half_cycle - 2 * cycle - 1)
        bottom = of_cycle(self.min, cycle)
        top = max(bottom, of_cycle(lr if self.max is None else self.max, cycle) * self.decay**cycle)
        return bottom + (top - bottom) * max(0.0, 1 - below_peak)


@dataclass(kw_only=True)
class WarmRestarts(Schedule):
    """Half cosines from a down to min, each T_mult times as long as the one before.

    $alpha_t = min + (a_i - min)/2 (1 + cos(pi T_cur / T_i))$, with $T_i = T0 T_mult^i$, rounded to whole steps,
    $T_cur < T_i$ the steps since the last restart, and $a_i = a decay^i$, but no less than min: a_i again at each
    restart, and never quite min. Source: Loshchilov & Hutter 2017.

    Args:
        T0: steps of the first cycle, >= 1.
        T_mult: factor of the length from one cycle to the next, >= 1.
        lengths: steps of each cycle, of which the last stays, in place of T0 and T_mult; null for these.
        decay: factor of the learning rate at a restart from one cycle to the next, in (0, 1].
        min: learning rate that each cycle falls to, >= 0.

    Raises:
        OptionError: a value is out of range.

    >>> [round(WarmRestarts(T0=2, T_mult=2)(t, 1.0), 4) for t in range(7)]
    [1.0, 0.5, 1.0, 0.8536, 0.5, 0.1464, 1.0]
    >>> [round(WarmRestarts(lengths=[1, 2], decay=0.5)(t, 1.0), 4) for t in range(7)]
    [1.0, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625]
    """

    T0: int = 1000
    T_mult: float = 1.0
    lengths: Sequence[int] | None = None
    decay: float = 1.0
    min: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("T0", self.T0, 1)
        self.T_mult = number("T_mult", self.T_mult, 1)
        if self.lengths is not None:
            if isinstance(self.lengths, str) or not isinstance(self.lengths, Sequence) or not self.lengths:
                raise OptionError("lengths", self.lengths, "null or a list of integers >= 1")
            for place, length in enumerate(self.lengths):
                integer(f"lengths[{place}]", length, 1)
        self.decay = number("decay", self.decay, 0, 1, open_low=True)
        self.min = number("min", self.min, 0)

    def after_warmup(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""
        cycle, since = 0, t
        while since >= self.length(cycle):
            if self._stays(cycle):  # all that follow are as long
                more, since = divmod(since, self.length(cycle))
                cycle += more
                break
            since -= self.length(cycle)
            cycle += 1
        top = max(self.min, lr * self.decay**cycle)
        return self.min + (top - self.min) * half_cosine(since / self.length(cycle))

    def length(self, cycle: int) -> int:
        """Steps of a cycle, counted from 0."""
        if self.lengths is not None:
            return self.lengths[min(cycle, len(self.lengths) - 1)]
        return round(self.T0 * self.T_mult**cycle)

    def _stays(self, cycle: int) -> bool:
        return self.T_mult == 1 if self.lengths is None else cycle >= len(self.lengths) - 1
