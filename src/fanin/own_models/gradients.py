"""The gradients of a step, as a loop leaves them on the parameters: without a scaler's factor, dense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fanin.torch_internals import is_unscaled

Gradients = dict[str, Tensor | None]


def factor_of(scaler: Any) -> float:
    """What the gradients still have to be divided by; 1 without a torch.amp.GradScaler, or once it has unscaled."""
    return 1.0 if scaler is None or is_unscaled(scaler) else float(scaler.get_scale())


def gradients_of(weights: Mapping[str, Tensor], factor: float = 1.0, *, copy: bool = False) -> Gradients:
    """The gradients of weights by name, divided by a factor; None where there is none.

    Args:
        weights: by name.
        factor: what the loss was multiplied with.
        copy: whether they are kept while something goes on to work on them.

    >>> weight = torch.ones(2, 1, requires_grad=True)
    >>> (8 * weight.sum()).backward()
    >>> gradients_of({"0": weight}, 4.0)["0"].tolist()
    [[2.0], [2.0]]
    """
    found: Gradients = {}
    for name, weight in weights.items():
        gradient = None if weight.grad is None else weight.grad.detach()
        if gradient is not None:
            gradient = gradient.to_dense() if gradient.is_sparse else gradient
            if factor != 1.0:  # in float32, as GradScaler.unscale_ does
                gradient = gradient * torch.tensor(1 / factor).item()
            elif copy:
                gradient = gradient.clone()
        found[name] = gradient
    return found
