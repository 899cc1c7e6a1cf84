"""Ways of attention: what each token takes from all others. Q, K, V are [B, heads, n, d]."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin.parts.models.layers import empty_linear


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

    $x -> concat_h(attend(x W_(Q h), x W_(K h), x W_(V h))) W_O$ (see `SoftmaxAttention`, `LowRankAttention` and
    `LinearAttention`). Source: Vaswani et al. 2017.

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
