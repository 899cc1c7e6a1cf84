"""Passes through a network: in a lower precision where one is asked for, with a trace in its buffers or without."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call


def forward(
    model: nn.Module,
    inputs: Tensor,
    autocast: torch.dtype | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """A network's outputs [B, ...], differentiable, in float32 where they were computed in less.

    Args:
        model: in training or evaluation mode, as it is.
        inputs: [B, ...].
        autocast: the lower precision of the pass, or None.
        tensors: by qualified name, what stands in for parameters and buffers of the network. Where a layer updates a
            buffer in place, as batch normalization its running statistics, the one that stands in is updated.
    """
    with torch.autocast(inputs.device.type, autocast) if autocast else nullcontext():
        outputs: Tensor = functional_call(model, dict(tensors), (inputs,)) if tensors else model(inputs)
    return outputs.float() if autocast else outputs


def copied_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Copies of a network's buffers: a pass with them leaves its running statistics as they are."""
    return {name: buffer.clone() for name, buffer in model.named_buffers()}
