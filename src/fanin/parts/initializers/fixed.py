"""Weights without chance: all alike, or the identity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.errors import number
from fanin.parts.initializers.biases import ConstantBiases
from fanin.parts.initializers.draws import write


@dataclass(kw_only=True)
class Constant(ConstantBiases):
    """All weights equal, $w = value$, so that all units of a layer are alike and stay alike.

    The gradient is the same for all units of a layer: training moves a network that is one unit wide.

    Args:
        value: of every weight.
        bias, forget_bias: of the biases, see `ConstantBiases`.

    Raises:
        OptionError: a value is not a finite number.

    >>> import torch
    >>> weight = torch.empty(1, 2)
    >>> Constant(value=0.5).fill(weight, 2, 1, torch.Generator())
    >>> weight
    tensor([[0.5000, 0.5000]])
    """

    value: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        self.value = number("value", self.value)

    def variance(self, fan_in: int, fan_out: int) -> float:
        """0."""
        return 0.0

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight with the value."""
        write(weight, torch.full(weight.shape, self.value, dtype=torch.float32, device="cpu"))


class Zeros(ConstantBiases):
    """All weights 0, $w = 0$; the example of what not to do.

    No gradient passes through a layer whose weights are 0, so every layer but the last has none; and the last has
    none either where the activation is 0 at 0, as relu and tanh are, for then its inputs are 0: only its bias learns.
    """

    def variance(self, fan_in: int, fan_out: int) -> float:
        """0."""
        return 0.0

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight with zeros."""
        write(weight, torch.zeros(weight.shape, device="cpu"))


class Identity(ConstantBiases):
    """Each layer hands its input on: $W x = x$ for a square matrix, its first entries or zeros beside it otherwise.

    A kernel has the same identity from channel i to channel i at its centre k // 2, zeros around: with the usual
    padding its output is its input. Source: Le, Jaitly & Hinton 2015.

    >>> import torch
    >>> weight = torch.empty(2, 3)
    >>> Identity().fill(weight, 3, 2, torch.Generator())
    >>> weight
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """

    def variance(self, fan_in: int, fan_out: int) -> None:
        """None: nothing is drawn."""

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight with the identity."""
        values = torch.zeros(weight.shape, device="cpu")
        centre: tuple[slice | int, ...] = (slice(None), slice(None), *(side // 2 for side in weight.shape[2:]))
        values[centre].fill_diagonal_(1)
        write(weight, values)


class Dirac(Identity):
    """The identity by the name that it has for convolutions: torch.nn.init.dirac_, and eye_ for matrices.

    Source: Zagoruyko & Komodakis 2017.
    """
