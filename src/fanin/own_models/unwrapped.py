"""The network inside of what trains it: torch's wrappers for several devices and for its compiler."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from fanin.errors import UserError
from fanin.torch_internals import compiled_modules, original_module

COMPILED = "torch.compile leaves no module to look at"


def unwrapped(model: nn.Module) -> nn.Module:
    """The network that a wrapper holds: of nn.DataParallel, DistributedDataParallel and torch.compile.

    >>> layer = nn.Linear(2, 2)
    >>> unwrapped(nn.DataParallel(layer)) is layer
    True
    """
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = cast(nn.Module, model.module)
        elif (inner := original_module(model)) is not None:
            model = inner
        else:
            return model


def blind_spot(model: nn.Module) -> str:
    """Why the pass that trains shows nothing to hooks, in words; "" where it does."""
    if isinstance(model, nn.DataParallel) and len(model.device_ids) > 1:
        return "nn.DataParallel runs copies of the model, one a device"
    return COMPILED if compiled_modules(model) else ""


def is_writer() -> bool:
    """Whether this process writes files: the only one, or that of rank 0."""
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def checked(model: object) -> nn.Module:
    """The network inside of a model.

    Raises:
        UserError: it is no nn.Module, or has no parameters.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"fanin: a model is a torch.nn.Module, not {type(model).__name__}")
    inner = unwrapped(model)
    if next(inner.parameters(), None) is None:
        raise UserError(f"fanin: {type(inner).__name__} has no parameters")
    return inner


def check_optimizer(model: nn.Module, optimizer: object) -> None:
    """Refuse an optimizer that trains nothing of a model.

    Raises:
        UserError: it is none, or another model's.
    """
    kind = type(optimizer).__name__
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UserError(f"watch.step: wants the optimizer, not {kind}; a loss goes by its name, loss=loss")
    mine = {id(one) for one in model.parameters()}
    if not any(id(one) in mine for group in optimizer.param_groups for one in group["params"]):
        raise UserError(f"watch.step: {kind} holds no parameter of the watched model; it is another model's")
