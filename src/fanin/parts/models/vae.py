"""The variational autoencoder."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from fanin.errors import choice, flag, integer
from fanin.parts.models.layers import empty_linear
from fanin.parts.noise import NoiseModule

ESTIMATORS = ("reparameterization", "score_function")


class Vae(nn.Module):
    """An encoder to a normal law over codes, a draw from it, and a decoder back to the example.

    $(mu, ln sigma^2) = encoder(x)$;  $z = mu + sigma eps$, $eps ~ N(0, I)$;  $r = decoder(z)$. Encoder and decoder are
    multilayer perceptrons of `depth` weight matrices. The outputs are [r, mu, ln sigma^2] one after the other, as the
    loss elbo wants them; r is what that takes it for: log-odds of pixels, or the pixels. With the score function as the
    encoder's estimator, z is a constant for the gradient and in training $ln q(z)$ of the drawn code,
    $q = N(mu, sigma^2)$, is one output more. Sources: Kingma & Welling 2014; the score function: Williams
    1992, Mohamed et al. 2020.

    Args:
        in_features: D, entries of one flattened example; the classes do not matter.
        latent: Z, entries of a code.
        width: units of every hidden layer.
        depth: weight matrices of the encoder, and of the decoder.
        bias: whether the linear layers have biases.
        estimator: of the gradient of the expected reconstruction with respect to the encoder: reparameterization,
            $dR/dz dz/dtheta$, or score_function, $R d ln q(z)/dtheta$, which needs no derivative by z; both are right
            in the mean, and a run's evaluation has the variance of each.
        activation: called once per hidden layer for a fresh module.

    Raises:
        OptionError: a size is not a positive integer, bias not a boolean, or there is no such estimator.
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
        estimator: str = ESTIMATORS[0],
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        integer("in_features", in_features, 1)
        integer("latent", latent, 1)
        integer("width", width, 1)
        integer("depth", depth, 1)
        flag("bias", bias)
        self.estimator = choice("estimator", estimator, ESTIMATORS)
        hidden = [width] * (depth - 1)
        self.encoder = chain([in_features, *hidden, 2 * latent], bias, activation)
        self.noise = Noise()
        self.decoder = chain([latent, *hidden, in_features], bias, activation)

    @property
    def estimates_gradient(self) -> bool:
        """Whether what backpropagation gives in training is right in the mean alone, and not the loss's derivative."""
        return self.estimator == "score_function"

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, D + 2 Z] of inputs [B, ...], their axes flattened to D; one more in training with the score function."""
        mu, log_variance = self.encoder(inputs.flatten(1)).chunk(2, dim=-1)
        z = self.noise(mu, log_variance)
        if not self.estimates_gradient or not self.training:
            return torch.cat([self.decoder(z), mu, log_variance], dim=-1)
        z = z.detach()
        return torch.cat([self.decoder(z), mu, log_variance, log_density(z, mu, log_variance)], dim=-1)


def log_density(z: Tensor, mu: Tensor, log_variance: Tensor) -> Tensor:
    """ln N(z; mu, diag sigma^2) in nats: [B, 1] of [B, Z] each.

    >>> log_density(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 2))  # -ln(2 pi)
    tensor([[-1.8379]])
    """
    each = (z - mu).square() / log_variance.exp() + log_variance + math.log(2 * math.pi)
    return -0.5 * each.sum(-1, keepdim=True)


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
