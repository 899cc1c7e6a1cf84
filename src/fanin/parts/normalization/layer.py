"""Normalization by the statistics of each example alone, the same in training and at evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from fanin.errors import integer
from fanin.parts.normalization.base import MisfitError, Statistics
from fanin.parts.per_run import stackable


@stackable
@dataclass(kw_only=True)
class LayerNorm(Statistics):
    """Each example to mean 0 and variance 1 over its units, or over all channels and places of its maps.

    $y = gamma (z - mean) / sqrt(var + eps) + beta$, with mean and var (divided by their number) over the units of
    one example: rescaling z changes y only through eps. gamma and beta are one per unit; for maps one per channel,
    where the paper has one per entry. Source: Ba, Kiros & Hinton 2016.

    Args:
        placement: pre_activation (the paper's) or post_activation.
        eps: added to the variance, > 0.
        affine: whether gamma and beta [features] are learned; false: 1 and 0.

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> LayerNorm(affine=False).make(features=2)(torch.tensor([[1.0, 3.0]]))
    tensor([[-1.0000,  1.0000]])
    """

    takes_vectors: ClassVar[bool] = True
    restores: ClassVar[str] = "variance"

    def make(self, features: int, dims: int = 0) -> nn.Module:
        """A fresh module for [B, features] or [B, features, H, W]."""
        if dims:
            return nn.GroupNorm(1, features, eps=self.eps, affine=self.affine)
        return nn.LayerNorm(features, eps=self.eps, elementwise_affine=self.affine)


@stackable
@dataclass(kw_only=True)
class GroupNorm(Statistics):
    """Groups of neighbouring units, or channels, of each example to mean 0 and variance 1.

    $y = gamma (z - mean) / sqrt(var + eps) + beta$, with mean and var (divided by their number) over the
    features / groups units of a group, and all places of their maps. One group is layer normalization, as many as
    channels instance normalization. Source: Wu & He 2018.

    Args:
        placement: pre_activation (the paper's) or post_activation.
        groups: of equally many units or channels; divides the width, or each of the channels' numbers.
        eps: added to the variance, > 0.
        affine: whether gamma and beta [features] are learned; false: 1 and 0.

    Raises:
        OptionError: a value is out of range.
    """

    restores: ClassVar[str] = "variance"

    groups: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("groups", self.groups, 1)

    def make(self, features: int, dims: int = 0) -> nn.Module:
        """A fresh module for [B, features] or [B, features, H, W].

        Raises:
            OptionError: groups does not divide features, or leaves one value to a group.
        """
        if features % self.groups:
            near = max(n for n in range(1, min(self.groups, features) + 1) if features % n == 0)
            allowed = f"a divisor of the {features} features of a layer"
            raise MisfitError("normalization.groups", self.groups, allowed, f"try {near}")
        if self.groups == features and not dims:
            allowed = f"less than the {features} features of a layer"
            raise MisfitError("normalization.groups", self.groups, allowed, "one value has no spread")
        return nn.GroupNorm(self.groups, features, eps=self.eps, affine=self.affine)


@stackable
@dataclass(kw_only=True)
class InstanceNorm(Statistics):
    """Each channel of each example to mean 0 and variance 1 over the places of its map.

    $y = gamma (z - mean) / sqrt(var + eps) + beta$, with mean and var (divided by H W) over one map; for images only.
    Source: Ulyanov, Vedaldi & Lempitsky 2016.

    Args:
        placement: pre_activation (the paper's) or post_activation.
        eps: added to the variance, > 0.
        affine: whether gamma and beta [channels] are learned; false: 1 and 0.

    Raises:
        OptionError: a value is out of range.
    """

    needs_maps: ClassVar[bool] = True

    def make(self, features: int, dims: int = 0) -> nn.Module:
        """A fresh module for [B, features, H, W], H W >= 2.

        Raises:
            OptionError: there are no maps.
        """
        if not dims:
            fix = "one value has no spread; take model=cnn, or normalization=layer"
            raise MisfitError("normalization", "instance", "on the maps of a convolutional model", fix)
        return nn.InstanceNorm2d(features, eps=self.eps, affine=self.affine)


@stackable
@dataclass(kw_only=True)
class RMSNorm(Statistics):
    """Each example to mean square 1 over its units, or over all channels and places of its maps; no mean is removed.

    $y = gamma z / sqrt(mean z^2 + eps)$; gamma is one per unit, for maps one per channel. The paper has no eps.
    Source: Zhang & Sennrich 2019.

    Args:
        placement: pre_activation (the paper's) or post_activation.
        eps: added to the mean square, > 0.
        affine: whether gamma [features] is learned; false: 1.

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> RMSNorm(affine=False).make(features=2)(torch.tensor([[3.0, 3.0]]))
    tensor([[1.0000, 1.0000]])
    """

    takes_vectors: ClassVar[bool] = True
    restores: ClassVar[str] = "mean_square"

    def make(self, features: int, dims: int = 0) -> nn.Module:
        """A fresh module for [B, features] or [B, features, H, W]."""
        return RootMeanSquare(features, dims, self.eps, self.affine)


class RootMeanSquare(nn.Module):
    """y = gamma z / sqrt(mean z^2 + eps), the mean over the features and the axes after them.

    Not nn.RMSNorm, whose gamma has an entry for each place too, and which warns where autocast lowers z.

    Args:
        features: units or channels.
        dims: axes after that of the features.
        eps: added to the mean square.
        affine: whether gamma [features] is learned; false: 1.
    """

    def __init__(self, features: int, dims: int, eps: float, affine: bool) -> None:
        super().__init__()
        self.dims, self.eps = dims, eps
        self.weight = nn.Parameter(torch.ones(features)) if affine else None

    def forward(self, z: Tensor) -> Tensor:
        """Normalized z [..., features, <dims axes>]."""
        axes = tuple(range(-1 - self.dims, 0))
        scaled = z * torch.rsqrt(z.square().mean(axes, keepdim=True) + self.eps)
        return scaled if self.weight is None else scaled * self.weight.view(-1, *[1] * self.dims)

    def extra_repr(self) -> str:
        """eps, for print(model)."""
        return f"eps={self.eps}"
