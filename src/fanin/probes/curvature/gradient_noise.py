"""How much the gradients of single examples scatter about their mean."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GradientNoise:
    """Of one run.

    Args:
        noise_scale: $tr(Sigma)/|G|^2$ of the examples' covariance Sigma and the true gradient G: the batch size at
            which noise and gradient are equally large. nan with one example or where a gradient is not finite, inf
            where no gradient can be told.
        signal_to_noise: the mean over parameters of $G_j^2/Sigma_jj$.
    """

    noise_scale: float
    signal_to_noise: float


def gradient_noise(gradients: Iterable[Tensor]) -> GradientNoise:
    """From the gradients of N examples: S = tr(Sigma) by N - 1, |G|^2 = |mean|^2 - S/N, both without bias.

    Args:
        gradients: of some examples, [n, P], some at a time.

    Source: McCandlish et al. 2018, appendix A; the ratio by parameter: Liu et al. 2020.

    >>> import torch
    >>> gradient_noise([torch.tensor([[1.0], [3.0]])])  # mean 2, S = 2, |G|^2 = 4 - 1
    GradientNoise(noise_scale=0.6666666666666666, signal_to_noise=2.0)
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for some in gradients:
        count += len(some)
        total = total + some.sum(0)
        squares = squares + some.square().sum(0)
    mean = total / max(count, 1)
    if count < 2:
        return GradientNoise(torch.nan, torch.nan)
    variance = ((squares - count * mean.square()) / (count - 1)).clamp(min=0)
    scatter, square = float(variance.sum()), float(mean.square().sum())
    if not math.isfinite(square + scatter):
        return GradientNoise(torch.nan, torch.nan)
    signal = square - scatter / count
    there = variance > torch.finfo(variance.dtype).eps * mean.square()
    ratio = float((mean.square()[there] / variance[there]).mean()) if bool(there.any()) else torch.inf
    return GradientNoise(scatter / signal if signal > 0 else torch.inf, ratio)
