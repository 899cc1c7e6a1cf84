"""Gradient descent with momentum."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import number
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import add_multiple, spread, stackable
from fanin.torch_internals import foreach_add_, foreach_mul_


@stackable
class Momentum(GroupOptimizer):
    """Heavy-ball momentum: the velocity v is a decaying sum of past steps.

    $v <- rho v - a g$;  $theta <- theta + v$;  $v = 0$ at first. Source: Polyak 1964.

    torch.optim.SGD keeps the learning rate out of the velocity: $v <- rho v + g$; $theta <- theta - a v$.
    At a constant learning rate the two are the same; when a schedule lowers it, here the steps already in v
    keep the size they were taken with, there they shrink at once.

    Args:
        params: what to optimize.
        lr: a, >= 0.
        momentum: rho in [0, 1).

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> theta.grad = torch.tensor([1.0])
    >>> optimizer = Momentum([theta], lr=0.1, momentum=0.5)
    >>> for _ in range(2):  # v = -0.1, then -0.15
    ...     optimizer.step()
    >>> theta.data
    tensor([0.7500])
    """

    proximal: ClassVar[bool] = True

    def __init__(self, params: ParamsT, lr: float, momentum: float = 0.9) -> None:
        defaults = {"lr": number("lr", lr, 0), "momentum": number("momentum", momentum, 0, 1, open_high=True)}
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """v <- rho v - a g;  theta <- theta + v."""
        velocities = self.slots(params, "velocity")
        foreach_mul_(velocities, spread(group["momentum"], velocities))
        add_multiple(velocities, grads, -group["lr"])
        foreach_add_(params, velocities)

    def lengths(self, group: dict[str, Any], params: list[Tensor]) -> list[Any]:
        """a / (1 - rho), where the velocity has settled."""
        return [group["lr"] / (1 - group["momentum"])] * len(params)
