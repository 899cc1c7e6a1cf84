"""Weight layers that compute with a function of their parameter `weight`, in place of the parameter itself.

Initializers, probes, penalties and optimizers see the parameter.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Reparametrized(nn.Module):
    """A weight layer y = x W^T + b, or a convolution, whose W is a function of its parameter `weight`."""

    weight: nn.Parameter

    def prepare(self) -> None:
        """Add parameters and buffers of its own to what was a plain layer."""

    def after_init(self) -> None:
        """Set them once the weight is drawn."""

    def effective(self) -> Tensor:
        """W, of the weight's shape."""
        raise NotImplementedError

    def rows(self) -> Tensor:
        """The weight as a matrix [out, in * receptive]: one row for each unit."""
        return self.weight.flatten(1)


class ReparametrizedLinear(Reparametrized, nn.Linear):
    """A linear layer of such a weight."""

    weight: nn.Parameter

    def forward(self, inputs: Tensor) -> Tensor:
        """x W^T + b."""
        return F.linear(inputs, self.effective(), self.bias)


class ReparametrizedConv2d(Reparametrized, nn.Conv2d):
    """A convolution of such a kernel."""

    weight: nn.Parameter

    def forward(self, maps: Tensor) -> Tensor:
        """W * x + b."""
        convolved: Tensor = self._conv_forward(maps, self.effective(), self.bias)
        return convolved


Kind = TypeVar("Kind", bound=Reparametrized)


def turn(layer: nn.Module, linear: type[Kind], conv: type[Kind]) -> Kind:
    """Turn a plain layer into a reparametrized one: the same object, its weight and bias as they are.

    Args:
        layer: an nn.Linear or nn.Conv2d, not a subclass.
        linear, conv: what to turn either into.

    Raises:
        TypeError: it is neither.
    """
    kinds: dict[type[nn.Module], type[Kind]] = {nn.Linear: linear, nn.Conv2d: conv}
    kind = kinds.get(type(layer))
    if kind is None:
        raise TypeError(f"{type(layer).__name__}: weight and spectral normalization know nn.Linear and nn.Conv2d")
    layer.__class__ = kind
    assert isinstance(layer, kind)
    layer.prepare()
    return layer


def normalized(vectors: Tensor, otherwise: Tensor | float) -> Tensor:
    """Vectors over the last axis divided by their lengths; where a length is 0, `otherwise`."""
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    some = lengths > 0
    return torch.where(some, vectors / torch.where(some, lengths, 1.0), otherwise)
