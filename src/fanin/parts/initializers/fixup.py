"""Fixup: residual networks without normalization."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from fanin.errors import UserError
from fanin.parts.initializers.base import Initializer, Stream
from fanin.parts.initializers.draws import write
from fanin.parts.initializers.fan_scaled import KaimingNormal
from fanin.parts.models.layers import weight_layers
from fanin.theory.weights import Weights


class Fixup(Initializer):
    """Residual branches that start at 0 and whose first step is as large whatever the depth.

    With L branches of m weight layers each: $std = sqrt(2 / fan_in) L^(-1/(2m-2))$ in a branch, but 0 in its last
    layer (the only one where m = 1) and in the classifier, the model's last weight layer; $sqrt(2 / fan_in)$ in all
    others. The authors' code takes fan_out in place of fan_in; their scalar biases and multipliers are not part of
    this rule. Source: Zhang, Dauphin & Ma 2019.
    """

    def variance(self, fan_in: int, fan_out: int) -> None:
        """None: it depends on the place of the layer."""

    def check(self, model: nn.Module) -> None:
        """Refuse a model without residual branches."""
        _factors(model)

    def weight_laws(self, model: nn.Module) -> dict[nn.Module, Weights | None]:
        """Independent weights, those of some layers 0."""
        factors = _factors(model)
        laws = {layer: KaimingNormal().weight_law(layer) for _, layer in weight_layers(model)}
        return {
            layer: law and replace(law, variance=law.variance * factors.get(layer, 1.0) ** 2)
            for layer, law in laws.items()
        }

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight with what a layer outside of the branches gets."""
        KaimingNormal().fill(weight, fan_in, fan_out, generator)

    def fill_model(self, model: nn.Module, stream: Stream) -> None:
        """Fill all weight layers and their biases."""
        factors = _factors(model)
        super().fill_model(model, stream)
        for layer, factor in factors.items():
            weight = layer.get_parameter("weight")
            write(weight, weight.detach().float().cpu() * factor)


def _factors(model: nn.Module) -> dict[nn.Module, float]:
    """What the standard deviation of a layer is, as a multiple of sqrt(2 / fan_in), where it is not 1."""
    find = getattr(model, "residual_branches", None)
    branches: list[list[nn.Module]] = find() if find else []
    if not branches:
        raise UserError(
            f"initializer=fixup: {type(model).__name__} has no residual branches; "
            "choose model=residual_mlp or model=resnet, or another initializer"
        )
    factors: dict[nn.Module, float] = {}
    for *inner, last in branches:
        # inner holds m - 1 layers
        factors |= {layer: len(branches) ** (-1 / (2 * len(inner))) for layer in inner} | {last: 0.0}
    return factors | {weight_layers(model)[-1][1]: 0.0}
