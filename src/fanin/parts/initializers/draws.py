"""Random draws and how they reach a parameter: see the rules in the package's docstring."""

from __future__ import annotations

import math

import torch
from torch import Tensor

DISTRIBUTIONS = ("normal", "uniform", "truncated_normal")

# Variance of a standard normal cut off at +-2: 1 - 2 * 2 phi(2) / (Phi(2) - Phi(-2)) = 0.77374.
_WITHIN_2 = math.erf(math.sqrt(2))
TRUNCATED_VARIANCE = 1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / _WITHIN_2

KURTOSIS = {
    "normal": 3.0,
    "uniform": 1.8,
    "truncated_normal": (3 * TRUNCATED_VARIANCE - 16 * math.exp(-2) / math.sqrt(2 * math.pi) / _WITHIN_2)
    / TRUNCATED_VARIANCE**2,
}
"""E w^4 / (E w^2)^2 of the distributions."""


def draw(shape: torch.Size, variance: float, distribution: str, generator: torch.Generator) -> Tensor:
    """I.i.d. draws of mean 0 and the given variance, float32 on the CPU.

    normal: sqrt(v) z; uniform: U(-1, 1) sqrt(3 v); truncated_normal: z given abs(z) <= 2, times
    sqrt(v / 0.77374), by inverting the distribution: z = sqrt(2) erfinv(u erf(sqrt 2)), u ~ U(-1, 1).

    Args:
        shape: of the result.
        variance: of one entry.
        distribution: normal, uniform or truncated_normal.
        generator: the CPU's.

    >>> import torch
    >>> drawn = draw(torch.Size([10000]), 4.0, "uniform", torch.Generator().manual_seed(0))
    >>> bool(drawn.abs().max() <= 12**0.5), round(float(drawn.var()), 1)
    (True, 4.0)
    """
    sample = torch.randn if distribution == "normal" else torch.rand
    standard = sample(shape, generator=generator, dtype=torch.float32, device="cpu")
    if distribution == "normal":
        return standard * math.sqrt(variance)
    u = 2 * standard - 1
    if distribution == "uniform":
        return u * math.sqrt(3 * variance)
    z = (torch.erfinv(u * _WITHIN_2) * math.sqrt(2)).clamp_(-2, 2)  # the last bit of erfinv may step over 2
    return z * math.sqrt(variance / TRUNCATED_VARIANCE)


def write(target: Tensor, values: Tensor) -> None:
    """Copy values into a parameter, whatever its device and dtype, unseen by autograd."""
    with torch.no_grad():
        target.copy_(values)
