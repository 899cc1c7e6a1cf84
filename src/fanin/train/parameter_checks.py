"""Mistakes in a model's parameters that a training would hide: not initialized, not trained, without a gradient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from fanin.errors import UserError

SHOWN = 3
"""Names that a line lists before it counts."""


def check_initialized(model: nn.Module) -> None:
    """Refuse a parameter that holds NaN before the first step.

    Fanin's own layers are made so and an initializer fills them: what still holds NaN was forgotten, or was loaded
    from a run that had diverged.

    Raises:
        UserError: which parameters.
    """
    floating = ((name, one.detach()) for name, one in model.named_parameters() if one.is_floating_point())
    # A sum is NaN if an entry is (or if there are infinities of both signs), and takes no memory of its own.
    forgotten = [name for name, one in floating if bool(one.sum().isnan()) and bool(one.isnan().any())]
    if forgotten:
        raise UserError(
            f"initializer: {listed(forgotten)} of the model hold NaN before the first step; every parameter has to be "
            "filled, by the initializer or by the model itself"
        )


def check_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Refuse a parameter that is trained and not in the optimizer, in it twice, or in it and not of the model.

    Raises:
        UserError: which parameters, and what to do.
    """
    names = {id(one): name for name, one in model.named_parameters()}
    held = [id(one) for group in optimizer.param_groups for one in group["params"]]
    kind = type(optimizer).__name__
    missing = [name for name, one in model.named_parameters() if one.requires_grad and id(one) not in set(held)]
    if missing:
        raise UserError(
            f"optimizer: {kind} leaves out {listed(missing)}; a parameter is in exactly one of its groups, or frozen "
            "by requires_grad_(False)"
        )
    if foreign := sum(one not in names for one in held):
        raise UserError(f"optimizer: {kind} has {foreign} parameters that are not the model's")
    twice = [names[one] for one, count in Counter(held).items() if count > 1]
    if twice:
        raise UserError(f"optimizer: {kind} has {listed(twice)} in more than one place; once is right")


def check_dependence(loss: Tensor) -> None:
    """Refuse a loss without a gradient.

    Raises:
        UserError: that it depends on no parameter that is trained.
    """
    if not loss.requires_grad:
        raise UserError("model: the loss depends on no parameter that is trained")


def without_gradient(names: Sequence[str], gradients: Iterable[Tensor | None]) -> str:
    """One line that says which trained parameters the loss of a batch does not depend on; empty if there are none.

    It is no error: an expert of a mixture may get no example of a batch.
    """
    missing = [name for name, gradient in zip(names, gradients, strict=True) if gradient is None]
    return f"no gradient reaches {listed(missing)} in the first step" if missing else ""


def listed(names: Sequence[str]) -> str:
    """ "a, b, c and 4 more"."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
