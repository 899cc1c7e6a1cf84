"""The autoencoder, denoising too."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from fanin.errors import choice, flag, integer, number
from fanin.parts.models.vae import chain
from fanin.parts.noise import NoiseModule

CORRUPTIONS = ("gaussian", "mask")


class Autoencoder(nn.Module):
    """An encoder to a code of few entries and a decoder back to the example, from which noise has been taken.

    $z = encoder(c(x))$, $r = decoder(z)$; the loss compares r with x. Encoder and decoder are multilayer perceptrons of
    `depth` weight matrices, an activation after each but the last. c is the identity or, in training alone, noise:
    gaussian adds $N(0, noise^2)$ to each entry, mask sets a share `noise` of them to 0; then the network learns to take
    the noise away (denoising). With depth=1 and the gaussian reconstruction the best r is the projection on the first
    `latent` principal components. It draws in the forward pass, so its runs are trained one after the other.
    Source: Baldi & Hornik 1989; denoising: Vincent et al. 2008.

    Args:
        in_features: D, entries of one flattened example; the classes do not matter.
        latent: Z, entries of a code.
        width: units of every hidden layer.
        depth: weight matrices of the encoder, and of the decoder.
        noise: standard deviation for gaussian, >= 0; share in [0, 1) for mask; 0 for none.
        corruption: gaussian or mask.
        bias: whether the linear layers have biases.
        activation: called once per hidden layer for a fresh module.

    Raises:
        OptionError: a value is out of range.

    >>> from fanin.parts.activations import relu
    >>> model = Autoencoder(in_features=6, latent=2, width=4, activation=relu)
    >>> [name for name, _ in model.named_parameters()][:3]
    ['encoder.linear_1.weight', 'encoder.linear_1.bias', 'encoder.linear_2.weight']
    """

    needs_loss: ClassVar[str | None] = "reconstruction"
    trains_with: ClassVar[str] = "optimizer=adam"  # the loss is a sum over pixels, and so is its gradient

    def __init__(
        self,
        *,
        in_features: int,
        latent: int = 8,
        width: int = 128,
        depth: int = 2,
        noise: float = 0.0,
        corruption: str = "gaussian",
        bias: bool = True,
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        integer("in_features", in_features, 1)
        integer("latent", latent, 1)
        integer("width", width, 1)
        integer("depth", depth, 1)
        flag("bias", bias)
        choice("corruption", corruption, CORRUPTIONS)
        noise = number("noise", noise, 0) if corruption == "gaussian" else number("noise", noise, 0, 1, open_high=True)
        hidden = [width] * (depth - 1)
        self.corruption = Corruption(corruption, noise) if noise else None
        self.encoder = chain([in_features, *hidden, latent], bias, activation)
        self.decoder = chain([latent, *hidden, in_features], bias, activation)

    def forward(self, inputs: Tensor) -> Tensor:
        """r [B, D] of inputs [B, ...], whose further axes are flattened to D."""
        flat = inputs.flatten(1)
        code = self.encoder(flat if self.corruption is None else self.corruption(flat))
        outputs: Tensor = self.decoder(code)
        return outputs


class Corruption(NoiseModule):
    """Noise on examples in training; at evaluation they stay as they are. Source: Vincent et al. 2008.

    Args:
        kind: gaussian or mask.
        noise: standard deviation, or the share that is set to 0.
    """

    def __init__(self, kind: str, noise: float) -> None:
        super().__init__()
        self.kind, self.noise = kind, noise

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of x."""
        if not self.training:
            return x
        if self.kind == "gaussian":
            return x + self.noise * torch.empty_like(x).normal_(generator=self.generator)
        kept = torch.empty_like(x).uniform_(generator=self.generator) >= self.noise
        return x * kept

    def extra_repr(self) -> str:
        """For print(model)."""
        return f"{self.kind}, noise={self.noise:.4g}"
