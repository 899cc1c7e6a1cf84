"""AdamW: Adam with decoupled weight decay."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from fanin.errors import flag, number
from fanin.parts.optimizers.adam import adam_lengths, adam_step, moment_numbers
from fanin.parts.optimizers.base import GroupOptimizer
from fanin.parts.per_run import shrink, stackable


@stackable
class AdamW(GroupOptimizer):
    """Adam, and every parameter shrinks by the same share each step, whatever its gradients are.

    $theta <- (1 - a lambda) theta$, then Adam's step with the gradient g of the loss alone.

    As torch.optim.AdamW, the decay takes all parameters, biases and normalization's too, and goes with the learning
    rate. The option regularizer=weight_decay decays weights only, by a share that no schedule changes.
    Source: Loshchilov & Hutter 2019.

    Args:
        params: what to optimize.
        lr: a, >= 0; about the length of one parameter's step.
        weight_decay: lambda, >= 0.
        beta1: memory of the mean, in [0, 1).
        beta2: memory of the mean square, in [0, 1).
        eps: > 0, in units of the gradient.
        bias_correction: whether the zeros at the start are divided out (see Adam).

    Raises:
        OptionError: a value is out of range.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> theta.grad = torch.tensor([5.0])
    >>> AdamW([theta], lr=0.1, weight_decay=1.0).step()  # 0.9 * 1 - 0.1
    >>> theta.data
    tensor([0.8000])
    """

    proximal: ClassVar[bool] = True

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        weight_decay: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        bias_correction: bool = True,
    ) -> None:
        defaults = {
            **moment_numbers(lr, beta1, beta2, eps),
            "weight_decay": number("weight_decay", weight_decay, 0),
            "bias_correction": flag("bias_correction", bias_correction),
        }
        super().__init__(params, defaults)

    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """The decay, then Adam's step."""
        shrink(params, group["lr"] * group["weight_decay"])
        adam_step(self, group, params, grads)

    def lengths(self, group: dict[str, Any], params: list[Tensor]) -> list[Any]:
        """Those of Adam's step."""
        return list(adam_lengths(self, group, params))
