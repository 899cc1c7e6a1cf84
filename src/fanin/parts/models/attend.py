"""Ways of attention: what each token takes from all others. Q, K, V are [B, heads, n, d]."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin.parts.models.layers import empty_linear
from fanin.streams import generator


class SoftmaxAttention(nn.Module):
    """Scaled dot-product attention, n^2 d operations a head.

    $softmax((Q K^T)/sqrt(d)) V$, the softmax over the tokens that K is of. Source: Vaswani et al. 2017.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[B, heads, n, d] of Q [B, heads, n, d] and K, V [B, heads, m, d]."""
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        return scores.softmax(-1) @ value


class LinearAttention(nn.Module):
    """Attention by a kernel of its own, n d^2 operations a head: sums over the tokens are made once for all.

    $a_i = (phi(q_i)^T S) / (phi(q_i)^T s)$, $S = sum_j phi(k_j) v_j^T$, $s = sum_j phi(k_j)$, $phi(x) = elu(x) + 1$,
    which is $x + 1$ for $x > 0$ and $exp(x)$ otherwise. Source: Katharopoulos et al. 2020.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[B, heads, n, d] of Q [B, heads, n, d] and K, V [B, heads, m, d]."""
        query, key = _positive(query), _positive(key)
        return query @ (key.mT @ value) / (query @ key.sum(-2).unsqueeze(-1))


class RandomFeatureAttention(nn.Module):
    """Softmax attention by positive random features, n m d operations a head.

    $phi(x) = exp(W x - ||x||^2/2)/sqrt(m)$ of $x = q/d^(1/4)$ or $x = k/d^(1/4)$ has
    $E phi(q)^T phi(k) = exp(q^T k/sqrt(d))$ for rows of W from N(0, I), so that
    $a_i = (phi(q_i)^T S) / (phi(q_i)^T s)$, $S = sum_j phi(k_j) v_j^T$, $s = sum_j phi(k_j)$, goes to softmax attention
    as m grows, with an error of order $m^(-1/2)$. The rows are orthogonal in blocks of d, which leaves the mean as it
    is and makes the variance smaller. They are fixed, a buffer of the model, and the same in every run.
    Source: Choromanski et al. 2021 (FAVOR+).

    Args:
        dimension: d.
        features: m.
        place: of the layer among those of the model, so that each has rows of its own.
    """

    directions: Tensor

    def __init__(self, dimension: int, features: int, place: int = 0) -> None:
        super().__init__()
        directions = torch.empty(features, dimension)
        if not directions.is_meta:
            directions.copy_(orthogonal_rows(features, dimension, generator(0, "random features", place)))
        self.register_buffer("directions", directions)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[B, heads, n, d] of Q [B, heads, n, d] and K, V [B, heads, m, d]."""
        ours, theirs = (log_features(x / x.shape[-1] ** 0.25, self.directions) for x in (query, key))
        # A factor of each feature goes from keys to queries, and one of each query is in numerator and denominator:
        # then some feature of a query is 1, and that of some key as well, however large the exponents are.
        largest = theirs.amax(-2, keepdim=True).detach()
        theirs, ours = (theirs - largest).exp(), ours + largest
        ours = (ours - ours.amax(-1, keepdim=True).detach()).exp()
        return ours @ (theirs.mT @ value) / (ours @ theirs.sum(-2).unsqueeze(-1))


def log_features(x: Tensor, directions: Tensor) -> Tensor:
    """ln phi(x) [..., m] of x [..., d] and W [m, d]; see `RandomFeatureAttention`.

    >>> log_features(torch.zeros(1, 2), torch.ones(4, 2)).exp().square().sum()  # phi(0)^T phi(0) = 1
    tensor(1.)
    """
    return x @ directions.T - x.square().sum(-1, keepdim=True) / 2 - 0.5 * math.log(len(directions))


def orthogonal_rows(features: int, dimension: int, stream: torch.Generator) -> Tensor:
    """W [m, d] float64 on the CPU: each row is N(0, I), and d in a row are orthogonal to each other."""
    kind: dict[str, Any] = {"generator": stream, "dtype": torch.float64, "device": "cpu"}
    blocks = [torch.randn(dimension, dimension, **kind) for _ in range(-(-features // dimension))]
    pairs = [torch.linalg.qr(block) for block in blocks]
    # With the signs of R's diagonal Q is uniform among all rotations and reflections (Mezzadri 2007).
    rows: Tensor = torch.cat([(q * r.diagonal().sign()).T for q, r in pairs])[:features]
    lengths: Tensor = torch.randn(features, dimension, **kind).norm(dim=1, keepdim=True)
    return rows * lengths


class LowRankAttention(nn.Module):
    """Softmax attention to `rank` mixtures of the tokens, n rank d operations a head.

    $softmax((Q (E K)^T)/sqrt(d)) (F V)$, E and F learned, [rank, n] each, shared by the heads of one layer and without
    biases. Source: Wang et al. 2020 (Linformer).

    Args:
        tokens: n.
        rank: how many mixtures.
    """

    def __init__(self, tokens: int, rank: int) -> None:
        super().__init__()
        self.keys = empty_linear(tokens, rank, bias=False)
        self.values = empty_linear(tokens, rank, bias=False)
        self.softmax = SoftmaxAttention()

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[B, heads, n, d] of Q, K, V of the same shape."""
        mixed: Tensor = self.softmax(query, self.keys(key.mT).mT, self.values(value.mT).mT)
        return mixed


class MultiHead(nn.Module):
    """Attention of all tokens to all in `heads` subspaces of width / heads dimensions each.

    $x -> concat_h(attend(x W_(Q h), x W_(K h), x W_(V h))) W_O$ (see `SoftmaxAttention`, `LowRankAttention`,
    `LinearAttention` and `RandomFeatureAttention`). Source: Vaswani et al. 2017.

    Args:
        width: entries of a token; a multiple of heads.
        heads: how many.
        bias: whether the four linear layers have biases.
        attend: from Q, K, V [B, heads, n, width / heads] to what each token takes.
    """

    def __init__(self, width: int, heads: int, *, bias: bool, attend: nn.Module) -> None:
        super().__init__()
        self.heads = heads
        self.query = empty_linear(width, width, bias)
        self.key = empty_linear(width, width, bias)
        self.value = empty_linear(width, width, bias)
        self.attend = attend
        self.out = empty_linear(width, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, width] of tokens [B, n, width]."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        taken: Tensor = self.out(self.attend(query, key, value).transpose(1, 2).flatten(2))
        return taken


def _positive(x: Tensor) -> Tensor:
    """elu(x) + 1, without the cancellation that makes it 0 for x < -17 in float32."""
    return torch.where(x > -1, F.elu(x) + 1, x.clamp(max=0).exp())
