"""Adam: steps scaled by running moments of the gradient."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import flag, number
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import Number, add_ratio, add_square, spread, stackable
from fanin.torch_internals import foreach_add_, foreach_div_, foreach_lerp_, foreach_mul_, foreach_sqrt


def moment_numbers(lr: float, beta1: float, beta2: float, eps: float) -> dict[str, float]:
    """The hyperparameters that the Adam family shares, checked."""
    return {
        "lr": number("lr", lr, 0),
        "beta1": number("beta1", beta1, 0, 1, open_high=True),
        "beta2": number("beta2", beta2, 0, 1, open_high=True),
        "eps": number("eps", eps, 0, open_low=True),
    }


def moments(
    optimizer: GroupOptimizer, params: list[Tensor], grads: list[Tensor], beta1: Number, beta2: Number
) -> tuple[list[Tensor], list[Tensor], list[int]]:
    """The running mean and mean square of each parameter's gradient after this step, and its step t from 1."""
    means, squares = optimizer.slots(params, "mean"), optimizer.slots(params, "square")
    foreach_lerp_(means, grads, spread(1 - beta1, means))
    foreach_mul_(squares, spread(beta2, squares))
    add_square(squares, grads, 1 - beta2)
    return means, squares, optimizer.tick(params)


def scales(squares: list[Tensor], times: list[int], beta2: Number, eps: Number, corrected: bool) -> list[Tensor]:
    """sqrt(v) + eps, or sqrt(v/(1 - beta2^t)) + eps, for each mean square v."""
    roots = foreach_sqrt(squares)
    if corrected:
        parts = {t: (1 - beta2**t) ** 0.5 for t in set(times)}
        foreach_div_(roots, spread([parts[t] for t in times], roots))
    foreach_add_(roots, spread(eps, roots))
    return list(roots)


def adam_lengths(optimizer: GroupOptimizer, numbers: dict[str, Any], params: list[Tensor]) -> list[Tensor]:
    """a / (sqrt(v/(1 - beta2^t)) + eps), or a / (sqrt(v) + eps) without correction, after a step."""
    times = [optimizer.state[param].get("step", 1) for param in params]
    squares = optimizer.slots(params, "square")
    below = scales(squares, times, numbers["beta2"], numbers["eps"], numbers["bias_correction"])
    above = spread(numbers["lr"], below)
    return [one.reciprocal_().mul_(rate) for one, rate in zip(below, _each(above, below), strict=True)]


def _each(numbers: Any, like: list[Tensor]) -> list[Any]:
    """A number of each tensor."""
    return list(numbers) if isinstance(numbers, list) else [numbers] * len(like)


def adam_step(optimizer: GroupOptimizer, numbers: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
    """One step of Adam with numbers lr, beta1, beta2, eps, bias_correction; the moments are kept in the optimizer."""
    beta1, beta2, corrected = numbers["beta1"], numbers["beta2"], numbers["bias_correction"]
    means, squares, times = moments(optimizer, params, grads, beta1, beta2)
    below = scales(squares, times, beta2, numbers["eps"], corrected)
    rates = {t: -numbers["lr"] / (1 - beta1**t) if corrected else -numbers["lr"] for t in set(times)}
    add_ratio(params, means, below, [rates[t] for t in times])


@stackable
class Adam(GroupOptimizer):
    """Each parameter's step is its mean gradient over its root mean square gradient.

    $m <- beta1 m + (1 - beta1) g$;  $v <- beta2 v + (1 - beta2) g^2$;  $m = v = 0$ at first; t counts from 1.

    - bias_correction: $theta <- theta - a (m/(1 - beta1^t)) / (sqrt(v/(1 - beta2^t)) + eps)$
    - without: $theta <- theta - a m / (sqrt(v) + eps)$, which starts with steps up to
      $(1 - beta1)/sqrt(1 - beta2) = 3.2$ times as long

    Source: Kingma & Ba 2015.

    Args:
        params: what to optimize.
        lr: a, >= 0; about the length of one parameter's step.
        beta1: memory of the mean, in [0, 1).
        beta2: memory of the mean square, in [0, 1).
        eps: > 0, in units of the gradient.
        bias_correction: whether the zeros at the start are divided out.

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> theta.grad = torch.tensor([1000.0, -0.001])
    >>> Adam([theta], lr=0.1).step()  # the first step is a sign(g)
    >>> theta.data
    tensor([0.9000, 1.1000])
    """

    proximal: ClassVar[bool] = True

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        bias_correction: bool = True,
    ) -> None:
        defaults = moment_numbers(lr, beta1, beta2, eps)
        super().__init__(params, {**defaults, "bias_correction": flag("bias_correction", bias_correction)})

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """Both moments, then theta; t counts the steps in which the parameter had a gradient."""
        adam_step(self, group, params, grads)

    def lengths(self, group: dict[str, Any], params: list[Tensor]) -> list[Any]:
        """a over the root mean square of the gradients, entry by entry."""
        return list(adam_lengths(self, group, params))
