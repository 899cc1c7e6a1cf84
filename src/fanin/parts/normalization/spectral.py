"""Spectral normalization: weight matrices of largest singular value 1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.errors import integer
from fanin.parts.normalization.base import Normalization
from fanin.parts.normalization.reparametrized import (
    Reparametrized,
    ReparametrizedConv2d,
    ReparametrizedLinear,
    normalized,
    turn,
)
from fanin.parts.per_run import stackable

WARM_UP = 20
"""Power iterations after a draw of the weights."""


@stackable
@dataclass(kw_only=True)
class SpectralNorm(Normalization):
    """Hidden weight layers that multiply no vector's length by more than 1.

    $W / sigma(W)$, with $sigma = u^T W v$ by power iteration: $v = W^T u / ||W^T u||$, $u = W v / ||W v||$, some
    iterations at each training pass, none at evaluation; u is kept from pass to pass and no gradient flows through u
    and v. A kernel counts as the matrix [out, in * receptive], so a convolution is bounded only up to the overlap of
    its places. W is the layer's parameter `weight`. $W = 0$ is left as it is. The last layer stays plain (the paper
    normalizes all, and sets u once from a draw; here that draw is the same for every layer and 20 iterations follow).
    Source: Miyato et al. 2018.
    Args:
        placement: accepted, so that a sweep over it may include this option; nothing is placed.
        iterations: power iterations at each training pass.

    Raises:
        OptionError: a value is out of range.
    """

    iterations: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("iterations", self.iterations, 1)

    def wrap(self, layer: nn.Module) -> nn.Module:
        """The layer, from now on divided by its norm; it must be an nn.Linear or nn.Conv2d."""
        turned: Bounded = turn(layer, SpectralNormLinear, SpectralNormConv2d)
        turned.iterations = self.iterations
        return turned


class Bounded(Reparametrized):
    """W = weight / sigma(weight)."""

    u: Tensor
    iterations: int

    def prepare(self) -> None:
        """Add u [out], the left singular vector."""
        out = len(self.weight)
        self.register_buffer("u", self.weight.detach().new_full((out,), out**-0.5))

    @torch.no_grad()
    def after_init(self) -> None:
        """Find u anew, from a random start that is always the same: not a draw of the run."""
        start = torch.randn(self.u.shape, generator=torch.Generator().manual_seed(0), device="cpu")
        self.u.copy_(normalized(start, 1.0))
        self.u.copy_(self._iterated(WARM_UP))

    def effective(self) -> Tensor:
        """W, of the weight's shape; in training u moves on."""
        u = self._iterated(self.iterations) if self.training else self.u.clone()
        if self.training:
            self.u.copy_(u)
        v = self._right(u)
        # Sums of products, not matrix products: those autocast would lower.
        sigma = (self.rows() * (u.unsqueeze(1) * v)).sum()
        return self.weight / torch.where(sigma > 0, sigma, 1.0)

    def _right(self, u: Tensor) -> Tensor:
        return normalized((self.rows().detach() * u.unsqueeze(1)).sum(0), 0.0)

    def _iterated(self, times: int) -> Tensor:
        u = self.u.clone()
        for _ in range(times):
            u = normalized((self.rows().detach() * self._right(u)).sum(1), u)
        return u


class SpectralNormLinear(Bounded, ReparametrizedLinear):
    """y = x W^T + b with W = weight / sigma(weight)."""


class SpectralNormConv2d(Bounded, ReparametrizedConv2d):
    """y = W * x + b with W = weight / sigma(weight)."""
