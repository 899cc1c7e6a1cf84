"""Gradient clipping: what is done to the gradients between the backward pass and the optimizer's step.

Gradients are stacked, [R, ...] each with a leading axis of runs, [1, ...] of one run; each run is clipped on its own,
so that a run whose gradients are not finite touches no other. A bound may be a tensor [R], with one value per run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fanin.devices import exact, widest
from fanin.errors import number
from fanin.parts.per_run import Number, spread, stackable
from fanin.probes.measures import SAFE, quick_norms
from fanin.torch_internals import foreach_clamp_max_, foreach_clamp_min_, foreach_mul_


def global_norms(gradients: Sequence[Tensor]) -> Tensor:
    """||g||_2 over all parameters at once; [R, ...] each -> [R], float64.

    Right for gradients whose squares leave float32's range, as those of an exploding or vanishing network do: of runs
    outside of SAFE the sums are taken in float64, and of all on CUDA, where asking would wait for the device.

    >>> import torch
    >>> global_norms([torch.tensor([[3.0]]), torch.tensor([[4.0]])])
    tensor([5.], dtype=torch.float64)
    """
    if len(gradients[0]) == 1:
        each = quick_norms(gradients)
    elif gradients[0].device.type != "cpu":
        each = _norms(list(map(exact, gradients)), torch.float64)
    else:
        each = _norms(gradients).double()
        outside = ((each < SAFE[0]) | (each > SAFE[1])).any(dim=0).nonzero().flatten()  # NaN may stay as it is
        if len(outside):
            each[:, outside] = _norms([gradient[outside] for gradient in gradients], torch.float64)
    norms: Tensor = torch.linalg.vector_norm(each, dim=0)
    return norms.to(gradients[0].device, widest(gradients[0].device))


def _norms(tensors: Sequence[Tensor], dtype: torch.dtype | None = None) -> Tensor:
    """Norms of n tensors [R, ...]: [n, R], summed in `dtype`."""
    matrices = [tensor if tensor.ndim > 1 else tensor.unsqueeze(1) for tensor in tensors]
    return torch.stack([torch.linalg.vector_norm(m, dim=tuple(range(1, m.ndim)), dtype=dtype) for m in matrices])


class Clipping(ABC):
    """What is done to the gradients of every step, in place."""

    neutral: ClassVar[bool] = False
    """Whether it changes nothing."""

    @abstractmethod
    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """Clip stacked gradients [R, ...] in place."""


@stackable
@dataclass(kw_only=True)
class NoClipping(Clipping):
    """Gradients stay as they are."""

    neutral: ClassVar[bool] = True

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """Nothing."""


@dataclass(kw_only=True)
class BoundedClipping(Clipping):
    """Clips to a bound.

    Args:
        bound: > 0, in units of the gradient.

    Raises:
        OptionError: bound is out of range.
    """

    bound: float = 1.0

    def __post_init__(self) -> None:
        self.bound = number("bound", self.bound, 0, open_low=True)

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """Clip stacked gradients [R, ...] in place, every run to the same bound."""
        if gradients:
            self.clip(gradients, self.bound)

    @staticmethod
    @abstractmethod
    def clip(gradients: Sequence[Tensor], bound: Number) -> None:
        """Clip stacked gradients [R, ...], one at least, in place; `bound` is a float, or one per run: [R]."""


@stackable
@dataclass(kw_only=True)
class ClipValue(BoundedClipping):
    """Each entry of the gradient into [-bound, bound]: $g <- min(max(g, -bound), bound)$, which bends its direction.

    Infinite entries become +-bound, NaN stays. Source: Mikolov 2012.

    >>> import torch
    >>> gradients = [torch.tensor([[3.0, -0.5]])]
    >>> ClipValue(bound=1.0)(gradients)
    >>> gradients
    [tensor([[ 1.0000, -0.5000]])]
    """

    @staticmethod
    @torch.no_grad()
    def clip(gradients: Sequence[Tensor], bound: Number) -> None:
        """Entry by entry; see BoundedClipping."""
        foreach_clamp_min_(list(gradients), spread(-bound, gradients))
        foreach_clamp_max_(list(gradients), spread(bound, gradients))


@stackable
@dataclass(kw_only=True)
class ClipNorm(BoundedClipping):
    """A run's gradient into the ball of radius bound: $g <- g min(1, bound / ||g||_2)$, which keeps its direction.

    The norm is over all parameters of the run at once. torch.nn.utils.clip_grad_norm_ divides by ||g|| + 1e-6 instead,
    and so leaves a gradient a little inside the ball. A gradient that is not finite is of no use before or after:
    entries become 0 or NaN. Source: Pascanu, Mikolov & Bengio 2013.

    >>> import torch
    >>> gradients = [torch.tensor([[3.0, 4.0]])]
    >>> ClipNorm(bound=1.0)(gradients)
    >>> gradients
    [tensor([[0.6000, 0.8000]])]
    """

    @staticmethod
    @torch.no_grad()
    def clip(gradients: Sequence[Tensor], bound: Number) -> None:
        """Each run by its norm; see BoundedClipping."""
        factors = (bound / global_norms(gradients)).clamp_(max=1)  # 0 of a zero gradient: bound / 0 = inf, and so 1
        if len(factors) == 1:  # one number for all: a third of the time of a list, and no wait for the device
            foreach_mul_(list(gradients), factors[0].to(gradients[0].dtype))
        else:
            foreach_mul_(list(gradients), spread(factors, gradients))
