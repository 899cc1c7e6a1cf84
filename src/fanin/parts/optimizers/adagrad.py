"""AdaGrad: steps scaled by the whole past of the gradient."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import number
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import add_ratio, add_square, spread, stackable
from fanin.torch_internals import foreach_add, foreach_add_, foreach_sqrt_


@stackable
class Adagrad(GroupOptimizer):
    """Each parameter's step is its gradient over the root of the sum of all its squared gradients.

    $s <- s + g^2$;  $theta <- theta - a g / (sqrt(s) + eps)$;  s = `initial` at first.

    As in torch.optim.Adagrad, but for its lr_decay, which is a schedule here (inverse_time).
    Source: Duchi, Hazan & Singer 2011.

    Args:
        params: what to optimize.
        lr: a, >= 0; the length of each parameter's first step where `initial` is 0.
        initial: the sum of squares before the first step, >= 0; shortens the first steps.
        eps: > 0, in units of the gradient.

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> theta.grad = torch.tensor([5.0])
    >>> Adagrad([theta], lr=0.1).step()  # a g / sqrt(g^2)
    >>> theta.data
    tensor([0.9000])
    """

    def __init__(self, params: ParamsT, lr: float, initial: float = 0.0, eps: float = 1e-10) -> None:
        defaults = {
            "lr": number("lr", lr, 0),
            "initial": number("initial", initial, 0),
            "eps": number("eps", eps, 0, open_low=True),
        }
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """s <- s + g^2, kept without `initial`;  theta <- theta - a g / (sqrt(s) + eps)."""
        sums = self.slots(params, "sum")
        add_square(sums, grads, 1.0)
        roots = foreach_add(sums, spread(group["initial"], sums))
        foreach_sqrt_(roots)
        foreach_add_(roots, spread(group["eps"], roots))
        add_ratio(params, grads, roots, [-group["lr"]] * len(params))
