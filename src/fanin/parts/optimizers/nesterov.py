"""Gradient descent with Nesterov's look-ahead momentum."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import number
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import add_multiple, spread, stackable
from fanin.torch_internals import foreach_mul_


@stackable
class Nesterov(GroupOptimizer):
    """Momentum with the gradient at the point that the velocity leads to.

    At a point phi with velocity v:  $v <- rho v - a grad(phi + rho v)$;  $phi <- phi + v$;  $v = 0$ at first.

    The parameters kept here are the look-ahead point $theta = phi + rho v$, so that the gradient g at hand is the one
    of the formula. Put $phi = theta - rho v$ into the two lines:
    $v <- rho v - a g$;  $theta <- theta - a g + rho v$, with the new v,
    for theta_new = phi_new + rho v_new = (theta - rho v) + v_new + rho v_new, and v_new - rho v = -a g. The two agree
    at the start, where $v = 0$; what is evaluated and stored is theta, not phi.

    torch.optim.SGD(nesterov=True) keeps the learning rate out of the velocity (see `momentum`): the same at a constant
    learning rate; when it changes, the lines above remain the look-ahead form exactly, torch's do not.
    Source: Nesterov 1983; in this form Sutskever, Martens, Dahl & Hinton 2013.

    Args:
        params: what to optimize.
        lr: a, >= 0.
        momentum: rho in [0, 1).

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> theta.grad = torch.tensor([1.0])
    >>> Nesterov([theta], lr=0.1, momentum=0.5).step()  # theta - a g + rho v = 1 - 0.1 - 0.05
    >>> theta.data
    tensor([0.8500])
    """

    proximal: ClassVar[bool] = True

    def __init__(self, params: ParamsT, lr: float, momentum: float = 0.9) -> None:
        defaults = {"lr": number("lr", lr, 0), "momentum": number("momentum", momentum, 0, 1, open_high=True)}
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """v <- rho v - a g;  theta <- theta - a g + rho v."""
        velocities = self.slots(params, "velocity")
        foreach_mul_(velocities, spread(group["momentum"], velocities))
        add_multiple(velocities, grads, -group["lr"])
        add_multiple(params, grads, -group["lr"])
        add_multiple(params, velocities, group["momentum"])

    def lengths(self, group: dict[str, Any], params: list[Tensor]) -> list[Any]:
        """a / (1 - rho), where the velocity has settled."""
        return [group["lr"] / (1 - group["momentum"])] * len(params)
