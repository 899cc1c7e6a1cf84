"""Normalization: settings that make one module per hidden layer, and where it stands.

Not biases or weights of a linear layer: the scale gamma and shift beta here start at 1 and 0, and are neither
initialized nor penalized with the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import nn

from fanin.errors import choice, flag, number

PLACEMENTS = ("pre_activation", "post_activation")


class Normalization(Protocol):
    """What a model asks of a normalization."""

    @property
    def placement(self) -> str:
        """ "pre_activation": norm before the nonlinearity; "post_activation": after it."""

    def make(self, features: int) -> nn.Module | None:
        """A fresh module for [B, features], or None where nothing is normalized."""


@dataclass(kw_only=True)
class NoNorm:
    """No normalization; the placement is accepted, so that a sweep over both may include this option."""

    placement: str = "pre_activation"

    def __post_init__(self) -> None:
        choice("placement", self.placement, PLACEMENTS)

    def make(self, features: int) -> nn.Module | None:
        """None: the model leaves the place out."""
        return None


@dataclass(kw_only=True)
class BatchNorm:
    """Each unit to mean 0 and variance 1 over the batch.

    y = gamma (z - mean) / sqrt(var + eps) + beta, with mean and var (divided by B) over the batch in
    training; at evaluation the running ones: running <- (1 - momentum) running + momentum batch, where the
    running variance takes the unbiased var (divided by B - 1). Source: Ioffe & Szegedy 2015.

    Args:
        placement: pre_activation (the paper's) or post_activation.
        eps: added to the variance, > 0.
        momentum: share of the new batch in the running statistics, in [0, 1].
        affine: whether gamma and beta [features] are learned; false: 1 and 0.

    Raises:
        OptionError: a value is out of range.
    """

    placement: str = "pre_activation"
    eps: float = 1e-5
    momentum: float = 0.1
    affine: bool = True

    def __post_init__(self) -> None:
        choice("placement", self.placement, PLACEMENTS)
        self.eps = number("eps", self.eps, 0, open_low=True)
        self.momentum = number("momentum", self.momentum, 0, 1)
        flag("affine", self.affine)

    def make(self, features: int) -> nn.Module:
        """A fresh module for [B, features], B >= 2 in training."""
        return nn.BatchNorm1d(features, eps=self.eps, momentum=self.momentum, affine=self.affine)


@dataclass(kw_only=True)
class LayerNorm:
    """Each sample to mean 0 and variance 1 over its units, the same in training and at evaluation.

    y = gamma (z - mean) / sqrt(var + eps) + beta, with mean and var (divided by features) over the units of
    one sample: rescaling z changes y only through eps. Source: Ba, Kiros & Hinton 2016.

    Args:
        placement: pre_activation (the paper's) or post_activation.
        eps: added to the variance, > 0.
        affine: whether gamma and beta [features] are learned; false: 1 and 0.

    Raises:
        OptionError: a value is out of range.
    """

    placement: str = "pre_activation"
    eps: float = 1e-5
    affine: bool = True

    def __post_init__(self) -> None:
        choice("placement", self.placement, PLACEMENTS)
        self.eps = number("eps", self.eps, 0, open_low=True)
        flag("affine", self.affine)

    def make(self, features: int) -> nn.Module:
        """A fresh module for [B, features]."""
        return nn.LayerNorm(features, eps=self.eps, elementwise_affine=self.affine)
