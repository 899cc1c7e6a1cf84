"""Hessian-free optimization: the Gauss-Newton system by conjugate gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import flag, integer, number
from fanin.parts.optimizers.derivatives import Product
from fanin.parts.optimizers.objective import Objective, ObjectiveOptimizer


class HessianFree(ObjectiveOptimizer):
    """Gauss-Newton steps for models of any size, because the matrix G is used only in products.

    $(G + lambda I) d = -g$ by conjugate gradients, from the last step's d;  $theta <- theta + a d$. $G = J^T H_L J +
    H_p$ as in gauss_newton, and g, are those of the batch. `adapt` is Levenberg's and Marquardt's rule: with $r =
    (f(theta + a d) - f(theta)) / q$, where $q = a g^T d + a^2/2 d^T G d$ is the change that the quadratic predicts,
    $lambda <- 3/2 lambda$ if $r < 1/4$ and $2/3 lambda$ if $r > 3/4$. A step that would raise f is not taken then,
    where Martens looks for a shorter one; his preconditioner is left out. Source: Martens 2010.
    Args:
        params: what to optimize.
        lr: a, >= 0.
        damping: lambda at first, >= 0.
        adapt: whether lambda follows the rule.
        cg_iterations: products with G a step at most, >= 1.
        tolerance: conjugate gradients end at a residual of this share of |g|, >= 0.

    Raises:
        OptionError: a value is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1.0,
        damping: float = 1.0,
        adapt: bool = True,
        cg_iterations: int = 50,
        tolerance: float = 0.001,
    ) -> None:
        defaults = {
            "lr": number("lr", lr, 0),
            "damping": number("damping", damping, 0),
            "adapt": flag("adapt", adapt),
            "cg_iterations": integer("cg_iterations", cg_iterations, 1),
            "tolerance": number("tolerance", tolerance, 0),
        }
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], objective: Objective) -> None:
        """One system, one step, and the damping of the next."""
        theta, gradient = objective.vector(), objective.pass_gradient()
        damping = self.memory.get("damping", group["damping"])
        product = objective.gauss_newton_product()
        start = self.memory.get("direction", torch.zeros_like(gradient))
        direction = conjugate_gradients(
            lambda v: product(v) + damping * v, -gradient, start, group["cg_iterations"], group["tolerance"]
        )
        self.memory["direction"] = direction
        step = group["lr"] * direction
        foretold = (gradient @ step + 0.5 * step @ product(step)).item()
        if not group["adapt"]:
            objective.place(theta + step)
            return
        with torch.no_grad():
            before = objective.value().item()
            objective.place(theta + step)
            change = objective.value().item() - before
        rounding = 10 * torch.finfo(theta.dtype).eps * abs(before)
        if not change <= rounding:  # not finite, too
            objective.place(theta)
            self.memory["damping"] = 1.5 * damping
        elif -foretold > rounding:
            ratio = change / foretold
            self.memory["damping"] = damping * (1.5 if ratio < 0.25 else 2 / 3 if ratio > 0.75 else 1.0)


def conjugate_gradients(product: Product, right: Tensor, start: Tensor, iterations: int, tolerance: float) -> Tensor:
    """An approximate solution x of A x = right for a positive semidefinite A [P, P], known by its products.

    Args:
        product: v -> A v.
        right: [P].
        start: the first guess [P]; taken where it makes the quadratic x^T A x / 2 - right^T x smaller than 0 does.
        iterations: at most so many products after the first.
        tolerance: ends at |right - A x| <= tolerance * |right|.

    Returns:
        x [P]; exact but for rounding after P iterations.

    Source: Hestenes & Stiefel 1952.

    >>> import torch
    >>> a = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    >>> right = torch.tensor([2.0, 8.0])
    >>> conjugate_gradients(lambda v: a @ v, right, torch.zeros(2), iterations=2, tolerance=0.0).round(decimals=3)
    tensor([1., 2.])
    """
    x, residual = start, right - product(start)
    if not x @ (residual + right) > 0:
        x, residual = torch.zeros_like(right), right
    along, square = residual, residual @ residual
    for _ in range(iterations):
        if square <= tolerance**2 * (right @ right):
            break
        image = product(along)
        bend = along @ image
        if not bend > 0:  # rounding, or a loss that is not convex in the outputs
            break
        x = x + square / bend * along
        residual = residual - square / bend * image
        square, last = residual @ residual, square
        along = residual + square / last * along
    return x
