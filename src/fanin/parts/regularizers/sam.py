"""Sharpness-aware minimization: the gradient at the worst point nearby."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fanin.errors import number
from fanin.parts.clipping import global_norms
from fanin.parts.per_run import Number, spread
from fanin.parts.regularizers.base import Regularizer
from fanin.torch_internals import foreach_mul


@dataclass(kw_only=True)
class SAM(Regularizer):
    """Each step takes the gradient not at theta but a distance rho uphill, so that sharp minima are left.

    $e = rho g / ||g||_2$ with g the gradient at theta, and the norm over all parameters at once; then any optimizer
    takes its step from theta with the gradient at $theta + e$, on the same batch: two passes a step.
    Source: Foret et al. 2021.

    Args:
        rho: distance, in the units of the parameters, >= 0.

    Raises:
        OptionError: rho is out of range.

    >>> import torch
    >>> SAM.displacement([torch.tensor([[3.0, 4.0]])], 0.5)
    [tensor([[0.3000, 0.4000]])]
    """

    key: ClassVar[str] = "rho"

    rho: float = 0.05

    def __post_init__(self) -> None:
        self.rho = number("rho", self.rho, 0)

    @staticmethod
    @torch.no_grad()
    def displacement(gradients: Sequence[Tensor], rho: Number) -> list[Tensor]:
        """e = rho g / ||g||_2 for each parameter; 0 where the whole gradient is 0.

        Args:
            gradients: g, stacked: [R, ...] each; of one run [1, ...].
            rho: a float, or one per run: [R].
        """
        lengths = global_norms(gradients)
        factors = torch.where(lengths == 0, 0.0, rho / lengths)
        return list(foreach_mul(list(gradients), spread(factors, gradients)))
