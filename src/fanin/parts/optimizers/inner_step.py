"""Variance-reduced estimates of the gradient, and the step that another optimizer makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import choice
from fanin.parts.optimizers.adagrad import Adagrad
from fanin.parts.optimizers.adam import Adam
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.optimizers.momentum import Momentum
from fanin.parts.optimizers.nesterov import Nesterov
from fanin.parts.optimizers.objective import Objective, ObjectiveOptimizer
from fanin.parts.optimizers.rmsprop import Rmsprop
from fanin.parts.optimizers.sgd import SGD

INNER: dict[str, Callable[..., GroupOptimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
    "rmsprop": Rmsprop,
    "adagrad": Adagrad,
}
"""The optimizers whose step can be taken, with their own defaults."""


class VarianceReduced(ObjectiveOptimizer):
    """An optimizer that estimates the gradient, and has another one make the step.

    Args:
        params: what to optimize.
        defaults: of its one group.
        inner: whose step, a key of INNER.

    Raises:
        OptionError: an unknown inner.
    """

    def __init__(self, params: ParamsT, defaults: dict[str, Any], inner: str) -> None:
        choice("inner", inner, tuple(INNER))
        super().__init__(params, defaults)
        self.inner = INNER[inner](self.param_groups[0]["params"], lr=defaults["lr"])

    @torch.no_grad()
    def take(self, group: dict[str, Any], objective: Objective, theta: Tensor, estimate: Tensor) -> None:
        """The inner step from theta with an estimate of the gradient, [P] each."""
        objective.place(theta)
        parts = torch.split(estimate, [one.numel() for one in objective.parameters])
        for one, part in zip(objective.parameters, parts, strict=True):
            one.grad = part.view_as(one).to(one.dtype)
        self.inner.param_groups[0]["lr"] = group["lr"]
        self.inner.step()

    def state_dict(self) -> dict[str, Any]:
        """Its own, and that of the inner optimizer."""
        return {**super().state_dict(), "inner": self.inner.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state_dict, of which nothing is shared."""
        own = {key: value for key, value in state_dict.items() if key != "inner"}
        super().load_state_dict(own)
        if "inner" in state_dict:
            self.inner.load_state_dict(state_dict["inner"])
