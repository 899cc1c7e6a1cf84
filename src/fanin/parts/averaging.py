"""Averaging of the iterates, for any optimizer: training is as without it, evaluation is of the average.

An option gives one number a step. After update number t, counted from 0, has made theta_(t+1) of theta_t:

    average <- average + weight(t) (theta_(t+1) - average)

and where the weight is None the average is left alone. Before any weight the average is the weights themselves, as
they are after each update. A weight of 1 starts the average anew, at the weights of that step.

The running statistics of batch normalization are those of the averaged weights: before an evaluation a pass over the
training part estimates them, for those of the iterates belong to other weights (Izmailov et al. 2018, section 3.2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from fanin.errors import OptionError, integer, number


class Averaging(ABC):
    """What the average takes of each iterate: a function of the step alone, so that a resumed run continues with it."""

    neutral: ClassVar[bool] = False

    @abstractmethod
    def weight(self, step: int) -> float | None:
        """Share of the new iterate in the average after update number `step`, from 0; None: the average stays."""

    def set_length(self, steps: int) -> None:  # noqa: B027 (most need not know)
        """Set the number of steps of the run."""


@dataclass(kw_only=True)
class NoAveraging(Averaging):
    """Evaluation is of the weights themselves."""

    neutral: ClassVar[bool] = True

    def weight(self, step: int) -> float | None:
        """None."""
        return None


@dataclass(kw_only=True)
class Polyak(Averaging):
    """The plain mean of all iterates from one on.

    $average = 1/n sum_(i=start)^(start+n-1) theta_(i+1)$, that is $weight(t) = 1 / (t - start + 1)$.
    Source: Polyak & Juditsky 1992.

    Args:
        start: the first update whose result counts, >= 0.

    Raises:
        OptionError: start is out of range.

    >>> [Polyak(start=2).weight(step) for step in range(4)]
    [None, None, 1.0, 0.5]
    """

    start: int = 0

    def __post_init__(self) -> None:
        integer("start", self.start, 0)

    def weight(self, step: int) -> float | None:
        """1 / (t - start + 1); see Averaging."""
        return 1 / (step - self.start + 1) if step >= self.start else None


@dataclass(kw_only=True)
class Ema(Averaging):
    """An average with a memory of about $1 / (1 - decay)$ steps.

    $average <- decay * average + (1 - decay) * theta$ from the second update on; the first sets it to the weights, so
    that no zeros are in it and nothing is to be corrected. Source: Tarvainen & Valpola 2017.

    Args:
        decay: in [0, 1); 0 is no average.

    Raises:
        OptionError: decay is out of range.

    >>> [Ema(decay=0.75).weight(step) for step in range(3)]
    [1.0, 0.25, 0.25]
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        self.decay = number("decay", self.decay, 0, 1, open_high=True)

    def weight(self, step: int) -> float | None:
        """1 - decay; see Averaging."""
        return 1 - self.decay if step else 1.0


@dataclass(kw_only=True)
class Swa(Averaging):
    """Stochastic weight averaging: the mean of regularly spaced iterates of the last part of a run.

    $average = 1/n sum_(k=0)^(n-1) theta_(start + k every + 1)$: iterates after the updates start, start + every, start
    + 2 every, ... count alike. The paper takes one an epoch at a learning rate that is high or cyclic there, which the
    schedule is to give. Source: Izmailov et al. 2018.

    Args:
        start: the first update whose result counts, >= 0; null: after 3/4 of the run, rounded down.
        every: steps between two that count, >= 1.

    Raises:
        OptionError: a value is out of range; start is null and the length of the run is not set.

    >>> [Swa(start=1, every=2).weight(step) for step in range(5)]
    [None, 1.0, None, 0.5, None]
    """

    start: int | None = None
    every: int = 10
    _last_quarter: int | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.start is not None:
            integer("start", self.start, 0)
        integer("every", self.every, 1)

    def set_length(self, steps: int) -> None:
        """Take the start from the run if it is null."""
        self._last_quarter = 3 * steps // 4

    def weight(self, step: int) -> float | None:
        """1 / (1 + (t - start) / every) where `every` divides t - start; see Averaging."""
        start = self.start if self.start is not None else self._last_quarter
        if start is None:
            raise OptionError("start", None, "an integer >= 0", "or call set_length(steps) first")
        count, rest = divmod(step - start, self.every)
        return 1 / (count + 1) if step >= start and not rest else None
