"""The gradients of single examples, each with its own loss."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fanin.devices import widened
from fanin.parts.models.passes import copied_buffers
from fanin.streams import drawing_from
from fanin.train.trained_model import TrainedModel

EXAMPLES = 1 << 24
"""Numbers in the gradients of examples that are held at once."""

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def gradient_moments(own: TrainedModel, inputs: Tensor, targets: Tensor) -> tuple[float, float]:
    """Of the gradients g_i of n >= 2 examples: sum over all parameters of their variance, and ||mean||^2.

    The variance is $sum_i ||g_i - g||^2 / (n - 1)$. The network is in training mode, its masks are the probe's.

    Raises:
        RuntimeError: examples are no examples alone.
    """
    whole, squares = torch.zeros((), dtype=torch.float64), 0.0
    kept = own.model.training
    for each in example_gradients(own, inputs, targets, "training"):
        each = widened(each.detach())
        whole, squares = whole.to(each.device) + each.sum(dim=0), squares + float(each.square().sum())
    own.model.train(kept)
    n = len(inputs)
    square = float((whole / n).square().sum())
    return max(squares - n * square, 0.0) / (n - 1), square


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
        copies = {name: buffer.clone() for name, buffer in buffers.items()}  # a layer may update its own in place
        loss: Tensor = own.method.minimized(functional_call(own.model, theta | copies, (x,)), y, x)
        return loss

    each = vmap(grad(one), (None, 0, 0), randomness="different")
    at_once = max(1, EXAMPLES // sum(tensor.numel() for tensor in theta.values()))
    masks = own.probe_dropout().get_state() if own.probe_dropout is not None else None
    for x, y in zip(torch.split(inputs, at_once), torch.split(targets, at_once), strict=True):
        with drawing_from(masks, own.dropout):
            found = each(theta, x, y)
        yield torch.cat([tensor.flatten(1) for tensor in found.values()], 1)
