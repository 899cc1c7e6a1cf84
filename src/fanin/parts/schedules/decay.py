"""Schedules that need not know how long the run is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from fanin.errors import OptionError, integer, number
from fanin.parts.schedules.base import Schedule


@dataclass(kw_only=True)
class Constant(Schedule):
    """$alpha_t = a$.

    >>> Constant()(7, 0.1)
    0.1
    """

    def after_warmup(self, t: int, lr: float) -> float:
        """The learning rate itself."""
        return lr


@dataclass(kw_only=True)
class Step(Schedule):
    """A staircase: $alpha_t = a gamma^(floor(t / size))$.

    Args:
        size: steps between two drops, >= 1.
        gamma: factor of each drop, > 0.

    Raises:
        OptionError: a value is out of range.

    >>> [Step(size=2, gamma=0.5)(t, 8.0) for t in range(6)]
    [8.0, 8.0, 4.0, 4.0, 2.0, 2.0]
    """

    size: int = 1000
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("size", self.size, 1)
        self.gamma = number("gamma", self.gamma, 0, open_low=True)

    def after_warmup(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""
        return lr * _power(self.gamma, t // self.size)


@dataclass(kw_only=True)
class Piecewise(Schedule):
    """A staircase of steps of any length: $alpha_t = a prod_(m_i <= t) f_i$, m milestones, f factors.

    Args:
        milestones: steps after the warm-up, >= 1 and rising.
        factors: of each milestone, > 0: by what the learning rate is multiplied there.

    Raises:
        OptionError: a value is out of range, or there are not as many factors as milestones.

    >>> [Piecewise(milestones=[2, 3], factors=[0.5, 0.25])(t, 8.0) for t in range(5)]
    [8.0, 8.0, 4.0, 1.0, 1.0]
    """

    milestones: list[int] = field(default_factory=lambda: [1000, 2000])
    factors: list[float] = field(default_factory=lambda: [0.1, 0.1])

    def __post_init__(self) -> None:
        super().__post_init__()
        self.milestones = [integer("milestones", milestone, 1) for milestone in _listed("milestones", self.milestones)]
        if any(later <= earlier for earlier, later in pairwise(self.milestones)):
            raise OptionError("milestones", self.milestones, "steps that rise")
        self.factors = [number("factors", factor, 0, open_low=True) for factor in _listed("factors", self.factors)]
        if len(self.factors) != len(self.milestones):
            raise OptionError("factors", self.factors, f"{len(self.milestones)} numbers, one for each milestone")

    def after_warmup(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""
        passed = [factor for milestone, factor in zip(self.milestones, self.factors, strict=True) if milestone <= t]
        return lr * math.prod(passed)


@dataclass(kw_only=True)
class InverseTime(Schedule):
    """$alpha_t = a / (1 + beta t)$: falls ever more slowly, to no limit but 0. Source: Robbins & Monro 1951.

    Args:
        beta: after 1/beta steps half of the learning rate is left, >= 0.

    Raises:
        OptionError: a value is out of range.

    >>> [InverseTime(beta=1.0)(t, 6.0) for t in range(3)]
    [6.0, 3.0, 2.0]
    """

    beta: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        self.beta = number("beta", self.beta, 0)

    def after_warmup(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""
        return lr / (1 + self.beta * t)


@dataclass(kw_only=True)
class Exponential(Schedule):
    """$alpha_t = a beta^t$.

    Args:
        beta: factor of each step, > 0; a little above 1 for a search of the largest learning rate that works.

    Raises:
        OptionError: a value is out of range.

    >>> [Exponential(beta=0.5)(t, 8.0) for t in range(3)]
    [8.0, 4.0, 2.0]
    """

    beta: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        self.beta = number("beta", self.beta, 0, open_low=True)

    def after_warmup(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""
        return lr * _power(self.beta, t)


@dataclass(kw_only=True)
class NaturalExponential(Schedule):
    """$alpha_t = a exp(-beta t)$: Exponential with the factor $exp(-beta)$.

    Args:
        beta: rate of the decay per step, >= 0.

    Raises:
        OptionError: a value is out of range.

    >>> import math
    >>> round(NaturalExponential(beta=math.log(2))(3, 8.0), 9)
    1.0
    """

    beta: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        self.beta = number("beta", self.beta, 0)

    def after_warmup(self, t: int, lr: float) -> float:
        """The learning rate t steps after the warm-up."""
        return lr * math.exp(-self.beta * t)


def _power(base: float, exponent: int) -> float:
    """base^exponent, infinite where a float cannot hold it: the run then diverges, as asked."""
    try:
        return base**exponent
    except OverflowError:
        return math.inf


def _listed(key: str, value: object) -> Sequence[object]:
    """The value if it is a list."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise OptionError(key, value, "a list", f"write {key}=[{value}]")
    return value
