"""Initializers: the law of the weights before the first step.

Every draw is made on the CPU in float32, scaled there, and only then copied: one seed gives the same weights
on every device and in every dtype. Draws are standard (variance or bound 1) before they are scaled: whatever
the variance, one seed gives rescaled copies of one draw.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.errors import choice, number
from fanin.models.layers import fans, weight_layers

Stream = Callable[[str], torch.Generator]
"""From a parameter's qualified name ("linear_1.weight") to a CPU generator of its own."""

MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("normal", "uniform", "truncated_normal")

# Variance of a standard normal cut off at +-2: 1 - 2 * 2 phi(2) / (Phi(2) - Phi(-2)) = 0.77374.
_WITHIN_2 = math.erf(math.sqrt(2))
TRUNCATED_VARIANCE = 1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / _WITHIN_2


class Initializer(ABC):
    """Fills every weight layer of a model, each from a stream of its own."""

    @property
    def exact_normal(self) -> bool:
        """Whether the weights are i.i.d. normal, which is when the finite-width band of the theory holds."""
        return False

    @abstractmethod
    def variance(self, fan_in: int, fan_out: int) -> float | None:
        """Variance of one weight, or None where the weights are not i.i.d."""

    @abstractmethod
    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight [out, in, *kernel] in place; the generator is the CPU's."""

    def fill_bias(self, bias: Tensor, fan_in: int, generator: torch.Generator) -> None:
        """Overwrite a bias [out] in place: with zeros, unless an initializer says otherwise."""
        _write(bias, torch.zeros(bias.shape, device="cpu"))

    @torch.no_grad()
    def __call__(self, model: nn.Module, stream: Stream) -> None:
        """Fill all weight layers of the model and their biases; other parameters are left alone."""
        for name, layer in weight_layers(model):
            prefix = f"{name}." if name else ""
            weight = layer.get_parameter("weight")
            fan_in, fan_out = fans(weight)
            self.fill(weight, fan_in, fan_out, stream(f"{prefix}weight"))
            if isinstance(bias := getattr(layer, "bias", None), Tensor):
                self.fill_bias(bias, fan_in, stream(f"{prefix}bias"))


class Independent(Initializer):
    """I.i.d. weights of mean 0: a standard draw times what gives it the variance."""

    distribution = "normal"

    @property
    def exact_normal(self) -> bool:
        """True for normal draws."""
        return self.distribution == "normal"

    @abstractmethod
    def variance(self, fan_in: int, fan_out: int) -> float:
        """Variance of one weight."""

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight with draws of `variance(fan_in, fan_out)`."""
        _write(weight, draw(weight.shape, self.variance(fan_in, fan_out), self.distribution, generator))


@dataclass(kw_only=True)
class VarianceScaling(Independent):
    """Var = c / fan, the study's option: c = 2 with fan_in keeps the mean square of ReLU activations.

    normal: N(0, c/fan); uniform: bound sqrt(3 c/fan); truncated_normal: a normal cut off at 2 of its own
    standard deviations, and widened so that the variance after the cut is c/fan. Source: He et al. 2015.

    Args:
        c: > 0.
        mode: fan_in, fan_out or fan_avg, their mean.
        distribution: normal, uniform or truncated_normal.

    Raises:
        OptionError: a value is out of range.
    """

    c: float = 2.0
    mode: str = "fan_in"
    distribution: str = "normal"

    def __post_init__(self) -> None:
        self.c = number("c", self.c, 0, open_low=True)
        choice("mode", self.mode, MODES)
        choice("distribution", self.distribution, DISTRIBUTIONS)

    def variance(self, fan_in: int, fan_out: int) -> float:
        """c / fan."""
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        return self.c / fan


@dataclass(kw_only=True)
class KaimingNormal(Independent):
    """Var = 2 / ((1 + slope^2) fan): keeps the mean square through leaky ReLUs. Source: He et al. 2015.

    Args:
        mode: fan_in keeps activations, fan_out gradients.
        slope: the activation's slope for z < 0; 0 for ReLU.

    Raises:
        OptionError: a value is out of range.
    """

    mode: str = "fan_in"
    slope: float = 0.0

    def __post_init__(self) -> None:
        choice("mode", self.mode, MODES[:2])
        self.slope = number("slope", self.slope)

    def variance(self, fan_in: int, fan_out: int) -> float:
        """2 / ((1 + slope^2) fan)."""
        return 2 / ((1 + self.slope**2) * (fan_in if self.mode == "fan_in" else fan_out))


@dataclass(kw_only=True)
class XavierNormal(Independent):
    """Var = gain^2 * 2 / (fan_in + fan_out): a compromise between activations and gradients.

    Source: Glorot & Bengio 2010.

    Args:
        gain: factor on the standard deviation, > 0.

    Raises:
        OptionError: gain is out of range.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        self.gain = number("gain", self.gain, 0, open_low=True)

    def variance(self, fan_in: int, fan_out: int) -> float:
        """gain^2 * 2 / (fan_in + fan_out)."""
        return self.gain**2 * 2 / (fan_in + fan_out)


class TorchDefault(Independent):
    """What torch.nn.Linear does by itself: uniform within 1/sqrt(fan_in), Var 1/(3 fan_in), biases too."""

    distribution = "uniform"

    def variance(self, fan_in: int, fan_out: int) -> float:
        """1 / (3 fan_in), of biases too."""
        return 1 / (3 * fan_in)

    def fill_bias(self, bias: Tensor, fan_in: int, generator: torch.Generator) -> None:
        """Overwrite a bias [out] with uniform draws within 1/sqrt(fan_in)."""
        _write(bias, draw(bias.shape, self.variance(fan_in, len(bias)), self.distribution, generator))


@dataclass(kw_only=True)
class Orthogonal(Initializer):
    """A random matrix with orthogonal rows or columns, whichever are fewer.

    W W^T = gain^2 I for out <= in, W^T W = gain^2 I otherwise; Q of the QR decomposition of standard normals,
    its signs such that Q is uniform over the orthogonal matrices. Kernels count as [out, in * receptive].
    Source: Saxe et al. 2014.

    Args:
        gain: factor on the matrix, > 0.

    Raises:
        OptionError: gain is out of range.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        self.gain = number("gain", self.gain, 0, open_low=True)

    def variance(self, fan_in: int, fan_out: int) -> None:
        """None: the entries of an orthogonal matrix depend on each other."""

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight with an orthogonal draw."""
        normals = draw(weight.shape, 1.0, "normal", generator).flatten(1).double()
        wide = normals.shape[0] < normals.shape[1]
        # In float64, so that decompositions of different machines round to the same float32 weights.
        q, r = torch.linalg.qr(normals.T if wide else normals)
        q = q * torch.where(r.diagonal() < 0, -1.0, 1.0).double()
        _write(weight, (self.gain * (q.T if wide else q)).float().reshape(weight.shape))


class Zeros(Initializer):
    """All weights 0, so that all units of a layer are alike and stay alike: the example of what not to do."""

    def variance(self, fan_in: int, fan_out: int) -> float:
        """0."""
        return 0.0

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight with zeros."""
        _write(weight, torch.zeros(weight.shape, device="cpu"))


def draw(shape: torch.Size, variance: float, distribution: str, generator: torch.Generator) -> Tensor:
    """I.i.d. draws of mean 0 and the given variance, float32 on the CPU.

    normal: sqrt(v) z; uniform: U(-1, 1) sqrt(3 v); truncated_normal: z given abs(z) <= 2, times
    sqrt(v / 0.77374), by inverting the distribution: z = sqrt(2) erfinv(u erf(sqrt 2)), u ~ U(-1, 1).

    Args:
        shape: of the result.
        variance: of one entry.
        distribution: normal, uniform or truncated_normal.
        generator: the CPU's.
    """
    sample = torch.randn if distribution == "normal" else torch.rand
    standard = sample(shape, generator=generator, dtype=torch.float32, device="cpu")
    if distribution == "normal":
        return standard * math.sqrt(variance)
    u = 2 * standard - 1
    if distribution == "uniform":
        return u * math.sqrt(3 * variance)
    z = (torch.erfinv(u * _WITHIN_2) * math.sqrt(2)).clamp_(-2, 2)  # the last bit of erfinv may step over 2
    return z * math.sqrt(variance / TRUNCATED_VARIANCE)


def _write(target: Tensor, values: Tensor) -> None:
    """Copy values into a parameter, whatever its device and dtype, unseen by autograd."""
    with torch.no_grad():
        target.copy_(values)
