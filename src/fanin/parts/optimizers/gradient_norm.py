"""Levenberg-Marquardt steps on the norm of the gradient, which come to stationary points of every index."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from fanin.devices import widened
from fanin.errors import integer, number
from fanin.parts.optimizers.derivatives import dense
from fanin.parts.optimizers.newton import Newton
from fanin.parts.optimizers.objective import Objective

DECADES = 11
"""How far above the least damping a step looks for the best one."""


class GradientNorm(Newton):
    """Descends on the norm of the gradient, |g|, and so comes to minima, saddles and maxima alike.

    $theta <- theta - a (H^2 + mu I)^-1 H g$, with the gradient g and the Hessian H of the batch's objective: a
    damped Gauss-Newton step on $|g|^2/2$, whose gradient is H g. Out of mu = damping, 10 damping, ..., 10^10 damping
    it takes the one that leaves the smallest |g|, and stays where none makes it smaller: at a stationary point, or
    where g lies in the kernel of H. Near a nondegenerate stationary point it is Newton's method. The loss itself may
    rise. H costs P backward passes, its eigenvectors about 10 P^3 operations, each mu one gradient.
    Source: Levenberg 1944; Dauphin et al. 2014; Frye et al. 2021.

    Args:
        params: what to optimize.
        lr: a, >= 0.
        damping: the least mu, in units of squared curvature, > 0.
        max_parameters: refuse a model with more, >= 1.

    Raises:
        OptionError: a value is out of range.
    """

    def __init__(self, params: ParamsT, lr: float = 1.0, damping: float = 1e-9, max_parameters: int = 2000) -> None:
        number("damping", damping, 0, open_low=True)
        integer("max_parameters", max_parameters, 1)
        super().__init__(params, lr, damping, max_parameters)

    def update(self, group: dict[str, Any], objective: Objective) -> None:
        """The best of DECADES dampings."""
        theta, gradient = objective.vector(), objective.pass_gradient()
        matrix = widened(dense(self.curvature(objective), gradient))
        if not torch.isfinite(matrix).all():
            objective.place(torch.full_like(theta, torch.nan))
            return
        values, vectors = torch.linalg.eigh(0.5 * (matrix + matrix.mT))
        along = vectors.mT @ widened(gradient)
        best, least = theta, gradient.norm()
        for decade in range(DECADES):
            shrunk = values / (values.square() + group["damping"] * 10.0**decade)
            tried = theta - group["lr"] * (vectors @ (shrunk * along)).to(theta.device, theta.dtype)
            objective.place(tried)
            norm = objective.gradient().norm()
            if norm < least:
                best, least = tried, norm
        objective.place(best)
