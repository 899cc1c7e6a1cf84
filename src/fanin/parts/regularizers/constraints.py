"""What changes the weights themselves, beside the optimizer's step: weight decay and the max-norm constraint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.errors import number
from fanin.parts.optimizers.base import Number, spread


@dataclass(kw_only=True)
class WeightDecay:
    """Decoupled weight decay: every weight shrinks by a share of itself in each step, whatever the gradient.

    theta <- (1 - rate) theta - step, weight matrices only: never biases or normalization parameters. Under plain
    gradient descent of learning rate a the same as the L2 penalty with strength = rate / a. Not so under Adam: it
    divides the penalty's gradient by the size of past gradients, and in its very first step, whose length is a for
    every weight, L2 shrinks nothing.

    The rate is that of the recurrence itself. torch.optim.AdamW takes rate = lr * weight_decay instead, so that there
    the decay follows the learning rate's schedule; here it does not. Source: Loshchilov & Hutter 2019.

    Args:
        rate: share lost in a step, in [0, 1).

    Raises:
        OptionError: rate is out of range.
    """

    rate: float = 1e-4

    def __post_init__(self) -> None:
        self.rate = number("rate", self.rate, 0, 1, open_high=True)

    @staticmethod
    @torch.no_grad()
    def shrink(weights: Sequence[Tensor], rate: Number) -> None:
        """theta <- (1 - rate) theta in place: after the gradient is known, before the optimizer's step.

        Args:
            weights: of one run, of any shapes, or stacked ones [R, ...] where `rate` differs from run to run.
            rate: a float, or one per run: [R].
        """
        torch._foreach_mul_(list(weights), spread(1 - rate, weights))


@dataclass(kw_only=True)
class MaxNorm:
    """Each neuron's incoming weights are kept in a ball: after a step, what left it goes back along its radius.

    w <- w * min(1, bound / ||w||_2) for each row w of a matrix, or each output's kernel. Weights inside the ball keep
    every bit. Source: Srebro & Shraibman 2005; with dropout, Srivastava et al. 2014.

    Args:
        bound: radius of the ball, > 0.

    Raises:
        OptionError: bound is out of range.
    """

    bound: float = 3.0

    def __post_init__(self) -> None:
        self.bound = number("bound", self.bound, 0, open_low=True)

    @staticmethod
    @torch.no_grad()
    def project(weights: Sequence[Tensor], bound: Number) -> None:
        """Project in place, after the optimizer's step.

        Args:
            weights: stacked, [R, out, ...] each; of one run [1, out, ...].
            bound: a float, or one per run: [R].
        """
        for weight in weights:
            radius = bound.view(-1, *[1] * (weight.ndim - 1)) if isinstance(bound, Tensor) else bound
            # In float64: the squares of large or small weights leave float32's range long before the norm does.
            incoming = torch.linalg.vector_norm(
                weight, dim=tuple(range(2, weight.ndim)), keepdim=True, dtype=torch.float64
            )
            weight.mul_((radius / incoming).clamp_(max=1).to(weight.dtype))
