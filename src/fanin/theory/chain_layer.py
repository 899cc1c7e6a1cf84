"""One layer of a chain as theory sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fanin.errors import integer, number


@dataclass(frozen=True)
class ChainLayer:
    """A fully connected layer, and whether its activation follows.

    Args:
        name: of the layer.
        fan_in, fan_out: inputs and outputs, n_(l-1) and n_l.
        variance: v = fan_in Var(W), > 0.
        bias_variance: s = Var(b), >= 0.
    """

    name: str
    fan_in: int
    fan_out: int
    variance: float
    bias_variance: float = 0.0

    def __post_init__(self) -> None:
        integer("fan_in", self.fan_in, low=1)
        integer("fan_out", self.fan_out, low=1)
        number("variance", self.variance, low=0, open_low=True)
        number("bias_variance", self.bias_variance, low=0)


def fit_together(layers: Sequence[ChainLayer]) -> bool:
    """Whether every layer takes what the one before gives."""
    return all(below.fan_out == above.fan_in for below, above in pairwise(layers))


def check_chain(layers: Sequence[ChainLayer]) -> None:
    """Raises ValueError unless every layer takes what the one before gives.

    >>> check_chain([ChainLayer("first", 784, 100, 2.0), ChainLayer("second", 50, 10, 2.0)])
    Traceback (most recent call last):
    ValueError: second takes 50 inputs, but first gives 100
    """
    for below, above in pairwise(layers):
        if below.fan_out != above.fan_in:
            raise ValueError(f"{above.name} takes {above.fan_in} inputs, but {below.name} gives {below.fan_out}")
