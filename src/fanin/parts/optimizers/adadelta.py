"""Adadelta: steps in the units of the parameter."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import number
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import add_multiple, add_square, spread, stackable
from fanin.torch_internals import foreach_add, foreach_div_, foreach_mul_, foreach_sqrt_


@stackable
class Adadelta(GroupOptimizer):
    """Each parameter's step is its gradient times the ratio of two running root mean squares: steps over gradients.

    $v <- rho v + (1 - rho) g^2$;  $d = g sqrt(s + eps)/sqrt(v + eps)$;  $s <- rho s + (1 - rho) d^2$;  $theta <- theta
    - a d$; $v = s = 0$ at first. The paper has $a = 1$; the very first step is about $sqrt(eps/(1 - rho))$ long.
    Source: Zeiler 2012.
    Args:
        params: what to optimize.
        lr: a, >= 0, without unit.
        rho: memory of both mean squares, in [0, 1).
        eps: > 0, in units of the squared gradient and of the squared parameter at once.

    Raises:
        OptionError: a value is out of range.
    """

    def __init__(self, params: ParamsT, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6) -> None:
        defaults = {
            "lr": number("lr", lr, 0),
            "rho": number("rho", rho, 0, 1, open_high=True),
            "eps": number("eps", eps, 0, open_low=True),
        }
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """v, the step d with the s of the steps before, s, theta."""
        squares, lengths = self.slots(params, "square"), self.slots(params, "length")
        rho, eps = spread(group["rho"], squares), spread(group["eps"], squares)
        foreach_mul_(squares, rho)
        add_square(squares, grads, 1 - group["rho"])
        steps = foreach_add(lengths, eps)
        foreach_div_(steps, foreach_add(squares, eps))
        foreach_sqrt_(steps)
        foreach_mul_(steps, grads)
        foreach_mul_(lengths, rho)
        add_square(lengths, list(steps), 1 - group["rho"])
        add_multiple(params, list(steps), -group["lr"])
