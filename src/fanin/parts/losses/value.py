"""The loss of a model whose output is what is to be minimized."""

from __future__ import annotations

from typing import ClassVar, Self

from torch import Tensor

from fanin.devices import widest
from fanin.parts.losses.base import Loss
from fanin.parts.per_run import stackable


@stackable
class Value(Loss):
    """The first of the model's outputs itself, which model=surface has for a height: nothing is compared.

    $loss = 1/B sum_b s_b1$. Targets are not used.

    >>> import torch
    >>> Value()(torch.tensor([[3.0, 1.0]]), torch.tensor([0]), torch.zeros(1, 1))
    tensor(3.)
    """

    name: ClassVar[str] = "value"
    task: ClassVar[str] = "descent"
    needs_model: ClassVar[str | None] = "surface"

    def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """The mean over the batch; shapes as in Loss, K = 2."""
        return outputs[..., 0].mean(-1)

    def error(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        """No share of wrong answers but the second output, [...] float64: the share of the descent that is left.

        It is 1 at the start and 0 in the lowest minimum, so that trainer.target_error ends a run near that one.
        """
        return outputs[..., 1].to(widest(outputs.device)).mean(-1)

    def out_features(self, classes: int) -> int:
        """2."""
        return 2

    def guess(self, classes: int) -> None:
        """None: there is nothing to guess."""

    def smoothed(self, eps: float) -> Self:
        """Itself for eps = 0; else OptionError, for there are no labels."""
        return self._unsmoothed(eps, "a height has no labels")
