"""Local response normalization: bright units dim their neighbours."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from fanin.errors import OptionError, integer, number
from fanin.parts.normalization.base import Normalization
from fanin.parts.per_run import stackable


@stackable
@dataclass(kw_only=True)
class LocalResponseNorm(Normalization):
    """Each unit divided by the activity of the channels around it, at the same place; no mean is removed.

    $y_i = a_i / (k + alpha sum_j a_j^2)^beta$, j from max(0, i - size // 2) to min(features - 1, i + size // 2).
    torch.nn.LocalResponseNorm divides alpha by size; here it is the paper's. Nothing is learned.
    Source: Krizhevsky, Sutskever & Hinton 2012, whose values are the defaults.

    Args:
        placement: post_activation (the paper's) or pre_activation.
        k: > 0.
        size: channels in the sum, odd.
        alpha: >= 0.
        beta: >= 0.

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> LocalResponseNorm(k=1.0, size=1, alpha=3.0, beta=0.5).make(features=1)(torch.ones(1, 1))  # 1 / sqrt(1 + 3)
    tensor([[0.5000]])
    """

    placement: str = "post_activation"
    k: float = 2.0
    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        self.k = number("k", self.k, 0, open_low=True)
        if integer("size", self.size, 1) % 2 == 0:
            raise OptionError("size", self.size, "odd", "the sum reaches equally far to both sides")
        self.alpha = number("alpha", self.alpha, 0)
        self.beta = number("beta", self.beta, 0)

    def make(self, features: int, dims: int = 0) -> nn.Module:
        """A fresh module for [B, features] or [B, features, H, W]."""
        return LocalResponse(self.k, self.size, self.alpha, self.beta)


class LocalResponse(nn.Module):
    """y_i = a_i / (k + alpha sum_j a_j^2)^beta over a window of channels; see LocalResponseNorm.

    Args:
        k, size, alpha, beta: of the formula.
    """

    def __init__(self, k: float, size: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.k, self.size, self.alpha, self.beta = k, size, alpha, beta

    def forward(self, units: Tensor) -> Tensor:
        """Divided units of the same shape, [B, features, ...]."""
        reach = self.size // 2
        beyond = [0, 0] * (units.ndim - 2) + [reach, reach]
        squares = F.pad(units.square(), beyond).unfold(1, self.size, 1).sum(-1)
        return units * (self.k + self.alpha * squares).pow(-self.beta)

    def extra_repr(self) -> str:
        """The numbers of the formula, for print(model)."""
        return f"k={self.k}, size={self.size}, alpha={self.alpha}, beta={self.beta}"
