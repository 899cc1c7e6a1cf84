"""Gradient clipping: what is done to the gradients between the backward pass and the optimizer's step.

Gradients are stacked, [R, ...] each with a leading axis of runs, [1, ...] of one run; each run is clipped on its own,
so that a run whose gradients are not finite touches no other.
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
from fanin.parts.per_run import spread, stackable
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
    def __call__(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor]) -> None:
        """Clip stacked gradients [R, ...] in place; `parameters` are what they are gradients of."""


@stackable
@dataclass(kw_only=True)
class NoClipping(Clipping):
    """Gradients stay as they are."""

    neutral: ClassVar[bool] = True

    def __call__(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor] = ()) -> None:
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


@stackable
@dataclass(kw_only=True)
class ClipValue(BoundedClipping):
    """Each entry of the gradient into [low, high]: $g <- min(max(g, low), high)$, which bends its direction.

    Infinite entries become one of the ends, NaN stays. Source: Mikolov 2012.

    Args:
        bound: > 0, in units of the gradient; the ends are -bound and bound where they are not given.
        low: the lower end, null for -bound.
        high: the upper end, null for bound.

    Raises:
        OptionError: bound is out of range; low is above high.

    >>> import torch
    >>> gradients = [torch.tensor([[3.0, -0.5]])]
    >>> ClipValue(bound=1.0)(gradients)
    >>> gradients
    [tensor([[ 1.0000, -0.5000]])]
    >>> ClipValue(low=-0.2, high=2.0)(gradients)
    >>> gradients
    [tensor([[ 1.0000, -0.2000]])]
    """

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.low = None if self.low is None else number("low", self.low)
        self.high = None if self.high is None else number("high", self.high)
        number("high", self.bound if self.high is None else self.high, -self.bound if self.low is None else self.low)

    @torch.no_grad()
    def __call__(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor] = ()) -> None:
        """Clip stacked gradients [R, ...] in place, entry by entry."""
        if gradients:
            foreach_clamp_min_(list(gradients), -self.bound if self.low is None else self.low)
            foreach_clamp_max_(list(gradients), self.bound if self.high is None else self.high)


@stackable
@dataclass(kw_only=True)
class ClipNorm(BoundedClipping):
    """A run's gradient into the ball of radius bound: $g <- g min(1, bound / ||g||_2)$, which keeps its direction.

    With least, gradients that are too short are lengthened likewise: $g <- g max(1, least / ||g||_2)$; one of zeros
    stays. The norm is over all parameters of the run at once. torch.nn.utils.clip_grad_norm_ divides by
    ||g|| + 1e-6 instead, and so leaves a gradient a little inside the ball. A gradient that is not finite is of no use
    before or after: entries become 0 or NaN. Source: Pascanu, Mikolov & Bengio 2013.

    Args:
        bound: the largest norm, > 0, in units of the gradient.
        least: the smallest norm, in [0, bound].

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> gradients = [torch.tensor([[3.0, 4.0]])]
    >>> ClipNorm(bound=1.0)(gradients)
    >>> gradients
    [tensor([[0.6000, 0.8000]])]
    >>> ClipNorm(bound=10.0, least=5.0)(gradients)
    >>> gradients
    [tensor([[3., 4.]])]
    """

    least: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.least = number("least", self.least, 0, self.bound)

    @torch.no_grad()
    def __call__(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor] = ()) -> None:
        """Clip stacked gradients [R, ...] in place, each run by its own norm."""
        if not gradients:
            return
        norms = global_norms(gradients)
        factors = (self.bound / norms).clamp_(max=1)  # 0 of a zero gradient: bound / 0 = inf, and so 1
        if self.least:
            factors = torch.where(norms > 0, torch.maximum(factors, self.least / norms), 1)
        if len(factors) == 1:  # one number for all: a third of the time of a list, and no wait for the device
            foreach_mul_(list(gradients), factors[0].to(gradients[0].dtype))
        else:
            foreach_mul_(list(gradients), spread(factors, gradients))


@stackable
@dataclass(kw_only=True)
class ClipAdaptively(BoundedClipping):
    """The gradient of each unit to at most a share of its weights' norm: $G_i <- G_i min(1, bound W_i / ||G_i||)$.

    $W_i = max(||w_i||, eps)$, and i is a unit: a row of a weight matrix [out, in], a kernel of a convolution
    [out, in, ...]; the bias of a unit, and a gain of a normalization, is one by itself. Brock et al. leave out the
    last layer, which is clipped here, too. Source: Brock et al. 2021 (AGC), section 4.1.

    Args:
        bound: lambda, the largest ratio of gradient to weights, > 0.
        eps: the least norm of weights, > 0, for zeros to be able to learn.

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> gradients, weights = [torch.tensor([[[3.0, 4.0], [0.3, 0.4]]])], [torch.tensor([[[0.0, 2.0], [0.0, 2.0]]])]
    >>> ClipAdaptively(bound=0.5)(gradients, weights)
    >>> gradients
    [tensor([[[0.6000, 0.8000],
             [0.3000, 0.4000]]])]
    """

    bound: float = 0.01
    eps: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.eps = number("eps", self.eps, 0, open_low=True)

    @torch.no_grad()
    def __call__(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor]) -> None:
        """Clip stacked gradients [R, ...] in place, each unit by its own norms."""
        for gradient, weights in zip(gradients, parameters, strict=True):
            norms, allowed = _unit_norms(gradient), _unit_norms(weights).clamp_(min=self.eps) * self.bound
            gradient.mul_((allowed / norms).clamp_(max=1))  # 1 of a zero gradient: allowed / 0 = inf


def _unit_norms(tensor: Tensor) -> Tensor:
    """The norm of what belongs to each unit, [R, out, ...] -> [R, out, 1, ...]."""
    if tensor.ndim <= 2:
        return tensor.abs()
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=tuple(range(2, tensor.ndim)), keepdim=True)
    return norms
