"""RMSProp: steps scaled by the recent size of the gradient."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import flag, number
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import add_multiple, add_ratio, add_square, spread, stackable
from fanin.torch_internals import (
    foreach_add_,
    foreach_addcdiv_,
    foreach_clamp_min_,
    foreach_lerp_,
    foreach_mul,
    foreach_mul_,
    foreach_sqrt,
    foreach_sqrt_,
    foreach_sub,
)


@stackable
class Rmsprop(GroupOptimizer):
    """Each parameter's step is its gradient over the running root mean square of its gradients.

    $v <- rho v + (1 - rho) g^2$;  $theta <- theta - a g / (sqrt(v) + eps)$;  $v = 0$ at first.

    - momentum, $mu > 0$: $b <- mu b + g / (sqrt(v) + eps)$;  $theta <- theta - a b$
    - centered: $m <- rho m + (1 - rho) g$;  $v - m^2$, the variance, in the place of v, and 0 where rounding
      makes it negative (torch.optim.RMSprop gives NaN there)

    The textbook has $sqrt(eps + v)$ (Goodfellow, Bengio & Courville 2016), here as in torch eps lies outside the root.
    Nothing divides out the zero at the start: the first steps are up to $1/sqrt(1 - rho) = 10$ times as long as later.
    Source: Tieleman & Hinton 2012; centered: Graves 2013.

    Args:
        params: what to optimize.
        lr: a, >= 0; about the length of one parameter's step.
        rho: memory of the mean square, in [0, 1).
        eps: > 0, in units of the gradient.
        momentum: mu in [0, 1).
        centered: whether the mean is taken out of the mean square.

    Raises:
        OptionError: a value is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        rho: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        defaults = {
            "lr": number("lr", lr, 0),
            "rho": number("rho", rho, 0, 1, open_high=True),
            "eps": number("eps", eps, 0, open_low=True),
            "momentum": number("momentum", momentum, 0, 1, open_high=True),
            "centered": flag("centered", centered),
        }
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """v, then theta; the buffer of the momentum is there only for runs that have some."""
        rho, lr, momentum = group["rho"], group["lr"], group["momentum"]
        squares = self.slots(params, "square")
        foreach_mul_(squares, spread(rho, squares))
        add_square(squares, grads, 1 - rho)
        if group["centered"]:
            means = self.slots(params, "mean")
            foreach_lerp_(means, grads, spread(1 - rho, means))
            roots = foreach_sub(squares, foreach_mul(means, means))
            foreach_clamp_min_(roots, 0)
            foreach_sqrt_(roots)
        else:
            roots = foreach_sqrt(squares)
        foreach_add_(roots, spread(group["eps"], roots))
        if isinstance(momentum, Tensor) or momentum:
            buffers = self.slots(params, "buffer")
            foreach_mul_(buffers, spread(momentum, buffers))
            foreach_addcdiv_(buffers, grads, roots)
            add_multiple(params, buffers, -lr)
        else:
            add_ratio(params, grads, roots, [-lr] * len(params))
