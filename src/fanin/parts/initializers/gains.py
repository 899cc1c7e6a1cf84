"""The gain that makes up for an activation, a number or from the activation itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from fanin.errors import OptionError, UserError, number
from fanin.parts.activation_maps import activation_map
from fanin.parts.initializers.biases import DrawnBiases

AUTO = "auto"


def gain_of(activation: Callable[[], nn.Module]) -> float:
    """$gain = 1 / sqrt(E phi(z)^2)$, $z ~ N(0, 1)$: what keeps the mean square of an activation's outputs at 1.

    The mean is taken by quadrature, of one's own activation too: sqrt(2) for ReLU, sqrt(2/(1 + slope^2)) for leaky
    ReLU, 1 for the identity and SELU. torch.nn.init.calculate_gain has the same for these but SELU (3/4), and rounder
    numbers for others: 5/3 for tanh, where it is 1.5925, and 1 for the logistic function, where it is 1.8462.

    Args:
        activation: called for a module.

    Raises:
        UserError: the activation is no fixed function of each entry, or its outputs have no mean square above 0.

    >>> round(gain_of(nn.ReLU) ** 2, 6), round(gain_of(nn.Tanh), 4)
    (2.0, 1.5925)
    """
    module = activation()
    phi = activation_map(module)
    name = type(module).__name__
    if phi is None:
        raise UserError(
            f"gain=auto: {name} is no fixed function of each entry, and of no other is a gain known; take a number, "
            "or another activation"
        )
    mean_square = float(phi.mean_square(1.0))
    if not 0 < mean_square < math.inf:
        raise UserError(
            f"gain=auto: the mean square of {name} is {mean_square:g} for inputs of variance 1, which no gain makes up "
            "for; take a number, or another activation"
        )
    return 1 / math.sqrt(mean_square)


@dataclass(kw_only=True)
class GainedWeights(DrawnBiases):
    """Weights with a gain: a number, or `auto`, the activation's own; see `gain_of`.

    Args:
        gain: factor on the weights, > 0; auto: 1/sqrt(E phi(z)^2).
        activation: makes the model's activation, for auto.

    Raises:
        OptionError: a value is out of range.
        UserError: no gain is known for the activation.
    """

    gain: float | str = 1.0
    activation: Callable[[], nn.Module] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gain != AUTO:
            try:
                self.gain = number("gain", self.gain, 0, open_low=True)
            except OptionError as error:
                raise OptionError("gain", error.value, f"{error.allowed}, or {AUTO}") from None
        elif self.activation is not None:
            self.factor  # noqa: B018 (what has no gain is told at once)

    @cached_property
    def factor(self) -> float:
        """The gain as a number.

        Raises:
            UserError: there is none.
        """
        if not isinstance(self.gain, str):
            return self.gain
        if self.activation is None:
            raise UserError("gain=auto: needs the activation whose gain is meant; take a number")
        return gain_of(self.activation)
