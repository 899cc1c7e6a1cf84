"""Lion: steps of one size, in the direction of a momentum's sign."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import number
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import add_multiple, shrink, spread, stackable
from fanin.torch_internals import foreach_lerp, foreach_lerp_, foreach_sign_


@stackable
class Lion(GroupOptimizer):
    """Every parameter moves by the learning rate, against the sign of a mean of momentum and gradient.

    $c = sign(beta1 m + (1 - beta1) g)$, which is 0 at 0;  $theta <- (1 - a lambda) theta - a c$;
    $m <- beta2 m + (1 - beta2) g$;  $m = 0$ at first. Source: Chen et al. 2023.

    Args:
        params: what to optimize.
        lr: a, >= 0; the length of one parameter's step: a tenth to a third of Adam's does.
        beta1: share of the momentum in the direction, in [0, 1).
        beta2: memory of the momentum, in [0, 1).
        weight_decay: lambda, >= 0, of all parameters.

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> theta.grad = torch.tensor([1000.0, -0.001])
    >>> Lion([theta], lr=0.1).step()
    >>> theta.data
    tensor([0.9000, 1.1000])
    """

    def __init__(
        self, params: ParamsT, lr: float, beta1: float = 0.9, beta2: float = 0.99, weight_decay: float = 0.0
    ) -> None:
        defaults = {
            "lr": number("lr", lr, 0),
            "beta1": number("beta1", beta1, 0, 1, open_high=True),
            "beta2": number("beta2", beta2, 0, 1, open_high=True),
            "weight_decay": number("weight_decay", weight_decay, 0),
        }
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """The decay, the step by the sign, then the momentum."""
        means = self.slots(params, "mean")
        directions = foreach_lerp(means, grads, spread(1 - group["beta1"], means))
        foreach_sign_(directions)
        shrink(params, group["lr"] * group["weight_decay"])
        add_multiple(params, list(directions), -group["lr"])
        foreach_lerp_(means, grads, spread(1 - group["beta2"], means))
