"""Weight normalization: the length of each unit's weights apart from their direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from fanin.parts.normalization.base import Normalization
from fanin.parts.normalization.reparametrized import (
    Reparametrized,
    ReparametrizedConv2d,
    ReparametrizedLinear,
    normalized,
    turn,
)
from fanin.parts.per_run import stackable


@stackable
@dataclass(kw_only=True)
class WeightNorm(Normalization):
    """Hidden weight layers whose rows are a learned length times a learned direction.

    $W_i = g_i v_i / ||v_i||$ for each unit i, over all its incoming weights. v is the layer's parameter `weight`, which
    initializers, penalties and probes see, g [units] its parameter `gain`. g starts as ||v||, so that the initial W is
    the draw itself (the paper sets g and the biases from a first batch). Of $v_i = 0$ comes $W_i = 0$, for good.
    The last layer stays plain. Source: Salimans & Kingma 2016.

    Args:
        placement: accepted, so that a sweep over it may include this option; nothing is placed.

    Raises:
        OptionError: placement is not one.
    """

    restores: ClassVar[str] = "nothing"  # g starts at ||v||

    def wrap(self, layer: nn.Module) -> nn.Module:
        """The layer, from now on with a gain; it must be an nn.Linear or nn.Conv2d."""
        turned: Gained = turn(layer, WeightNormLinear, WeightNormConv2d)
        return turned


class Gained(Reparametrized):
    """W_i = gain_i weight_i / ||weight_i||."""

    gain: nn.Parameter

    def prepare(self) -> None:
        """Set memory aside for the gain [out], on the weight's device."""
        self.gain = nn.Parameter(self.weight.detach().new_empty(len(self.weight)))

    @torch.no_grad()
    def after_init(self) -> None:
        """gain = ||weight||."""
        self.gain.copy_(torch.linalg.vector_norm(self.rows(), dim=1))

    def effective(self) -> Tensor:
        """W, of the weight's shape."""
        return (self.gain.unsqueeze(1) * normalized(self.rows(), 0.0)).view(self.weight.shape)


class WeightNormLinear(Gained, ReparametrizedLinear):
    """y = x W^T + b with W_i = gain_i weight_i / ||weight_i||."""


class WeightNormConv2d(Gained, ReparametrizedConv2d):
    """y = W * x + b with W_i = gain_i weight_i / ||weight_i||."""
