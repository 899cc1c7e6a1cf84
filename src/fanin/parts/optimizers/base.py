"""What the textbook's optimizers share: a step handles all parameters of a group, of one run or of R stacked runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from inspect import unwrap
from typing import Any, ClassVar

import torch
from torch import Tensor


class GroupOptimizer(torch.optim.Optimizer):
    """An optimizer whose `update` takes lists of tensors, for torch's fused list operations (`_foreach`).

    Attributes:
        full_batch: whether a step uses the gradient over the whole training set.
        runs: how many runs lie stacked in each parameter [R, ...]; None for parameters of one run, without that axis.
    """

    full_batch: ClassVar[bool] = False
    proximal: ClassVar[bool] = False
    """Whether `lengths` says how far it goes, so that a penalty can be applied after its step."""
    runs: int | None = None

    # torch wraps these to keep torch.compile out of them, and imports it for that: a second at every start.
    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)

    @abstractmethod
    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """Change the parameters of one group in place; group["lr"] is this step's learning rate."""

    def lengths(self, group: dict[str, Any], params: list[Tensor]) -> list[Any]:
        """What the last step multiplied a gradient by that stays as it is: a Number or a tensor for each parameter."""
        raise NotImplementedError

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
