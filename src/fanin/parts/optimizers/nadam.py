"""NAdam: Adam with Nesterov's look-ahead."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.devices import widened
from fanin.errors import flag, number
from fanin.parts.optimizers.adam import moment_numbers, moments, scales
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import Number, add_ratio, stackable


@stackable
class NAdam(GroupOptimizer):
    """Adam whose step already uses the momentum of the step to come, with a momentum that warms up.

    m, v as in Adam; $mu_t = beta1 (1 - 0.96^(t psi)/2)$; $P_t = mu_1 mu_2 ... mu_t$; t counts from 1.

    - bias_correction:
      $theta <- theta - a [(1 - mu_t) g/(1 - P_t) + mu_(t+1) m/(1 - P_(t+1))] / (sqrt(v/(1 - beta2^t)) + eps)$
    - without: $theta <- theta - a [(1 - mu_t) g + mu_(t+1) m] / (sqrt(v) + eps)$

    As torch.optim.NAdam, m averages with the constant beta1; in the paper it does with mu_t.
    Source: Dozat 2016.

    Args:
        params: what to optimize.
        lr: a, >= 0; about the length of one parameter's step.
        beta1: memory of the mean, in [0, 1).
        beta2: memory of the mean square, in [0, 1).
        eps: > 0, in units of the gradient.
        momentum_decay: psi, >= 0: how soon mu_t grows from beta1/2 to beta1; 0 keeps beta1/2.
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
        momentum_decay: float = 0.004,
        bias_correction: bool = True,
    ) -> None:
        defaults = {
            **moment_numbers(lr, beta1, beta2, eps),
            "momentum_decay": number("momentum_decay", momentum_decay, 0),
            "bias_correction": flag("bias_correction", bias_correction),
        }
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """Both moments, then theta by the gradient and by the mean."""
        means, squares, times = moments(self, params, grads, group["beta1"], group["beta2"])
        below = scales(squares, times, group["beta2"], group["eps"], group["bias_correction"])
        rates = {t: _rates(group, t) for t in set(times)}
        add_ratio(params, grads, below, [rates[t][0] for t in times])
        add_ratio(params, means, below, [rates[t][1] for t in times])


def _rates(group: dict[str, Any], t: int) -> tuple[Number, Number]:
    """What the gradient and the mean are multiplied by at step t, before the division by the scale."""
    lr, beta1, decay = group["lr"], group["beta1"], group["momentum_decay"]
    now, then = (beta1 * (1 - 0.5 * 0.96 ** (s * decay)) for s in (t, t + 1))
    product = momentum_product(beta1, decay, t) if group["bias_correction"] else 0.0
    return -lr * (1 - now) / (1 - product), -lr * then / (1 - product * then)


def momentum_product(beta1: Number, decay: Number, steps: int) -> Number:
    """P_t = product over i = 1..t of beta1 (1 - 0.96^(i psi)/2), without a loop over the steps and without a state.

    ln(1 - x) = -sum over k of x^k/k with x = 0.96^(i psi)/2; summed over i, each power is a geometric series. The
    terms fall as 2^-k, so that 52 of them are all of a float64.

    Args:
        beta1: in [0, 1), or one for each run [R].
        decay: psi, >= 0, or one for each run [R].
        steps: t.

    Returns:
        P_t, [R] where a number is.

    >>> round(momentum_product(0.9, 0.0, steps=3), 9)  # (0.9 / 2)^3
    0.091125
    """
    psi = widened(decay) if isinstance(decay, Tensor) else torch.tensor(decay, dtype=torch.float64)
    k = torch.arange(1, 53, dtype=torch.float64, device=psi.device)
    exponents = k * (psi * math.log(0.96)).unsqueeze(-1)
    lengths = (torch.expm1(steps * exponents) / torch.expm1(exponents)).nan_to_num(nan=steps)  # 0/0 where psi = 0
    warming = (-(exponents.exp() * lengths / (k * 2**k)).sum(-1)).exp()
    return beta1**steps * (warming.to(decay) if isinstance(decay, Tensor) else warming.item())
