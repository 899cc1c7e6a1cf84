"""Torch's global random stream, which no part of fanin uses and a user's own modules may: dropout, noise, a draw.

It is one run's then: seeded as its dropout stream, kept through looks, written into its checkpoints. That suffices,
for runs with parts of a user's own are trained alone.
"""

from __future__ import annotations

import torch
from torch import nn


def draws_from_it(model: nn.Module) -> bool:
    """Whether a module of the model may draw from torch's stream: a user's, or one of torch's that does."""
    return any(
        not type(module).__module__.startswith(("fanin.", "torch.nn."))
        or isinstance(module, nn.modules.dropout._DropoutNd | nn.RReLU)
        for module in model.modules()
    )


def torch_stream(device: torch.device) -> torch.Generator:
    """The generator that torch's functions draw from on a device."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        found: torch.Generator = torch.cuda.default_generators[index]
        return found
    return torch.default_generator
