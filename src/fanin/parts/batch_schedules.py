"""Batch sizes as a function of the step, or of what the gradients of a batch say."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fanin.errors import OptionError, integer, number

ROUNDING = 1e-12
"""Relative size of what may be missing to a whole number by rounding: 100 * 1.15 is 114.99999999999999."""


class BatchSchedule(ABC):
    """How many examples each step takes.

    `base` is the recipe's batch size, `examples` the size of the training set, which no batch exceeds.
    """

    neutral: ClassVar[bool] = False
    adaptive: ClassVar[bool] = False
    """Whether it follows a run's gradients: such a run is trained alone."""

    @abstractmethod
    def size(self, step: int, base: int, examples: int) -> int:
        """The batch size of a step, counted from 0."""

    @abstractmethod
    def seen(self, step: int, base: int, examples: int) -> int:
        """The examples that all steps before `step` take together: the sum of their sizes."""

    def due(self, step: int, base: int, examples: int) -> bool:
        """Whether the gradients of a step's examples are to be looked at."""
        return False

    def adapt(self, step: int, base: int, examples: int, variance: float, square: float) -> None:
        """Choose the sizes after a step by the gradients of the examples of its batch.

        Args:
            step: of the batch.
            base, examples: see the class.
            variance: of the gradients, the sum over all parameters of the unbiased estimate.
            square: squared length of their mean.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs beside the step: what `adapt` has chosen."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 (nothing, as above)
        """Go on where `state_dict` was taken."""


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
        _check_cap(self.max)

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
        return _cap(self.max, examples)

    def _grown(self, growths: int, base: int, cap: int) -> int:
        """The size after a number of growths."""
        if growths * math.log(self.factor) > math.log(cap / base) + 1:  # far beyond, where the power may overflow
            return cap
        return min(cap, math.floor(base * self.factor**growths * (1 + ROUNDING)))


@dataclass(kw_only=True)
class Adaptive(BatchSchedule):
    """The norm test: the batch grows as soon as its gradient is too noisy to be a descent direction.

    With the gradients $g_i$ of the n examples of a batch, g their mean and V the sum over all parameters of
    $sum_i (g_i - g)^2 / (n - 1)$, the test is $V / n <= theta^2 ||g||^2$: what is left of the noise is at most theta of
    the gradient's length. Where it fails, the steps from the next one on take $ceil(V / (theta^2 ||g||^2))$ examples,
    the fewest that would have passed, up to the cap. Batches never shrink. The batch of the step in which the test
    fails is not drawn anew, as it is in the paper.

    The test takes the gradient of each example, in training mode without penalties, and as much work as a step; it is
    made every so many steps. trainer.epochs counts steps of trainer.batch_size, whatever the batch grows to. A run with
    it is trained alone, and not with batch normalization, which mixes examples.
    Source: Byrd, Chin, Nocedal & Wu 2012, section 3.

    Args:
        theta: share of the gradient's length that noise may have, in (0, 1).
        every: steps between two tests, >= 1.
        max: cap in examples, >= 1; null: the whole training set.

    Raises:
        OptionError: a value is out of range.

    >>> adaptive = Adaptive(theta=0.5, every=2)
    >>> adaptive.adapt(1, base=4, examples=100, variance=6.0, square=2.0)  # 6/4 > 0.25 * 2: 6/0.5 examples are needed
    >>> [adaptive.size(step, base=4, examples=100) for step in range(4)], adaptive.seen(4, base=4, examples=100)
    ([4, 4, 12, 12], 32)
    """

    adaptive: ClassVar[bool] = True

    theta: float = 0.9
    every: int = 10
    max: int | None = None
    _starts: list[int] = field(default_factory=list, init=False, repr=False, compare=False)
    _sizes: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.theta = number("theta", self.theta, 0, 1, open_low=True, open_high=True)
        integer("every", self.every, 1)
        _check_cap(self.max)

    @staticmethod
    def trains_alone(keys: Mapping[str, Any]) -> bool:
        """Whatever its keys: each run chooses its batches by its own gradients."""
        return True

    def size(self, step: int, base: int, examples: int) -> int:
        """The batch size of a step, as far as it is known; see BatchSchedule."""
        place = bisect_right(self._starts, step)
        return self._sizes[place - 1] if place else min(base, examples)

    def seen(self, step: int, base: int, examples: int) -> int:
        """The sum of the sizes before a step; see BatchSchedule."""
        starts, sizes = [0, *self._starts], [min(base, examples), *self._sizes]
        ends = [*self._starts, step]
        stretches = zip(starts, ends, sizes, strict=True)
        return sum(size * max(min(end, step) - start, 0) for start, end, size in stretches)

    def due(self, step: int, base: int, examples: int) -> bool:
        """Every so many steps, while the batch may still grow, and has two examples or more."""
        return step % self.every == 0 and 1 < self.size(step, base, examples) < _cap(self.max, examples)

    def adapt(self, step: int, base: int, examples: int, variance: float, square: float) -> None:
        """The norm test; see the class. A gradient of 0 asks for the cap, one that is not finite for nothing."""
        size, allowed = self.size(step, base, examples), self.theta**2 * square
        if not (math.isfinite(variance) and math.isfinite(square)) or variance <= allowed * size:
            return
        most = _cap(self.max, examples)
        needed = most if variance >= allowed * most else math.ceil(variance / allowed * (1 - ROUNDING))
        if needed > size:
            self._starts.append(step + 1)
            self._sizes.append(needed)

    def state_dict(self) -> dict[str, Any]:
        """The steps from which sizes hold, and these."""
        return {"starts": list(self._starts), "sizes": list(self._sizes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._starts, self._sizes = list(state["starts"]), list(state["sizes"])


def _check_cap(cap: object) -> None:
    if cap is not None and (not isinstance(cap, int) or isinstance(cap, bool) or cap < 1):
        raise OptionError("max", cap, "null or an integer >= 1")


def _cap(cap: int | None, examples: int) -> int:
    return examples if cap is None else min(cap, examples)
