"""What BFGS and L-BFGS share: a direction from remembered gradients, and a line search along it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import OptionError, integer, number
from fanin.parts.optimizers.line_search import Point, strong_wolfe
from fanin.parts.optimizers.objective import Objective, ObjectiveOptimizer


class QuasiNewton(ObjectiveOptimizer):
    """theta <- theta + t d, d = -B g: B an inverse Hessian made of past steps, t found by the strong Wolfe conditions.

    The search and the change of gradient that B learns from are all taken on the step's own batch (Schraudolph, Yu &
    Guenter 2007); with the whole training set as the batch it is the textbook's method. Where d is no descent
    direction, or where the search finds nothing lower, what was learned is forgotten.
    """

    def __init__(
        self, params: ParamsT, lr: float, decrease: float, curvature: float, max_evaluations: int, **own: Any
    ) -> None:
        defaults = {
            "lr": number("lr", lr, 0),
            "decrease": number("decrease", decrease, 0, 0.5, open_low=True, open_high=True),
            "curvature": number("curvature", curvature, 0, 1, open_low=True, open_high=True),
            "max_evaluations": integer("max_evaluations", max_evaluations, 1),
        }
        if curvature <= decrease:
            raise OptionError("curvature", curvature, f"more than decrease={decrease:g}")
        super().__init__(params, defaults | own)

    @abstractmethod
    def multiply(self, gradient: Tensor) -> Tensor:
        """B g, [P]."""

    @abstractmethod
    def learn(self, step: Tensor, change: Tensor) -> None:
        """Take in that the gradient changed by `change` along `step`, both [P], where change^T step > 0."""

    def update(self, group: dict[str, Any], objective: Objective) -> None:
        """One search, whose first trial is t = lr."""
        theta, gradient = objective.vector(), objective.pass_gradient()
        direction = -self.multiply(gradient)
        slope = (direction @ gradient).item()
        if not slope < 0:
            self.memory.clear()
            direction, slope = -gradient, -(gradient @ gradient).item()
        if not slope < 0 or group["lr"] == 0:  # nowhere to go
            return

        def look(t: float) -> Point:
            objective.place(theta + t * direction)
            value, there = objective.value_and_gradient()
            return Point(t, value, (there @ direction).item(), there)

        with torch.no_grad():
            value = objective.value().item()
        start = Point(0.0, value, slope, gradient)
        found = strong_wolfe(
            look,
            start,
            group["lr"],
            decrease=group["decrease"],
            curvature=group["curvature"],
            rounding=10 * torch.finfo(theta.dtype).eps * abs(value),
            evaluations=group["max_evaluations"],
        )
        step, change = found.t * direction, found.gradient - gradient
        objective.place(theta + step)
        if found is start:
            self.memory.clear()
        elif step @ change > torch.finfo(theta.dtype).eps * step.norm() * change.norm():
            self.learn(step, change)
