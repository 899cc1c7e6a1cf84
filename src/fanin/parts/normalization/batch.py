"""Normalization by the statistics of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from fanin.errors import number
from fanin.parts.normalization.base import Statistics
from fanin.parts.per_run import stackable


@stackable
@dataclass(kw_only=True)
class BatchNorm(Statistics):
    """Each unit to mean 0 and variance 1 over the batch; each channel over the batch and the places of its map.

    $y = gamma (z - mean) / sqrt(var + eps) + beta$, with mean and var (divided by B, or B H W) over the batch in
    training; at evaluation the running ones: $running <- (1 - momentum) running + momentum batch$, where the
    running variance takes the unbiased var (divided by $B - 1$). Source: Ioffe & Szegedy 2015.

    Args:
        placement: pre_activation (the paper's) or post_activation.
        eps: added to the variance, > 0.
        momentum: share of the new batch in the running statistics, in [0, 1].
        affine: whether gamma and beta [features] are learned; false: 1 and 0.

    Raises:
        OptionError: a value is out of range.
    """

    mixes_examples: ClassVar[bool] = True

    momentum: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.momentum = number("momentum", self.momentum, 0, 1)

    def make(self, features: int, dims: int = 0) -> nn.Module:
        """A fresh module for [B, features], B >= 2 in training, or [B, features, H, W]."""
        kind = nn.BatchNorm2d if dims else nn.BatchNorm1d
        return kind(features, eps=self.eps, momentum=self.momentum, affine=self.affine)
