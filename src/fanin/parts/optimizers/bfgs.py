"""BFGS: quasi-Newton with the dense inverse Hessian."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import integer
from fanin.parts.optimizers.quasi_newton import QuasiNewton


class BFGS(QuasiNewton):
    """An inverse Hessian B [P, P] learned from the steps, and a line search along $-B g$.

    $B <- (I - r s y^T) B (I - r y s^T) + r s s^T$,  $r = 1/(y^T s)$, for a step s that changed the gradient by y. $B =
    I$ at first, so that the first search is along -g; before the first update $B = (y^T s)/(y^T y) I$, which gives it
    the problem's scale (Nocedal & Wright 2006, (6.20)). The searches take place on the step's batch: with the whole
    training set as the batch it is the textbook's method. On a quadratic in n parameters, with exact searches
    (curvature near 0), it ends in n steps. Source: Broyden 1970; Fletcher 1970; Goldfarb 1970; Shanno 1970.
    Args:
        params: what to optimize.
        lr: the first trial of each search, in units of -B g, >= 0; at 0 the parameters stay.
        decrease: share of the foretold decrease that a step must bring, in (0, 0.5).
        curvature: share of the slope that may be left after it, in (decrease, 1).
        max_evaluations: values and gradients a search at most, >= 1.
        max_parameters: refuse a model with more, >= 1.

    Raises:
        OptionError: a value is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1.0,
        decrease: float = 0.0001,
        curvature: float = 0.9,
        max_evaluations: int = 25,
        max_parameters: int = 5000,
    ) -> None:
        limit = integer("max_parameters", max_parameters, 1)
        super().__init__(params, lr, decrease, curvature, max_evaluations, max_parameters=limit)

    def check(self, parameters: int, examples: int, batch_size: int) -> None:
        """Refuse a model whose dense matrix is too large."""
        self._limit(parameters, "inverse Hessian")

    def multiply(self, gradient: Tensor) -> Tensor:
        """B g."""
        inverse = self.memory.get("inverse")
        return gradient if inverse is None else inverse @ gradient

    def learn(self, step: Tensor, change: Tensor) -> None:
        """The update of B."""
        along = step @ change
        if "inverse" not in self.memory:
            scale = along / (change @ change)
            self.memory["inverse"] = scale * torch.eye(len(step), dtype=step.dtype, device=step.device)
        inverse = self.memory["inverse"]
        # The product written out: B - r (s (B y)^T + (B y) s^T) + r (1 + r y^T B y) s s^T, P^2 operations.
        image = inverse @ change
        inverse -= (torch.outer(step, image) + torch.outer(image, step)) / along
        inverse += (1 + change @ image / along) / along * torch.outer(step, step)
