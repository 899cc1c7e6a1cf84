"""Newton's method with the dense Hessian."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.devices import widened
from fanin.errors import OptionError, integer, number
from fanin.parts.optimizers.derivatives import Product, dense
from fanin.parts.optimizers.objective import Objective, ObjectiveOptimizer


class Newton(ObjectiveOptimizer):
    """Each step goes to the stationary point of the objective's local quadratic.

    $theta <- theta - a (H + damping I)^-1 g$, with the gradient g and the Hessian H [P, P] of the batch's objective;
    with the whole training set as the batch it is the textbook's method. $a = 1$ without damping solves a quadratic in
    one step. Where H is not positive definite the point aimed at is a saddle or a maximum, unless the damping is
    larger than the most negative eigenvalue; optimizer=saddle_free_newton turns those directions round. The system is
    solved in float64; H costs P backward passes.
    Source: Nocedal & Wright 2006, chapter 3.

    Args:
        params: what to optimize.
        lr: a, >= 0.
        damping: added to H's diagonal, >= 0; needed where H is singular, as softmax regression's is.
        max_parameters: refuse a model with more, >= 1.

    Raises:
        OptionError: a value is out of range.
    """

    matrix = "Hessian"

    def __init__(self, params: ParamsT, lr: float = 1.0, damping: float = 0.001, max_parameters: int = 5000) -> None:
        defaults = {
            "lr": number("lr", lr, 0),
            "damping": number("damping", damping, 0),
            "max_parameters": integer("max_parameters", max_parameters, 1),
        }
        super().__init__(params, defaults)

    def check(self, parameters: int, examples: int, batch_size: int) -> None:
        """The dense matrix must fit."""
        self._limit(parameters, self.matrix)

    def curvature(self, objective: Objective) -> Product:
        """The Hessian."""
        return objective.hessian_product()

    def update(self, group: dict[str, Any], objective: Objective) -> None:
        """One linear system.

        Raises:
            OptionError: the system is singular.
        """
        theta, gradient = objective.vector(), objective.pass_gradient()
        matrix = widened(dense(self.curvature(objective), gradient))
        solution = self.solution(matrix, widened(gradient), group["damping"])
        if solution is None:
            fix = f"for the {self.matrix} plus damping is singular"
            raise OptionError("damping", group["damping"], "larger", fix).within("optimizer")
        objective.place(theta - group["lr"] * solution.to(theta.device, theta.dtype))

    def solution(self, matrix: Tensor, gradient: Tensor, damping: float) -> Tensor | None:
        """(H + damping I)^-1 g [P], for H [P, P] in float64, which may be changed; None where that is singular."""
        matrix.diagonal().add_(damping)
        solution, singular = torch.linalg.solve_ex(matrix, gradient)
        return None if singular else solution
