"""The learning rate's factor for a batch size, so that a recipe found with one batch can be run with another."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from fanin.errors import integer


class Scaling(ABC):
    """The factor on the learning rate of a step."""

    neutral: ClassVar[bool] = False

    @abstractmethod
    def factor(self, batch_size: int) -> float:
        """The factor for a batch of so many examples."""


@dataclass(kw_only=True)
class NoScaling(Scaling):
    """The learning rate as it is, whatever the batch."""

    neutral: ClassVar[bool] = True

    def factor(self, batch_size: int) -> float:
        """1."""
        return 1.0


@dataclass(kw_only=True)
class Linear(Scaling):
    """$factor = batch_size / base_batch_size$: k times the batch in one step moves as far as k steps of one each.

    Source: Goyal et al. 2017.

    Args:
        base_batch_size: the batch that the learning rate was chosen for, >= 1.

    Raises:
        OptionError: base_batch_size is out of range.

    >>> Linear(base_batch_size=100).factor(400)
    4.0
    """

    base_batch_size: int = 100

    def __post_init__(self) -> None:
        integer("base_batch_size", self.base_batch_size, 1)

    def factor(self, batch_size: int) -> float:
        """The ratio of the batches."""
        return batch_size / self.base_batch_size


@dataclass(kw_only=True)
class Sqrt(Linear):
    """$factor = sqrt(batch_size / base_batch_size)$: keeps the variance of a step, $a^2 sigma^2 / batch_size$.

    The rule for steps whose length does not follow the gradient's, as Adam's. Source: Krizhevsky 2014.

    Args:
        base_batch_size: the batch that the learning rate was chosen for, >= 1.

    Raises:
        OptionError: base_batch_size is out of range.

    >>> Sqrt(base_batch_size=100).factor(400)
    2.0
    """

    def factor(self, batch_size: int) -> float:
        """The root of the ratio."""
        return math.sqrt(super().factor(batch_size))
