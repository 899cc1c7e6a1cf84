"""Lengths for weight normalization that keep norms from layer to layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.errors import UserError, number
from fanin.parts.initializers.base import Initializer, Stream
from fanin.parts.initializers.orthogonal import Orthogonal
from fanin.parts.models.layers import fans
from fanin.parts.normalization.weight import Gained


@dataclass(kw_only=True)
class WeightNormScaled(Initializer):
    """Weight normalization's $g = sqrt(gamma fan_in / fan_out)$, its directions v orthogonal: for normalization=weight.

    A layer $W_i = g v_i / ||v_i||$ multiplies squared norms by $g^2 fan_out / fan_in = gamma$, of which ReLU leaves
    half: $gamma = 2$ keeps them. Of B residual branches the last layer of each has $1/B$ in place of gamma, so that
    all of them together add as much as comes in. Layers that are not normalized, such as the classifier, are
    orthogonal. Source: Arpit, Campos & Bengio 2019.
    Args:
        gamma: of all layers but the last of a residual branch, > 0; 2 suits ReLU, 1 no activation.

    Raises:
        OptionError: gamma is out of range.
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        self.gamma = number("gamma", self.gamma, 0, open_low=True)

    def variance(self, fan_in: int, fan_out: int) -> None:
        """None: the entries of an orthogonal matrix depend on each other."""

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a direction with an orthogonal draw."""
        Orthogonal().fill(weight, fan_in, fan_out, generator)

    def check(self, model: nn.Module) -> None:
        """Refuse a model without weight normalization.

        Raises:
            UserError: it has none.
        """
        if not any(isinstance(layer, Gained) for layer in model.modules()):
            raise UserError(
                "initializer=weight_norm_scaled: no layer of the model has a weight normalization, whose lengths it "
                "would set; take normalization=weight"
            )

    @torch.no_grad()
    def __call__(self, model: nn.Module, stream: Stream) -> None:
        """Fill all weight layers of the model and their biases, then set the lengths."""
        super().__call__(model, stream)
        find = getattr(model, "residual_branches", None)
        branches: list[list[nn.Module]] = find() if find else []
        last = {branch[-1] for branch in branches}
        for layer in model.modules():
            if isinstance(layer, Gained):
                fan_in, fan_out = fans(layer)
                gamma = 1 / len(branches) if layer in last else self.gamma
                layer.gain.fill_(math.sqrt(gamma * fan_in / fan_out))
