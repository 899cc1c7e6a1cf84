"""What the optimizers share: a step handles all parameters of a group at once, of one run or of R stacked runs.

A number of a group (a learning rate, say) is a float or, for parameters stacked as [R, ...], a tensor [R] with one
value per run. The helpers here take either, so that an optimizer's `update` reads the same for both.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from inspect import unwrap
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

Number = float | Tensor
"""A float, or one value per run: [R]."""


def spread(numbers: Number | Sequence[Number], like: Sequence[Tensor]) -> Any:
    """A number, or one for each of `like`, in the form that torch's list operations take.

    Floats stay as they are; a tensor [R] becomes, for each of `like` [R, ...], a tensor [R, 1, ..., 1] of its type.
    """
    each = [numbers] * len(like) if isinstance(numbers, Tensor) else numbers
    if not (isinstance(each, Sequence) and isinstance(each[0], Tensor)):
        return numbers
    made: dict[Any, Tensor] = {}  # a few numbers for many tensors of a few kinds
    for number, one in zip(each, like, strict=True):
        key = (id(number), one.ndim, one.dtype)
        if key not in made and isinstance(number, Tensor):
            made[key] = number.to(one.device, one.dtype).view(-1, *[1] * (one.ndim - 1))
    return [made[id(number), one.ndim, one.dtype] for number, one in zip(each, like, strict=True)]


def add_multiple(tensors: list[Tensor], others: list[Tensor], factor: Number) -> None:
    """tensors += factor * others, in place."""
    if isinstance(factor, Tensor):
        torch._foreach_addcmul_(tensors, others, spread(factor, tensors))
    else:
        torch._foreach_add_(tensors, others, alpha=factor)


def add_square(tensors: list[Tensor], others: list[Tensor], factor: Number) -> None:
    """tensors += factor * others^2, in place."""
    if isinstance(factor, Tensor):
        torch._foreach_addcmul_(tensors, others, torch._foreach_mul(others, spread(factor, tensors)))
    else:
        torch._foreach_addcmul_(tensors, others, others, value=factor)


def add_ratio(tensors: list[Tensor], above: list[Tensor], below: Sequence[Tensor], factors: Sequence[Number]) -> None:
    """tensors += factors * above / below, in place, with a factor for each tensor."""
    if isinstance(factors[0], Tensor):
        torch._foreach_addcdiv_(tensors, torch._foreach_mul(above, spread(factors, tensors)), list(below))
    else:
        torch._foreach_addcdiv_(tensors, above, list(below), cast(Sequence[float], factors))


def shrink(tensors: list[Tensor], rate: Number) -> None:
    """tensors <- (1 - rate) tensors, in place; at a rate of 0 nothing is touched."""
    if isinstance(rate, Tensor) or rate:
        torch._foreach_mul_(tensors, spread(1 - rate, tensors))


class GroupOptimizer(torch.optim.Optimizer):
    """An optimizer whose `update` takes lists of tensors, for torch's fused list operations (`_foreach`).

    Attributes:
        full_batch: whether a step asks for the gradient over the whole training set.
        runs: how many runs lie stacked in each parameter [R, ...]; None for parameters of one run, without that axis.
    """

    full_batch: ClassVar[bool] = False
    runs: int | None = None

    # torch wraps these to keep torch.compile out of them, and imports it for that: a second at every start.
    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)

    @abstractmethod
    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """Change the parameters of one group in place; group["lr"] is this step's learning rate."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient; returns the closure's loss, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if params:
                self.update(group, params, [param.grad for param in params])
        return loss

    def slots(self, params: list[Tensor], name: str) -> list[Tensor]:
        """The tensors kept for these parameters under a name, zeros at first."""
        for param in params:
            if name not in self.state[param]:
                self.state[param][name] = torch.zeros_like(param)
        return [self.state[param][name] for param in params]

    def tick(self, params: list[Tensor]) -> list[int]:
        """Count this step for each parameter: t, from 1, of the steps in which it had a gradient."""
        for param in params:
            self.state[param]["step"] = self.state[param].get("step", 0) + 1
        return [self.state[param]["step"] for param in params]
