"""Penalties: terms of the weights that are added to the loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.errors import number
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
    the soft threshold of a proximal method is reached up to that. Source: Tibshirani 1996.
    >>> import torch
    >>> L1(strength=2.0).penalty([torch.tensor([-3.0])]), L1.pull([torch.tensor([-3.0])], 2.0)
    (tensor(6.), [tensor([-2.])])
    """

    strength: float = 1e-5

    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The scalar penalty; see Penalty."""
        return self.strength * torch.stack([weight.abs().sum() for weight in weights]).sum()

    @staticmethod
    def pull(weights: Sequence[Tensor], number: Number) -> list[Tensor]:
        """strength * sign(w); see Penalty."""
        pulls = list(foreach_sign(list(weights)))
        foreach_mul_(pulls, spread(number, pulls))
        return pulls


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
