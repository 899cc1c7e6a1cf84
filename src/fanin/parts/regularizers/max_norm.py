"""The max-norm constraint: a bound on each neuron's incoming weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fanin.devices import exact
from fanin.errors import number
from fanin.parts.per_run import Number, stackable
from fanin.parts.regularizers.base import Regularizer


@stackable
@dataclass(kw_only=True)
class MaxNorm(Regularizer):
    """Each neuron's incoming weights are kept in a ball: after a step, what left it goes back along its radius.

    $w <- w * min(1, bound / ||w||_2)$ for each row w of a matrix, or each output's kernel. Weights inside the ball keep
    every bit. Source: Srebro & Shraibman 2005; with dropout, Srivastava et al. 2014.

    Args:
        bound: radius of the ball, > 0.

    Raises:
        OptionError: bound is out of range.

    >>> import torch
    >>> weight = torch.tensor([[[3.0, 4.0], [0.1, 0.2]]])  # of one run, a row for each of two neurons
    >>> MaxNorm.after_step([weight], 1.0)
    >>> weight
    tensor([[[0.6000, 0.8000],
             [0.1000, 0.2000]]])
    """

    key: ClassVar[str] = "bound"

    bound: float = 3.0

    def __post_init__(self) -> None:
        self.bound = number("bound", self.bound, 0, open_low=True)

    @staticmethod
    @torch.no_grad()
    def after_step(weights: Sequence[Tensor], bound: Number) -> None:
        """Project in place, after the optimizer's step.

        Args:
            weights: stacked, [R, out, ...] each; of one run [1, out, ...].
            bound: a float, or one per run: [R].
        """
        for weight in weights:
            radius = exact(bound).view(-1, *[1] * (weight.ndim - 1)) if isinstance(bound, Tensor) else bound
            # In float64: the squares of large or small weights leave float32's range long before the norm does.
            incoming = torch.linalg.vector_norm(
                exact(weight), dim=tuple(range(2, weight.ndim)), keepdim=True, dtype=torch.float64
            )
            weight.mul_((radius / incoming).clamp_(max=1).to(weight.device, weight.dtype))
