"""Batch sizes as a function of the step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from fanin.errors import OptionError, integer, number

ROUNDING = 1e-12
"""Relative size of what may be missing to a whole number by rounding: 100 * 1.15 is 114.99999999999999."""


class BatchSchedule(ABC):
    """How many examples each step takes.

    `base` is the recipe's batch size, `examples` the size of the training set, which no batch exceeds.
    """

    neutral: ClassVar[bool] = False

    @abstractmethod
    def size(self, step: int, base: int, examples: int) -> int:
        """The batch size of a step, counted from 0."""

    @abstractmethod
    def seen(self, step: int, base: int, examples: int) -> int:
        """The examples that all steps before `step` take together: the sum of their sizes."""


@dataclass(kw_only=True)
class Constant(BatchSchedule):
    """The recipe's batch size in every step.

    >>> Constant().size(3, base=100, examples=1500), Constant().seen(3, base=100, examples=1500)
    (100, 300)
    """

    neutral: ClassVar[bool] = True

    def size(self, step: int, base: int, examples: int) -> int:
        """base; see BatchSchedule."""
        return min(base, examples)

    def seen(self, step: int, base: int, examples: int) -> int:
        """step * base; see BatchSchedule."""
        return step * min(base, examples)


@dataclass(kw_only=True)
class Growing(BatchSchedule):
    """Dynamic sampling: the batch grows geometrically up to a cap.

    $size(t) = min(cap, floor(base * factor^(floor(t / every))))$. The gradient's noise falls with the batch as a
    falling learning rate would have it: on a strongly convex problem geometric growth keeps gradient descent's linear
    rate at a number of gradients like that of sgd. Source: Byrd, Chin, Nocedal & Wu 2012.

    Args:
        factor: of each growth, >= 1.
        every: steps between two growths, >= 1.
        max: cap in examples, >= 1; null: the whole training set.

    Raises:
        OptionError: a value is out of range.

    >>> growing = Growing(factor=2, every=2)
    >>> [growing.size(step, base=10, examples=35) for step in range(6)], growing.seen(6, base=10, examples=35)
    ([10, 10, 20, 20, 35, 35], 130)
    """

    factor: float = 1.1
    every: int = 100
    max: int | None = None
    _sums: dict[tuple[int, int], list[int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.factor = number("factor", self.factor, 1)
        integer("every", self.every, 1)
        if self.max is not None and (not isinstance(self.max, int) or isinstance(self.max, bool) or self.max < 1):
            raise OptionError("max", self.max, "null or an integer >= 1")

    def size(self, step: int, base: int, examples: int) -> int:
        """The batch size of a step; see BatchSchedule."""
        return self._grown(step // self.every, base, self._cap(examples))

    def seen(self, step: int, base: int, examples: int) -> int:
        """The sum of the sizes before a step; sums over whole stretches of one size are kept."""
        growths, rest = divmod(step, self.every)
        cap = self._cap(examples)
        sums = self._sums.setdefault((base, cap), [0])  # of one step from each stretch before the k-th
        while len(sums) <= growths and (len(sums) < 2 or sums[-1] - sums[-2] < cap):
            sums.append(sums[-1] + self._grown(len(sums) - 1, base, cap))
        known = min(growths, len(sums) - 1)
        whole = sums[known] + (growths - known) * cap
        return whole * self.every + rest * self._grown(growths, base, cap)

    def _cap(self, examples: int) -> int:
        return examples if self.max is None else min(self.max, examples)

    def _grown(self, growths: int, base: int, cap: int) -> int:
        """The size after a number of growths."""
        if growths * math.log(self.factor) > math.log(cap / base) + 1:  # far beyond, where the power may overflow
            return cap
        return min(cap, math.floor(base * self.factor**growths * (1 + ROUNDING)))
