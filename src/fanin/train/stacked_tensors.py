"""Tensors of R runs stacked as one, and R optimizers as one over stacked parameters, and back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fanin.devices import widest
from fanin.parts.optimizers.base import GroupOptimizer


def common(values: Sequence[Any], device: torch.device | str = "cpu") -> Any:
    """What R runs have in common: the value itself where all are equal, else their numbers as a tensor [R]."""
    if all(value == values[0] for value in values):
        return values[0]
    return torch.tensor(values, dtype=widest(torch.device(device)), device=device)


def stack_tensors(tensors: Sequence[Mapping[str, Tensor]], straight: Collection[str] = ()) -> dict[str, Tensor]:
    """R tensors of each name as one [R, ...]; the R become views of it."""
    stacks = {}
    for name, first in tensors[0].items():
        if any(one[name].requires_grad != first.requires_grad for one in tensors):
            raise ValueError(f"{name} is trained in some of the runs only: they are of different structures")
        own = [one[name].detach() for one in tensors]
        if first.ndim == 2 and name not in straight:
            # vmap gives the gradients of matrices transposed. Matrices that lie so too spare a copy of each.
            stack = torch.stack([one.mT for one in own]).mT
        else:
            stack = torch.stack(own)
        for run, one in enumerate(tensors):
            one[name].data = stack[run]
        stacks[name] = stack.requires_grad_(first.requires_grad)
    return stacks


def stacked(optimizers: Sequence[GroupOptimizer], own: Sequence[Tensor], params: Sequence[Tensor]) -> GroupOptimizer:
    """One optimizer that does with stacked parameters [R, ...] what R optimizers do with their own.

    Args:
        optimizers: of one class, with groups of the same parameters.
        own: the first run's parameters.
        params: the stacked ones, in the same order.

    Returns:
        an optimizer of that class that has taken no step yet; `put` gives it the state of the R.
    """
    device, stacks = params[0].device, {id(one): stack for one, stack in zip(own, params, strict=True)}
    groups = []
    for alike in zip(*[one.param_groups for one in optimizers], strict=True):
        numbers = {key: common([group[key] for group in alike], device) for key in alike[0] if key != "params"}
        groups.append({**numbers, "params": [stacks[id(one)] for one in alike[0]["params"]]})
    made = object.__new__(type(optimizers[0]))
    torch.optim.Optimizer.__init__(made, groups, {})  # its own __init__ would refuse tensors
    made.runs = len(optimizers)
    return made


def set_rates(optimizer: GroupOptimizer, rates: Sequence[float]) -> None:
    """Give each run its learning rate of the step to come."""
    for group in optimizer.param_groups:
        factor = group.get("factor", 1.0)
        group["lr"] = common([rate * factor for rate in rates], group["params"][0].device)


def put(optimizer: GroupOptimizer, run: int, own: GroupOptimizer) -> None:
    """Write the numbers and the state of a run's own optimizer into the run's slices of the stacked one."""
    for group, own_group in zip(optimizer.param_groups, own.param_groups, strict=True):
        runs, device = len(group["params"][0]), group["params"][0].device
        for key, value in group.items():
            if key != "params":
                each = value.tolist() if isinstance(value, Tensor) else [value] * runs
                group[key] = common([*each[:run], own_group[key], *each[run + 1 :]], device)
    for stack, param in _pairs(optimizer, own):
        slots, values = optimizer.state[stack], own.state.get(param, {})
        for name in slots.keys() - values.keys():
            if isinstance(slots[name], Tensor):
                slots[name][run] = 0  # what it holds before the first step
            else:
                del slots[name]
        for name, value in values.items():
            if isinstance(value, Tensor):
                slots.setdefault(name, torch.zeros_like(stack))[run] = value
            else:  # a count of steps, the same for all runs
                slots[name] = value


def take(optimizer: GroupOptimizer, run: int, own: GroupOptimizer) -> None:
    """Show the run's slices of the stacked optimizer in the run's own one; what it then holds are views."""
    for group, own_group in zip(optimizer.param_groups, own.param_groups, strict=True):
        for key, value in group.items():
            if key != "params":
                own_group[key] = float(value[run]) if isinstance(value, Tensor) else value
    for stack, param in _pairs(optimizer, own):
        values = {
            name: value[run] if isinstance(value, Tensor) else value for name, value in optimizer.state[stack].items()
        }
        if values:
            own.state[param] = values


def _pairs(optimizer: GroupOptimizer, own: GroupOptimizer) -> Iterator[tuple[Tensor, Tensor]]:
    for group, own_group in zip(optimizer.param_groups, own.param_groups, strict=True):
        yield from zip(group["params"], own_group["params"], strict=True)
