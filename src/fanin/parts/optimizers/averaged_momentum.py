"""Momentum as an exponential moving average of the gradient, and the same without its bias towards 0."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import number
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import add_multiple, spread, stackable
from fanin.torch_internals import foreach_div, foreach_lerp_


@stackable
class EmaMomentum(GroupOptimizer):
    """A step along the exponential moving average u of the gradients.

    $u <- beta u + (1 - beta) g$;  $theta <- theta - a u$;  $u = 0$ at first.

    The weights of the past gradients sum to $1 - beta^(t+1)$, t from 0: under a constant gradient the steps grow from
    $(1 - beta) a g$ to a g. Heavy-ball momentum (the option `momentum`) has steps that grow from a g to $a g/(1 -
    beta)$. Source: the first moment of Kingma & Ba 2015.
    Args:
        params: what to optimize.
        lr: a, >= 0.
        beta: memory of the average, in [0, 1).

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> theta.grad = torch.tensor([1.0])
    >>> EmaMomentum([theta], lr=0.1, beta=0.5).step()
    >>> theta.data
    tensor([0.9500])
    """

    proximal: ClassVar[bool] = True

    def __init__(self, params: ParamsT, lr: float, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": number("lr", lr, 0), "beta": number("beta", beta, 0, 1, open_high=True)})

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """u <- beta u + (1 - beta) g;  theta <- theta - a u."""
        add_multiple(params, self.averages(group, params, grads), -group["lr"])

    def lengths(self, group: dict[str, Any], params: list[Tensor]) -> list[Any]:
        """a: the mean of equal gradients is the gradient."""
        return [group["lr"]] * len(params)

    def averages(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> list[Tensor]:
        """u after this step, one for each parameter."""
        means = self.slots(params, "mean")
        foreach_lerp_(means, grads, spread(1 - group["beta"], means))
        return means


@stackable
class UnbiasedMomentum(EmaMomentum):
    """A step along the moving average of the gradients, divided by the sum of its weights.

    $u <- beta u + (1 - beta) g$;  $theta <- theta - a u/(1 - beta^(t+1))$;  $u = 0$ at first; t counts from 0.

    A weighted mean of all gradients so far: its expected size is that of the gradient from the first step on.
    Source: the bias-corrected first moment of Kingma & Ba 2015.

    Args:
        params: what to optimize.
        lr: a, >= 0.
        beta: memory of the average, in [0, 1).

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> theta.grad = torch.tensor([1.0])
    >>> UnbiasedMomentum([theta], lr=0.1, beta=0.5).step()
    >>> theta.data
    tensor([0.9000])
    """

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """u <- beta u + (1 - beta) g;  theta <- theta - a u/(1 - beta^(t+1))."""
        means, times = self.averages(group, params, grads), self.tick(params)
        sums = {t: 1 - group["beta"] ** t for t in set(times)}
        unbiased = foreach_div(means, spread([sums[t] for t in times], means))
        add_multiple(params, list(unbiased), -group["lr"])
