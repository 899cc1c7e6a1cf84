"""Measures of activations, gradients and weights: pure functions of tensors, with any number of leading axes.

Leading axes are runs or layers of one shape; a measure reduces the last two (or, for weights, as many as one
weight has) and keeps the leading ones. Sums of squares are taken in float64: at depth 200 and variance 1/n the squares
leave float32's range long before the norms do. A device without it has them taken on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fanin.devices import exact, widened
from fanin.torch_internals import foreach_norm, foreach_sub

SAFE = (1e-14, 1e15)
"""Norms of up to 10^6 entries whose squares, added up, stay well within float32's normal range."""

GROUP = 2**20
"""Entries of differences that are looked at together on a CPU."""


def norm(x: Tensor) -> Tensor:
    """Frobenius norm sqrt(sum x^2) over the last two axes; [..., B, F] -> [...], float64.

    >>> import torch
    >>> norm(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor(5., dtype=torch.float64)
    """
    norms: Tensor = torch.linalg.vector_norm(exact(x).flatten(-2), dim=-1, dtype=torch.float64)
    return norms


def dead_units(x: Tensor) -> Tensor:
    """Share of units that are zero for every example of the batch; [..., B, F] -> [...] in [0, 1].

    >>> import torch
    >>> dead_units(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    tensor(0.5000, dtype=torch.float64)
    """
    return widened(x.abs().amax(dim=-2) == 0).mean(dim=-1)


def zeros(x: Tensor) -> Tensor:
    """Share of entries that are 0; [..., B, F] -> [...] in [0, 1].

    >>> import torch
    >>> zeros(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    tensor(0.7500, dtype=torch.float64)
    """
    return 1 - widened(torch.count_nonzero(x, dim=(-2, -1))) / (x.shape[-2] * x.shape[-1])


def nonfinite(x: Tensor) -> Tensor:
    """Number of entries that are NaN or infinite; [..., B, F] -> [...].

    >>> import torch
    >>> nonfinite(torch.tensor([[torch.inf, 1.0], [torch.nan, 0.0]]))
    tensor(2., dtype=torch.float64)
    """
    finite = torch.count_nonzero(x.abs() < torch.inf, dim=(-2, -1))
    return widened(x.shape[-2] * x.shape[-1] - finite)


def cosine(x: Tensor) -> Tensor:
    """Mean cosine between the activations of two different examples; [..., B, F] -> [...] in [-1, 1].

    (||sum_i u_i||^2 - m) / (m (m - 1)) with u_i = x_i / ||x_i|| over the m examples that are not zero; NaN for m < 2.

    >>> import torch
    >>> cosine(torch.tensor([[1.0, 0.0], [0.0, 2.0]])), cosine(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    (tensor(0., dtype=torch.float64), tensor(1., dtype=torch.float64))
    """
    wide = widened(x)
    length = torch.linalg.vector_norm(wide, dim=-1)
    alive = length != 0
    count = alive.sum(dim=-1).double()
    total = torch.where(alive, 1 / length, 0.0).unsqueeze(-2) @ wide  # sum_i u_i, one product for them all
    cosines = (total.square().sum(dim=(-2, -1)) - count) / (count * (count - 1))
    return torch.where(count > 1, cosines, torch.nan)


def scaled_variance(weight: Tensor, fan_in: int | None = None) -> Tensor:
    """fan_in * Var(W), the unbiased sample variance over all entries; [..., fan_out, fan_in] -> [...].

    Reads c for weights of variance c/fan_in. Kernels come with their further axes flattened into the last one, and
    what they sum over may be another number than its length: `fan_in` says it, None for the length.
    """
    entries = widened(weight).flatten(-2)  # torch's own var takes six times as long
    deviations = entries - entries.mean(dim=-1, keepdim=True)
    return (fan_in or weight.shape[-1]) * deviations.square().sum(dim=-1) / (entries.shape[-1] - 1)


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """Norms of n tensors [R, ...] of any shapes: [n, R], float64; one call for all where R is 1."""
    if tensors[0].shape[0] == 1:
        return torch.stack(foreach_norm(list(map(exact, tensors)), 2, dtype=torch.float64)).unsqueeze(1)
    return torch.stack([norm(tensor.flatten(1).unsqueeze(1)) for tensor in tensors])


def nonfinites(tensors: Sequence[Tensor], norms: Tensor) -> Tensor:
    """Numbers of entries that are not finite, of n tensors [R, B, ...]: [n, R].

    No finite norm [n, R] has one under it: they are counted only where there is something to count, or on CUDA,
    where asking would wait for the device.
    """
    if norms.device.type == "cpu" and bool(norms.isfinite().all()):
        return torch.zeros_like(norms)
    return torch.stack([nonfinite(tensor.flatten(2)) for tensor in tensors])


def quick_norms(tensors: Sequence[Tensor]) -> Tensor:
    """The same with sums in the tensors' own precision, a third of the time, where its range allows.

    Outside of SAFE float32 squares over- or underflow, and bfloat16 rounds the norm itself: then, and on CUDA, where
    asking would wait for the device, the sums are taken in float64 after all.
    """
    precise = all(tensor.dtype.itemsize >= 4 for tensor in tensors)
    if precise and tensors[0].shape[0] == 1 and tensors[0].device.type == "cpu":
        quick = torch.stack(foreach_norm(list(tensors), 2))
        if _is_safe(quick):
            return quick.double().unsqueeze(1)
    return norms(tensors)


def _is_safe(quick: Tensor) -> bool:
    low, high = torch.aminmax(quick)
    return SAFE[0] < float(low) and float(high) < SAFE[1]


def stacked_norms(tensors: Sequence[Tensor]) -> Tensor:
    """Norms [n, R] of what is looked at once, be R 1 or many: with quick sums where the range allows."""
    if tensors[0].shape[0] == 1 or tensors[0].device.type != "cpu" or any(one.dtype.itemsize < 4 for one in tensors):
        return quick_norms(tensors)
    quick = torch.stack([torch.linalg.vector_norm(tensor.flatten(1), dim=1) for tensor in tensors])
    return quick.double() if _is_safe(quick) else norms(tensors)


def differences(after: Sequence[Tensor], before: Sequence[Tensor]) -> Sequence[Tensor]:
    """after - before, tensor by tensor."""
    return foreach_sub(list(after), list(before))


def distances(norms: Callable[[Sequence[Tensor]], Tensor], after: Sequence[Tensor], before: Sequence[Tensor]) -> Tensor:
    """Norms of after - before, [n, R]; on a CPU a few tensors at a time.

    All differences of a large network at once are as much new memory as its weights, which the system gives page by
    page at every look: more time than all else that is measured.
    """
    places, entries = [0], 0
    for place, tensor in enumerate(after):
        if entries and entries + tensor.numel() > GROUP and tensor.device.type == "cpu":
            places, entries = [*places, place], 0
        entries += tensor.numel()
    ends = [*places[1:], len(after)]
    return torch.cat([norms(differences(after[a:b], before[a:b])) for a, b in zip(places, ends, strict=True)])
