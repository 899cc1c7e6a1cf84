"""Biases that are drawn, with a variance of their own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.errors import OptionError, number
from fanin.parts.initializers.base import Initializer
from fanin.parts.initializers.draws import draw, write
from fanin.parts.models.layers import biases


@dataclass(kw_only=True)
class DrawnBiases(Initializer):
    """Biases of mean 0 and one variance, independent of the weights, in the distribution of the weights.

    They shift what a layer hands on, q = v m + s: with them a network of tanh has a fixed point of its lengths away
    from 0 (Poole et al. 2016). At variance 0 all biases are 0 and nothing is drawn.

    Args:
        bias_variance: s, variance of a bias, >= 0; above 0 only for models with biases.

    Raises:
        OptionError: bias_variance is out of range.
    """

    distribution = "normal"
    bias_variance: float = 0.0

    def __post_init__(self) -> None:
        self.bias_variance = number("bias_variance", self.bias_variance, 0)

    def bias_variance_of(self, fan_in: int) -> float:
        """bias_variance, of every layer."""
        return self.bias_variance

    def check(self, model: nn.Module) -> None:
        """Refuse to draw biases for a model that has none.

        Raises:
            OptionError: what does not fit.
        """
        super().check(model)
        if self.bias_variance > 0 and not biases(model):
            raise OptionError(
                "bias_variance", self.bias_variance, "0 for a model without biases", "or take model.bias=true"
            )

    def fill_bias(self, bias: Tensor, fan_in: int, generator: torch.Generator) -> None:
        """Overwrite a bias [out] with draws, or with zeros where the variance is 0."""
        if self.bias_variance == 0:
            super().fill_bias(bias, fan_in, generator)
        else:
            write(bias, draw(bias.shape, self.bias_variance, self.distribution, generator))
