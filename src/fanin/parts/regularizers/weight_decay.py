"""Weight decay: weights shrink beside the optimizer's step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fanin.errors import number
from fanin.parts.per_run import Number, spread, stackable
from fanin.parts.regularizers.base import Regularizer
from fanin.torch_internals import foreach_mul_


@stackable
@dataclass(kw_only=True)
class WeightDecay(Regularizer):
    """Decoupled weight decay: every weight shrinks by a share of itself in each step, whatever the gradient.

    $theta <- (1 - rate) theta - step$, weight matrices only: never biases or normalization parameters. Under plain
    gradient descent of learning rate a the same as the L2 penalty with $strength = rate / a$. Not so under Adam: it
    divides the penalty's gradient by the size of past gradients, and in its very first step, whose length is a for
    every weight, L2 shrinks nothing.

    The rate is that of the recurrence itself. torch.optim.AdamW takes rate = lr * weight_decay instead, so that there
    the decay follows the learning rate's schedule; here it does not. Source: Loshchilov & Hutter 2019.

    Args:
        rate: share lost in a step, in [0, 1).

    Raises:
        OptionError: rate is out of range.

    >>> import torch
    >>> weight = torch.tensor([2.0])
    >>> WeightDecay.before_step([weight], 0.25)
    >>> weight
    tensor([1.5000])
    """

    key: ClassVar[str] = "rate"

    rate: float = 1e-4

    def __post_init__(self) -> None:
        self.rate = number("rate", self.rate, 0, 1, open_high=True)

    @staticmethod
    @torch.no_grad()
    def before_step(weights: Sequence[Tensor], rate: Number) -> None:
        """theta <- (1 - rate) theta in place: after the gradient is known, before the optimizer's step.

        Args:
            weights: of one run, of any shapes, or stacked ones [R, ...] where `rate` differs from run to run.
            rate: a float, or one per run: [R].
        """
        foreach_mul_(list(weights), spread(1 - rate, weights))
