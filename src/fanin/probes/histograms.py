"""Histograms of what flows through each weight layer, and of its weights, for R runs at once.

Bins are of equal width between the smallest and the largest finite value of a layer, so that no range needs to be
known before; counts of a network with 10^6 weights are as many numbers as those of one with ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fanin.devices import widened
from fanin.probes.capture import Observation

OF = ("activations", "weights", "gradients")
"""What there are histograms of: outputs of each weight layer's block, weights, gradients of the loss for them."""

BINS = 30
"""As many as TensorBoard shows."""


class Place(NamedTuple):
    """What a histogram is of: one of OF, the layer's position over depth, from 1, and its name."""

    of: str
    number: int
    layer: str


Histograms = tuple[list[Place], Tensor]
"""n places, and [R, n, 3 + BINS]: low and high end, how many are not finite, and the counts."""


def histograms(values: Tensor) -> Tensor:
    """Low and high end of the finite values, how many are not finite, and counts of them in BINS bins of equal width.

    The last bin includes its high end, as `numpy.histogram` has it. Where all values are one, the ends are half a unit
    below and above it; where none is finite, 0 and 1.

    Args:
        values: [R, ...].

    Returns:
        [R, 3 + BINS] in float64.

    >>> import torch
    >>> low, high, lost, *counts = histograms(torch.tensor([[0.0, 1.0, 30.0, torch.nan]]))[0].tolist()
    >>> low, high, lost, counts[0], counts[1], counts[-1], sum(counts)
    (0.0, 30.0, 1.0, 1.0, 1.0, 1.0, 3.0)
    """
    flat = widened(values.detach()).flatten(1)
    finite = flat.isfinite()
    low = torch.where(finite, flat, torch.inf).amin(dim=1)
    high = torch.where(finite, flat, -torch.inf).amax(dim=1)
    empty, point = low > high, low == high
    low, high = torch.where(point, low - 0.5, low), torch.where(point, high + 0.5, high)
    low, high = torch.where(empty, 0.0, low), torch.where(empty, 1.0, high)
    shares = (flat - low[:, None]) / (high - low)[:, None]
    bins = torch.where(finite, shares * BINS, 0.0).long().clamp(0, BINS - 1)
    counts = torch.zeros(len(flat), BINS, dtype=flat.dtype, device=flat.device)
    counts.scatter_add_(1, bins, finite.to(flat.dtype))
    lost = (~finite).sum(dim=1).to(flat.dtype)
    return torch.cat([torch.stack([low, high, lost], dim=1), counts], dim=1)


def measure_histograms(seen: Observation, of: Sequence[str]) -> Histograms:
    """Histograms of the weight layers of R runs, of what was asked for and was seen."""
    activations = [seen.activations[end] for end in seen.block_ends]
    tensors = {"activations": activations, "weights": seen.weights, "gradients": seen.gradients}
    places, rows = [], []
    for name in of:
        if not tensors[name]:  # without a loss there are no gradients
            continue
        for at, layer in enumerate(seen.weight_names):
            if seen.chosen(layer):
                places.append(Place(name, seen.numbers.get(layer, at + 1), layer))
                rows.append(histograms(tensors[name][at]))
    return places, torch.stack(rows, dim=1).cpu() if rows else torch.zeros(1, 0, 3 + BINS)


def histogram_tags(places: Sequence[Place]) -> tuple[str, ...]:
    """TensorBoard's tags: histograms_<of>/<index>_<layer>, the index as wide as the largest."""
    width = len(str(max((place.number for place in places), default=0)))
    return tuple(f"histograms_{place.of}/{place.number:0{width}d}_{place.layer}" for place in places)
