"""Gradient descent, on a batch or on the whole training set."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import number
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import add_multiple, stackable


@stackable
class SGD(GroupOptimizer):
    """Plain gradient descent on the batch's gradient g.

    $theta <- theta - a g$. Source: Robbins & Monro 1951.

    Args:
        params: what to optimize.
        lr: a, >= 0.

    Raises:
        OptionError: lr is out of range.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> theta.grad = torch.tensor([2.0])
    >>> SGD([theta], lr=0.1).step()
    >>> theta.data
    tensor([0.8000])
    """

    proximal: ClassVar[bool] = True

    def __init__(self, params: ParamsT, lr: float) -> None:
        super().__init__(params, {"lr": number("lr", lr, 0)})

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """theta <- theta - a g."""
        add_multiple(params, grads, -group["lr"])

    def lengths(self, group: dict[str, Any], params: list[Tensor]) -> list[Any]:
        """a."""
        return [group["lr"]] * len(params)


@stackable
class GD(SGD):
    """Gradient descent on the gradient g over the whole training set: the same step as SGD on a batch of everything.

    $theta <- theta - a g$. Source: Cauchy 1847.

    Args:
        params: what to optimize.
        lr: a, >= 0.

    Raises:
        OptionError: lr is out of range.
    """

    full_batch: ClassVar[bool] = True
