"""L-BFGS: quasi-Newton from the last few steps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import integer
from fanin.parts.optimizers.quasi_newton import QuasiNewton


class LBFGS(QuasiNewton):
    """BFGS that remembers the last steps s and changes of the gradient y instead of a matrix.

    B g is what the BFGS updates by the remembered pairs make of $(y^T s)/(y^T y) I$, with the newest pair's scale,
    computed by the two-loop recursion in 4 P products a pair. The searches take place on the step's batch: with the
    whole training set as the batch it is the textbook's method. torch.optim.LBFGS is the same iteration, but takes up
    to 20 of them a step and shortens the very first trial to $min(1, 1/|g|_1)$; here a step is one iteration.
    Source: Nocedal 1980; Liu & Nocedal 1989.

    Args:
        params: what to optimize.
        lr: the first trial of each search, in units of -B g, >= 0; at 0 the parameters stay.
        history: pairs remembered, >= 1.
        decrease: share of the foretold decrease that a step must bring, in (0, 0.5).
        curvature: share of the slope that may be left after it, in (decrease, 1).
        max_evaluations: values and gradients a search at most, >= 1.

    Raises:
        OptionError: a value is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1.0,
        history: int = 10,
        decrease: float = 0.0001,
        curvature: float = 0.9,
        max_evaluations: int = 25,
    ) -> None:
        size = integer("history", history, 1)
        super().__init__(params, lr, decrease, curvature, max_evaluations, history=size)

    def multiply(self, gradient: Tensor) -> Tensor:
        """B g, by the two loops."""
        if "steps" not in self.memory:
            return gradient
        pairs: list[tuple[Tensor, Tensor]] = list(zip(self.memory["steps"], self.memory["changes"], strict=True))
        result, shares = gradient, list[Tensor]()
        for step, change in reversed(pairs):
            shares.append((step @ result) / (step @ change))
            result = result - shares[-1] * change
        step, change = pairs[-1]
        result = (step @ change) / (change @ change) * result
        for (step, change), share in zip(pairs, reversed(shares), strict=True):
            result = result + (share - (change @ result) / (step @ change)) * step
        return result

    def learn(self, step: Tensor, change: Tensor) -> None:
        """Remember the pair, and forget the oldest of too many."""
        size = self.param_groups[0]["history"]
        for name, vector in (("steps", step), ("changes", change)):
            kept = [self.memory[name]] if name in self.memory else []
            # A copy, not a view: as after a checkpoint it starts at an aligned address, on which the sums depend.
            self.memory[name] = torch.cat([*kept, vector.unsqueeze(0)])[-size:].clone()
