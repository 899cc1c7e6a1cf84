"""RAdam: Adam that waits until its scale can be trusted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.parts.optimizers.adam import moment_numbers, moments
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import Number, add_ratio, spread, stackable
from fanin.torch_internals import foreach_add_, foreach_mul_, foreach_sqrt


@stackable
class RAdam(GroupOptimizer):
    """Adam whose first steps do without the scale, and whose next ones are shortened by how uncertain it is.

    m, v as in Adam; $m' = m/(1 - beta1^t)$; t counts from 1.
    $L = 2/(1 - beta2) - 1$;  $L_t = L - 2 t beta2^t/(1 - beta2^t)$, the number of gradients that v speaks for.

    - $L_t > 5$: $theta <- theta - a r m' sqrt(1 - beta2^t)/(sqrt(v) + eps)$ with
      $r^2 = (L_t - 4)(L_t - 2) L / ((L - 4)(L - 2) L_t)$
    - else: $theta <- theta - a m'$, the units of which are others: a of the gradient

    The paper changes over at $L_t > 4$, torch.optim.RAdam and this at 5. There is no form without bias correction: the
    rectification r stands in for it. Source: Liu et al. 2020.

    Args:
        params: what to optimize.
        lr: a, >= 0; about the length of one parameter's step, once it is scaled.
        beta1: memory of the mean, in [0, 1).
        beta2: memory of the mean square, in [0, 1); at 2/3 and below no step is ever scaled.
        eps: > 0, in units of the gradient.

    Raises:
        OptionError: a value is out of range.
    """

    def __init__(self, params: ParamsT, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__(params, moment_numbers(lr, beta1, beta2, eps))

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """Both moments, then theta by m' / (p sqrt(v) + q): scaled with p = r^-1 (1 - beta2^t)^(-1/2), q = p eps."""
        beta1, beta2, eps, lr = group["beta1"], group["beta2"], group["eps"], group["lr"]
        means, squares, times = moments(self, params, grads, beta1, beta2)
        below = foreach_sqrt(squares)
        factors = {t: scale_factor(beta2, t) for t in set(times)}
        summands = {t: p * eps + (p == 0) for t, p in factors.items()}
        rates = {t: -lr / (1 - beta1**t) for t in factors}
        foreach_mul_(below, spread([factors[t] for t in times], below))
        foreach_add_(below, spread([summands[t] for t in times], below))
        add_ratio(params, means, below, [rates[t] for t in times])


def scale_factor(beta2: Number, t: int) -> Number:
    """1/(r sqrt(1 - beta2^t)) where the step t is scaled, 0 where it is not; [R] for one beta2 per run."""
    limit = 2 / (1 - beta2) - 1
    length = limit - 2 * t * beta2**t / (1 - beta2**t)
    trusted = length > 5
    length = _where(trusted, length, 6.0)  # what is not taken must divide, too
    limit = _where(trusted, limit, 7.0)
    rectifier = ((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)) ** 0.5
    return _where(trusted, 1 / (rectifier * (1 - beta2**t) ** 0.5), 0.0)


def _where(condition: bool | Tensor, yes: Number, no: float) -> Number:
    if isinstance(condition, Tensor):
        return torch.where(condition, yes, no)
    return yes if condition else no
