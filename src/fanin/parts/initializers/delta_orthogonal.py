"""Convolutions that are orthogonal matrices at each place of a map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.errors import UserError
from fanin.parts.initializers.draws import write
from fanin.parts.initializers.orthogonal import Orthogonal
from fanin.parts.models.layers import PLAIN, weight_layers
from fanin.theory.weights import Weights


@dataclass(kw_only=True)
class DeltaOrthogonal(Orthogonal):
    """Kernels that are gain times an orthogonal matrix at their centre, and 0 around it.

    `W[:, :, k // 2, k // 2] = gain H` with $H^T H = I$, which asks for at least as many output channels as input
    channels: the convolution keeps the norm of every map, whatever the padding. Matrices are those of
    initializer=orthogonal. Source: Xiao et al. 2018.
    Args:
        gain: factor on the matrices, > 0; auto: the activation's own, see `gain_of`.
        activation: makes the model's activation, for auto.
        bias_variance: variance of a bias, drawn normal, >= 0; above 0 only for models with biases.
        bias, forget_bias: means of the biases, see `ConstantBiases`.

    Raises:
        OptionError: a value is out of range.
        UserError: no gain is known for the activation.

    >>> import torch
    >>> conv = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    >>> DeltaOrthogonal()(conv, lambda name: torch.Generator().manual_seed(0))
    >>> maps = torch.linspace(-1, 1, 18).view(1, 2, 3, 3)
    >>> bool((conv(maps).norm() - maps.norm()).abs() < 1e-6)
    True
    """

    def check(self, model: nn.Module) -> None:
        """Refuse convolutions that have fewer output than input channels, groups, or run backwards.

        Raises:
            UserError: which one.
        """
        super().check(model)
        for name, layer in weight_layers(model):
            weight = layer.get_parameter("weight")
            if weight.ndim == 2:
                continue
            if not isinstance(layer, PLAIN) or layer.groups != 1:
                raise UserError(
                    f"initializer=delta_orthogonal: {name} is no plain convolution of all channels; take "
                    "initializer=orthogonal"
                )
            if weight.shape[0] < weight.shape[1]:
                raise UserError(
                    f"initializer=delta_orthogonal: {name} has {weight.shape[1]} input channels and only "
                    f"{weight.shape[0]} output channels, which keep no norms; take as many channels or more, or "
                    "initializer=orthogonal"
                )

    def weight_laws(self, model: nn.Module) -> dict[nn.Module, Weights | None]:
        """Those of orthogonal matrices; none for convolutions."""
        laws = super().weight_laws(model)
        return {layer: law if layer.get_parameter("weight").ndim == 2 else None for layer, law in laws.items()}

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight with an orthogonal draw at its centre."""
        matrix = torch.empty(weight.shape[:2], device="cpu")
        super().fill(matrix, fan_in, fan_out, generator)
        values = torch.zeros(weight.shape, device="cpu")
        centre: tuple[slice | int, ...] = (slice(None), slice(None), *(side // 2 for side in weight.shape[2:]))
        values[centre] = matrix
        write(weight, values)
