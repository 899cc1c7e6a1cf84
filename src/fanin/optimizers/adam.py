"""Adam: steps scaled by running moments of the gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import flag, number
from fanin.optimizers.base import GroupOptimizer, add_ratio, add_square, spread


class Adam(GroupOptimizer):
    """Each parameter's step is its mean gradient over its root mean square gradient.

    m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;  m = v = 0 at first; t counts from 1.
    bias_correction:    theta <- theta - a m/(1 - beta1^t) / (sqrt(v/(1 - beta2^t)) + eps)
    without:            theta <- theta - a m / (sqrt(v) + eps), which starts with steps up to
                        (1 - beta1)/sqrt(1 - beta2) = 3.2 times as long
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
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        bias_correction: bool = True,
    ) -> None:
        defaults = {
            "lr": number("lr", lr, 0),
            "beta1": number("beta1", beta1, 0, 1, open_high=True),
            "beta2": number("beta2", beta2, 0, 1, open_high=True),
            "eps": number("eps", eps, 0, open_low=True),
            "bias_correction": flag("bias_correction", bias_correction),
        }
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """Both moments, then theta; t counts the steps in which the parameter had a gradient."""
        beta1, beta2, lr = group["beta1"], group["beta2"], group["lr"]
        means, squares = self.slots(params, "mean"), self.slots(params, "square")
        times = self._tick(params)
        torch._foreach_lerp_(means, grads, spread(1 - beta1, means))
        torch._foreach_mul_(squares, spread(beta2, squares))
        add_square(squares, grads, 1 - beta2)
        scales = torch._foreach_sqrt(squares)
        rates = dict.fromkeys(times, -lr)
        if group["bias_correction"]:
            roots = {t: (1 - beta2**t) ** 0.5 for t in rates}
            torch._foreach_div_(scales, spread([roots[t] for t in times], scales))
            rates = {t: -lr / (1 - beta1**t) for t in rates}
        torch._foreach_add_(scales, spread(group["eps"], scales))
        add_ratio(params, means, scales, [rates[t] for t in times])

    def _tick(self, params: list[Tensor]) -> list[int]:
        """Count this step for each parameter."""
        for param in params:
            self.state[param]["step"] = self.state[param].get("step", 0) + 1
        return [self.state[param]["step"] for param in params]
