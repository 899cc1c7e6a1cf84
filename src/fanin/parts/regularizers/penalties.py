"""Penalties: terms of the weights that are added to the loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fanin.errors import flag, number
from fanin.parts.per_run import Number, spread, stackable
from fanin.parts.regularizers.base import Regularizer
from fanin.torch_internals import foreach_mul, foreach_mul_, foreach_sign


@dataclass(kw_only=True)
class Penalty(Regularizer, ABC):
    """A term of the loss over weight matrices only: never biases or normalization parameters.

    Args:
        strength: >= 0.

    Raises:
        OptionError: strength is negative or not finite.
    """

    strength: float = 1e-4

    def __post_init__(self) -> None:
        self.strength = number("strength", self.strength, 0)

    @abstractmethod
    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The scalar penalty of one run's weights, one or more, of any shapes, differentiable."""

    @staticmethod
    @abstractmethod
    def pull(weights: Sequence[Tensor], number: Number) -> list[Tensor]:
        """The penalty's gradient in closed form, for it is in every step; through autograd it costs several times that.

        Args:
            weights: of one run, of any shapes, or stacked ones [R, ...] where the strength differs from run to run.
            number: the strength, a float, or one per run: [R].

        Returns:
            a gradient of the shape of each weight.
        """


@stackable
@dataclass(kw_only=True)
class L1(Penalty):
    """Absolute-value penalty added to the loss; it pulls every weight towards 0 equally hard.

    penalty = $strength * sum |w|$, gradient $strength * sign(w)$, taken as 0 at $w = 0$. Under gradient descent a
    weight that the loss holds with less than `strength` ends within a step, lr * 2 strength, of 0, seldom at 0 itself:
    the soft threshold of a proximal method is reached up to that.

    With proximal the penalty is not in the gradient. After each step $w <- sign(w) max(|w| - d strength, 0)$, d the
    length of the step: the learning rate a of gradient descent, a/(1 - rho) with momentum, and of Adam and AdamW
    $a / (sqrt(v) + eps)$ for each entry, their own metric. Weights that the loss holds with less than `strength` end
    at 0 itself; probe quantity weight_zeros counts them. Optimizers whose steps have no such length refuse it;
    coordinate_descent minimizes with the penalty in it. What curvature and gradient_check look at leaves it out.
    Source: Tibshirani 1996; Parikh & Boyd 2014, sections 4.2 and 6.5.2; in the metric Yun, Lozano & Yang 2021.

    Args:
        strength: >= 0.
        proximal: whether weights get exactly 0, by soft thresholds.

    Raises:
        OptionError: strength is out of range.

    >>> import torch
    >>> L1(strength=2.0).penalty([torch.tensor([-3.0])]), L1.pull([torch.tensor([-3.0])], 2.0)
    (tensor(6.), [tensor([-2.])])
    >>> weight = torch.tensor([-3.0, 0.5])
    >>> L1.soften(weight, 1.0)
    >>> weight
    tensor([-2.,  0.])
    """

    smooth: ClassVar[bool] = False

    strength: float = 1e-5
    proximal: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        flag("proximal", self.proximal)

    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The scalar penalty; see Penalty."""
        return self.strength * torch.stack([weight.abs().sum() for weight in weights]).sum()

    @staticmethod
    def pull(weights: Sequence[Tensor], number: Number) -> list[Tensor]:
        """strength * sign(w); see Penalty."""
        pulls = list(foreach_sign(list(weights)))
        foreach_mul_(pulls, spread(number, pulls))
        return pulls

    @staticmethod
    @torch.no_grad()
    def soften(weight: Tensor, threshold: Number | Tensor) -> None:
        """w - clamp(w, -threshold, threshold), which is 0 to the bit within it."""
        limit = torch.as_tensor(threshold, dtype=weight.dtype, device=weight.device)
        weight -= torch.minimum(torch.maximum(weight, -limit), limit)


@stackable
@dataclass(kw_only=True)
class L2(Penalty):
    """Squared-norm penalty added to the loss; its gradient is strength * w.

    penalty = $strength / 2 * sum w^2$. The factor 1/2 is the textbook's. Source: Krogh & Hertz 1991.

    >>> import torch
    >>> L2(strength=2.0).penalty([torch.tensor([-3.0])]), L2.pull([torch.tensor([-3.0])], 2.0)
    (tensor(9.), [tensor([-6.])])
    """

    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The scalar penalty; see Penalty."""
        return 0.5 * self.strength * torch.stack([weight.square().sum() for weight in weights]).sum()

    @staticmethod
    def pull(weights: Sequence[Tensor], number: Number) -> list[Tensor]:
        """strength * w; see Penalty."""
        return list(foreach_mul(list(weights), spread(number, weights)))
