"""What every regularizer is: it acts at one or more moments of training, each of which is a method here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from fanin.parts.losses.base import Loss
from fanin.parts.per_run import Number, program_keys
from fanin.parts.regularizers.patience import Patience


class Regularizer:
    """Acts at the moments whose methods it overrides; as it stands, at none.

    In a step, in this order: `minimized` is the loss whose gradient is taken, at a point that `displacement` moves;
    `pull` adds to the gradient; after clipping, `before_step` changes the weights, and `after_step` once the
    optimizer has made its step. While the model is made, `make` gives a module behind each hidden layer, and `wrap`
    changes the model that was made. After each evaluation, `new`'s counter says whether to end.

    Weights are weight matrices and kernels: never biases or normalization parameters.
    """

    key: ClassVar[str] = "strength"
    """The argument whose value `number` is: it may differ between runs that are trained as one program."""

    p: float = 0.0
    """What `make` is given behind hidden layers, where it is above 0."""
    input_p: float = 0.0
    """What `make` is given on the inputs, where it is above 0."""
    proximal: bool = False
    """Whether its penalty is applied by `soften`, after the step, in place of `pull`."""
    smooth: ClassVar[bool] = True
    """Whether its penalty has a derivative everywhere."""
    monitor: str = "val_loss"
    """What `new`'s counter is given: a column of metrics.csv, such as val_loss or batch_loss."""

    @property
    def number(self) -> float:
        """What `pull`, `before_step`, `after_step` and `displacement` are given; one per run, [R], for stacked ones."""
        return float(getattr(self, self.key))

    def minimized(self, loss: Loss) -> Loss:
        """The loss whose gradient is taken, in place of the one that is reported."""
        return loss

    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The term, a scalar, whose gradient `pull` adds, of one run's weights, differentiable."""
        raise NotImplementedError

    @staticmethod
    def pull(weights: Sequence[Tensor], number: Number) -> list[Tensor]:
        """What is added to the gradient: a tensor for each weight.

        Args:
            weights: of one run, of any shapes, or stacked ones [R, ...] where `number` differs from run to run.
            number: a float, or one per run: [R].
        """
        raise NotImplementedError

    @staticmethod
    def soften(weight: Tensor, threshold: Number | Tensor) -> None:
        """The proximal step of the penalty on a weight, in place; the threshold is strength times the step's length.

        Args:
            weight: of any shape.
            threshold: a float, or a tensor of its shape or that broadcasts to it.
        """
        raise NotImplementedError

    @staticmethod
    def displacement(gradients: Sequence[Tensor], number: Number) -> list[Tensor]:
        """Where the gradient is taken, for each parameter: the way from theta, of gradients [R, ...] at theta."""
        raise NotImplementedError

    @staticmethod
    def before_step(weights: Sequence[Tensor], number: Number) -> None:
        """Change weights [R, ...] in place, after the gradient is known and before the optimizer's step."""
        raise NotImplementedError

    @staticmethod
    def after_step(weights: Sequence[Tensor], number: Number) -> None:
        """Change weights [R, ...] in place, after the optimizer's step; of one run they are [1, ...]."""
        raise NotImplementedError

    def make(self, p: float) -> nn.Module:
        """A fresh module behind a hidden layer, or on the inputs; dropout's drops with probability p."""
        raise NotImplementedError

    def wrap(self, model: nn.Module) -> nn.Module:
        """A model that was just made, its weights not drawn yet, with what this regularizer changes in it."""
        raise NotImplementedError

    def new(self) -> Patience:
        """A counter of evaluations that says when a run ends."""
        raise NotImplementedError

    @classmethod
    def acts(cls, moment: str) -> bool:
        """Whether it acts at a moment, which is to say that it overrides the method of this name."""
        return getattr(cls, moment) is not getattr(Regularizer, moment)

    @staticmethod
    def program_keys(keys: Mapping[str, Any]) -> object:
        """What runs must share of its keys to be trained as one program; None: not even that it is there.

        Numbers may differ.
        """
        return program_keys(None, keys, "numbers")
