"""I.i.d. weights whose variance follows the fans of their layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.errors import choice, number
from fanin.parts.initializers.base import Initializer
from fanin.parts.initializers.draws import DISTRIBUTIONS, KURTOSIS, draw, write
from fanin.parts.initializers.gains import GainedWeights
from fanin.parts.initializers.independent import Independent
from fanin.parts.models.layers import fans
from fanin.theory.weights import Weights

MODES = ("fan_in", "fan_out", "fan_avg")


@dataclass(kw_only=True)
class VarianceScaling(Independent):
    """$Var = c / fan$, the study's option: $c = 2$ with fan_in keeps the mean square of ReLU activations.

    normal: $N(0, c/fan)$; uniform: bound $sqrt(3 c/fan)$; truncated_normal: a normal cut off at 2 of its own
    standard deviations, and widened so that the variance after the cut is $c/fan$. Source: He et al. 2015.

    Args:
        c: > 0.
        mode: fan_in, fan_out or fan_avg, their mean.
        distribution: normal, uniform or truncated_normal.
        bias_variance: variance of a bias, >= 0; above 0 only for models with biases.
        bias, forget_bias: means of the biases, see `ConstantBiases`.

    Raises:
        OptionError: a value is out of range.

    >>> VarianceScaling(c=2).variance(fan_in=100, fan_out=50)
    0.02
    """

    c: float = 2.0
    mode: str = "fan_in"
    distribution: str = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.c = number("c", self.c, 0, open_low=True)
        choice("mode", self.mode, MODES)
        choice("distribution", self.distribution, DISTRIBUTIONS)

    def variance(self, fan_in: int, fan_out: int) -> float:
        """c / fan."""
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        return self.c / fan


@dataclass(kw_only=True)
class KaimingNormal(Independent):
    """$Var = 2 / ((1 + slope^2) fan)$: keeps the mean square through leaky ReLUs. Source: He et al. 2015.

    Args:
        mode: fan_in keeps activations, fan_out gradients.
        slope: the activation's slope for z < 0; 0 for ReLU.
        bias_variance: variance of a bias, >= 0; above 0 only for models with biases.
        bias, forget_bias: means of the biases, see `ConstantBiases`.

    Raises:
        OptionError: a value is out of range.

    >>> KaimingNormal().variance(fan_in=100, fan_out=50), KaimingNormal(slope=1.0).variance(fan_in=100, fan_out=50)
    (0.02, 0.01)
    """

    mode: str = "fan_in"
    slope: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("mode", self.mode, MODES[:2])
        self.slope = number("slope", self.slope)

    def variance(self, fan_in: int, fan_out: int) -> float:
        """2 / ((1 + slope^2) fan)."""
        return 2 / ((1 + self.slope**2) * (fan_in if self.mode == "fan_in" else fan_out))


class KaimingUniform(KaimingNormal):
    """KaimingNormal's variance from a uniform law: bound $sqrt(6 / ((1 + slope^2) fan))$. Source: He et al. 2015."""

    distribution = "uniform"


@dataclass(kw_only=True)
class XavierNormal(GainedWeights, Independent):
    """$Var = gain^2 * 2 / (fan_in + fan_out)$: a compromise between activations and gradients.

    Source: Glorot & Bengio 2010.

    Args:
        gain: factor on the standard deviation, > 0; auto: the activation's own, see `gain_of`.
        activation: makes the model's activation, for auto.
        bias_variance: variance of a bias, >= 0; above 0 only for models with biases.
        bias, forget_bias: means of the biases, see `ConstantBiases`.

    Raises:
        OptionError: a value is out of range.
        UserError: no gain is known for the activation.

    >>> XavierNormal().variance(fan_in=30, fan_out=10)
    0.05
    >>> round(XavierNormal(gain="auto", activation=nn.ReLU).variance(fan_in=30, fan_out=10), 9)
    0.1
    """

    def variance(self, fan_in: int, fan_out: int) -> float:
        """gain^2 * 2 / (fan_in + fan_out)."""
        return self.factor**2 * 2 / (fan_in + fan_out)


class XavierUniform(XavierNormal):
    """XavierNormal's variance from a uniform law: bound $gain sqrt(6 / (fan_in + fan_out))$, as its source has it."""

    distribution = "uniform"


class LecunNormal(Independent):
    """$Var = 1 / fan_in$: keeps the mean square through linear layers, and through SELU's self-normalizing ones.

    Some libraries cut this normal off at 2 standard deviations; this one is whole, as in Klambauer et al. 2017.
    Source: LeCun, Bottou, Orr & Mueller 1998.

    Args:
        bias_variance: variance of a bias, >= 0; above 0 only for models with biases.
        bias, forget_bias: means of the biases, see `ConstantBiases`.

    Raises:
        OptionError: bias_variance is out of range.

    >>> LecunNormal().variance(fan_in=100, fan_out=50)
    0.01
    """

    def variance(self, fan_in: int, fan_out: int) -> float:
        """1 / fan_in."""
        return 1 / fan_in


class TorchDefault(Initializer):
    """What torch.nn.Linear does by itself: uniform within $1/sqrt(fan_in)$, Var $1/(3 fan_in)$, biases too."""

    def variance(self, fan_in: int, fan_out: int) -> float:
        """1 / (3 fan_in), of biases too."""
        return 1 / (3 * fan_in)

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight with uniform draws within 1/sqrt(fan_in)."""
        write(weight, draw(weight.shape, self.variance(fan_in, fan_out), "uniform", generator))

    def bias_variance_of(self, fan_in: int) -> float:
        """1 / (3 fan_in), as of a weight."""
        return 1 / (3 * fan_in)

    def weight_law(self, layer: nn.Module) -> Weights:
        """Independent weights of v = 1/3, and biases of s = 1 / (3 fan_in)."""
        return Weights(1 / 3, "independent", self.bias_variance_of(fans(layer)[0]), kurtosis=KURTOSIS["uniform"])

    def fill_bias(self, bias: Tensor, fan_in: int, generator: torch.Generator) -> None:
        """Overwrite a bias [out] with uniform draws within 1/sqrt(fan_in)."""
        write(bias, draw(bias.shape, self.variance(fan_in, len(bias)), "uniform", generator))
