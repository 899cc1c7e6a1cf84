"""The gradients of single examples, each with its own loss."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fanin.parts.models.passes import copied_buffers
from fanin.streams import drawing_from
from fanin.train.trained_model import TrainedModel

EXAMPLES = 1 << 24
"""Numbers in the gradients of examples that are held at once."""

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def example_gradients(own: TrainedModel, inputs: Tensor, targets: Tensor, mode: str) -> Iterator[Tensor]:
    """The gradient of each example's loss, without penalties, some examples at a time: [n, P].

    Raises:
        RuntimeError: examples are no examples alone, for batch normalization in training mode mixes them.
    """
    if mode == "training" and any(isinstance(one, BATCH_NORMS) for one in own.model.modules()):
        raise RuntimeError("batch normalization in training mode mixes examples: take probe.curvature.mode=evaluation")
    own.model.train(mode == "training")
    theta = {name: one.detach() for name, one in own.model.named_parameters() if one.requires_grad}
    buffers = copied_buffers(own.model)

    def one(theta: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        x, y = x.unsqueeze(0), y.unsqueeze(0)
        loss: Tensor = own.method.minimized(functional_call(own.model, theta | buffers, (x,)), y, x)
        return loss

    each = vmap(grad(one), (None, 0, 0), randomness="different")
    at_once = max(1, EXAMPLES // sum(tensor.numel() for tensor in theta.values()))
    masks = own.probe_dropout().get_state() if own.probe_dropout is not None else None
    for x, y in zip(torch.split(inputs, at_once), torch.split(targets, at_once), strict=True):
        with drawing_from(masks, own.dropout):
            found = each(theta, x, y)
        yield torch.cat([tensor.flatten(1) for tensor in found.values()], 1)
