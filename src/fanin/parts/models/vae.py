"""The variational autoencoder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from fanin.errors import flag, integer
from fanin.parts.models.layers import empty_linear
from fanin.parts.noise import NoiseModule


class Vae(nn.Module):
    """An encoder to a normal law over codes, a draw from it, and a decoder back to the example.

    $(mu, ln sigma^2) = encoder(x)$;  $z = mu + sigma eps$, $eps ~ N(0, I)$;  $r = decoder(z)$. Encoder and decoder are
    multilayer perceptrons of `depth` weight matrices. The outputs are [r, mu, ln sigma^2] one after the other, as the
    loss elbo wants them; r is what that takes it for: log-odds of pixels, or the pixels. Source: Kingma & Welling 2014.

    Args:
        in_features: D, entries of one flattened example; the classes do not matter.
        latent: Z, entries of a code.
        width: units of every hidden layer.
        depth: weight matrices of the encoder, and of the decoder.
        bias: whether the linear layers have biases.
        activation: called once per hidden layer for a fresh module.

    Raises:
        OptionError: a size is not a positive integer, bias not a boolean.
    """

    needs_loss: ClassVar[str | None] = "elbo"
    trains_with: ClassVar[str] = "optimizer=adam"  # the loss is a sum over pixels, and so is its gradient

    def __init__(
        self,
        *,
        in_features: int,
        latent: int = 8,
        width: int = 128,
        depth: int = 2,
        bias: bool = True,
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        integer("in_features", in_features, 1)
        integer("latent", latent, 1)
        integer("width", width, 1)
        integer("depth", depth, 1)
        flag("bias", bias)
        hidden = [width] * (depth - 1)
        self.encoder = chain([in_features, *hidden, 2 * latent], bias, activation)
        self.noise = Noise()
        self.decoder = chain([latent, *hidden, in_features], bias, activation)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, D + 2 Z] of inputs [B, ...], whose further axes are flattened to D."""
        mu, log_variance = self.encoder(inputs.flatten(1)).chunk(2, dim=-1)
        return torch.cat([self.decoder(self.noise(mu, log_variance)), mu, log_variance], dim=-1)


class Noise(NoiseModule):
    """A draw from N(mu, sigma^2) that lets gradients through to mu and sigma; mu itself at evaluation.

    z = mu + sigma eps, eps ~ N(0, I), so dz/dmu = 1 and dz/dsigma = eps. Source: Kingma & Welling 2014.
    """

    def forward(self, mu: Tensor, log_variance: Tensor) -> Tensor:
        """z [B, Z] of mu and ln sigma^2 [B, Z]."""
        if not self.training:
            return mu
        eps = torch.empty_like(mu).normal_(generator=self.generator)
        return mu + (0.5 * log_variance).exp() * eps


def chain(sizes: list[int], bias: bool, activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Linear layers from each size to the next, an activation after each but the last: linear_1, relu_1, linear_2..."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (before, after) in enumerate(pairwise(sizes), start=1):
        parts[f"linear_{index}"] = empty_linear(before, after, bias)
        if index < len(sizes) - 1:
            act = activation()
            parts[f"{type(act).__name__.lower()}_{index}"] = act
    return nn.Sequential(parts)
