"""I.i.d. weights, and those whose variance is given outright."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.errors import number
from fanin.parts.initializers.biases import DrawnBiases
from fanin.parts.initializers.draws import KURTOSIS, TRUNCATED_VARIANCE, draw, write
from fanin.parts.models.layers import fans
from fanin.theory.weights import Weights


@dataclass(kw_only=True)
class Independent(DrawnBiases):
    """I.i.d. weights of mean 0: a standard draw times what gives it the variance; biases in the same way.

    Args:
        bias_variance: variance of a bias, >= 0; above 0 only for models with biases.
        bias, forget_bias: means of the biases, see `ConstantBiases`.

    Raises:
        OptionError: bias_variance is out of range.
    """

    @abstractmethod
    def variance(self, fan_in: int, fan_out: int) -> float:
        """Variance of one weight."""

    def weight_law(self, layer: nn.Module) -> Weights | None:
        """Independent weights."""
        fan_in, fan_out = fans(layer)
        variance = fan_in * self.variance(fan_in, fan_out)
        kind = "normal" if self.distribution == "normal" else "independent"
        kurtosis = KURTOSIS[self.distribution]
        return Weights(variance, kind, self.bias_variance_of(fan_in), kurtosis=kurtosis) if variance > 0 else None

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight with draws of `variance(fan_in, fan_out)`."""
        write(weight, draw(weight.shape, self.variance(fan_in, fan_out), self.distribution, generator))


@dataclass(kw_only=True)
class Normal(Independent):
    """$w ~ N(0, std^2)$, whatever the size of the layer: what was usual before variances followed the fans.

    Args:
        std: standard deviation of a weight, > 0.
        bias_variance: variance of a bias, >= 0; above 0 only for models with biases.
        bias, forget_bias: means of the biases, see `ConstantBiases`.

    Raises:
        OptionError: a value is out of range.

    >>> Normal(std=0.5).variance(fan_in=100, fan_out=50)
    0.25
    """

    std: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        self.std = number("std", self.std, 0, open_low=True)

    def variance(self, fan_in: int, fan_out: int) -> float:
        """std^2."""
        return self.std**2


@dataclass(kw_only=True)
class Uniform(Independent):
    """$w ~ U(-bound, bound)$, $Var = bound^2 / 3$, whatever the size of the layer.

    Args:
        bound: largest absolute value of a weight, > 0.
        bias_variance: variance of a bias, >= 0; above 0 only for models with biases.
        bias, forget_bias: means of the biases, see `ConstantBiases`.

    Raises:
        OptionError: a value is out of range.

    >>> Uniform(bound=3.0).variance(fan_in=100, fan_out=50)
    3.0
    """

    distribution = "uniform"
    bound: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bound = number("bound", self.bound, 0, open_low=True)

    def variance(self, fan_in: int, fan_out: int) -> float:
        """bound^2 / 3."""
        return self.bound**2 / 3


@dataclass(kw_only=True)
class TruncatedNormal(Independent):
    """$w ~ N(0, std^2)$ given $|w| <= 2 std$: $Var = 0.77374 std^2$.

    std is that of the normal before it is cut; VarianceScaling's truncated normal is widened to make up for the
    cut. torch.nn.init.trunc_normal_ takes its bounds as weights, not in standard deviations: the same law is
    trunc_normal_(w, std=std, a=-2*std, b=2*std).

    Args:
        std: standard deviation before the cut, > 0.
        bias_variance: variance of a bias, >= 0; above 0 only for models with biases.
        bias, forget_bias: means of the biases, see `ConstantBiases`.

    Raises:
        OptionError: a value is out of range.

    >>> round(TruncatedNormal(std=1.0).variance(fan_in=100, fan_out=50), 5)
    0.77374
    """

    distribution = "truncated_normal"
    std: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        self.std = number("std", self.std, 0, open_low=True)

    def variance(self, fan_in: int, fan_out: int) -> float:
        """0.77374 std^2."""
        return TRUNCATED_VARIANCE * self.std**2
