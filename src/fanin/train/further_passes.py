"""Passes of a step beside its first one: uphill, for an optimizer that asks for more, and for running statistics."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import cast

import torch
from torch import Tensor, nn

from fanin.parts.models.passes import copied_buffers
from fanin.parts.optimizers.objective import Objective
from fanin.parts.regularizers import Regularizer
from fanin.torch_internals import foreach_add_, foreach_copy_
from fanin.train.batches import Batches
from fanin.train.step import Average
from fanin.train.trained_model import TrainedModel

Again = Callable[[], AbstractContextManager[None]]
"""Makes a context in which a pass draws the masks of the first one."""

Layers = dict[str, nn.Module]

STATISTICS_CHUNK = 250
"""Examples in one batch whose mean and variance enter the running statistics of an average."""


def climb(own: TrainedModel, sam: Regularizer, inputs: Tensor, targets: Tensor, again: Again) -> None:
    """Replace the gradients by those a step uphill; the same masks, and running statistics as they are."""
    trained: list[Tensor] = [one for one in own.parameters if one.grad is not None]
    for weight, mask in zip(own.trained_weights.values(), own.weight_masks if own.masks else (), strict=False):
        if mask is not None and weight.grad is not None:  # uphill pruned weights stay 0, too
            weight.grad.mul_(mask)
    kept = [one.detach().clone() for one in trained]
    ups = sam.displacement([cast(Tensor, one.grad).detach().unsqueeze(0) for one in trained], sam.number)
    with torch.no_grad():
        foreach_add_(trained, [up.squeeze(0) for up in ups])
    with again():
        outputs = own.outputs(inputs, copied_buffers(own.model))
        gradients = torch.autograd.grad(own.method.minimized(outputs, targets, inputs), trained)
    own.passes.repeat(len(inputs))
    with torch.no_grad():
        foreach_copy_(trained, kept)
    for one, gradient in zip(trained, gradients, strict=True):
        one.grad = gradient


def objective(own: TrainedModel, inputs: Tensor, targets: Tensor, again: Again) -> Objective:
    """What an optimizer may ask that needs more than the gradient."""
    assert own.batches is not None, "an optimizer that asks for the training set needs to know it"
    weights, penalties = list(own.trained_weights.values()), own.method.penalties
    return Objective(
        model=own.model,
        loss=own.method.minimized,
        penalty=(lambda: torch.stack([one.penalty(weights) for one in penalties]).sum())
        if penalties and weights
        else None,
        inputs=inputs,
        targets=targets,
        rows=own.batches.rows[0],
        train_inputs=own.batches.inputs,
        train_targets=own.batches.targets,
        replay=again,
        autocast=own.autocast,
        passes=own.passes,
        thresholds=_thresholds(own),
    )


def _thresholds(own: TrainedModel) -> Tensor | None:
    """The strength of what is applied after the step, for each entry of theta: [P]; None where there is nothing."""
    strength = sum(one.number for one in own.method.proximals)
    if not own.method.proximals:
        return None
    weights = {id(one) for one in own.trained_weights.values()}
    return torch.cat(
        [torch.full_like(one.flatten(), strength * (id(one) in weights)) for one in own.parameters]
    ).detach()


def statistics_layers(model: nn.Module) -> Layers:
    """The layers that normalize with a batch's statistics in training and with running ones at evaluation, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(getattr(module, "running_mean", None), Tensor) and hasattr(module, "momentum")
    }


def settle(average: Average, layers: Layers, run: Callable[[Tensor], object], batches: Batches | None) -> None:
    """Estimate the running statistics of an average, once after each of its changes; see `estimate_statistics`."""
    if not average.settled:
        if layers and batches is not None:
            estimate_statistics(layers, average.tensors, run, batches.inputs)
        average.settled = True


def estimate_statistics(
    layers: Layers, tensors: dict[str, Tensor], run: Callable[[Tensor], object], inputs: Tensor
) -> None:
    """Set the running mean and variance of averaged weights, in place: those of the iterates are not theirs.

    The mean, over batches of nearly equal size that make up the training part, of a batch's mean and of its unbiased
    variance. All other layers are as at evaluation: dropout keeps every unit.
    Source: Izmailov et al. 2018, section 3.2; torch.optim.swa_utils.update_bn.

    Args:
        layers: see `statistics_layers`; of the model that `run` runs, which is in evaluation mode.
        tensors: [...] or [R, ...] each, the buffers of the layers among them.
        run: a pass over inputs [B, ...] with these tensors.
        inputs: of the training part, [N, ...].
    """
    names = [f"{layer}.{buffer}" for layer in layers for buffer in ("running_mean", "running_var")]
    chunks = inputs.tensor_split(math.ceil(len(inputs) / STATISTICS_CHUNK))
    sums = {name: torch.zeros_like(tensors[name]) for name in names}
    momenta = [module.momentum for module in layers.values()]
    try:
        for module in layers.values():
            module.train()
            module.momentum = 1.0  # type: ignore[assignment]  # the running statistics are those of the last batch
        for x in chunks:
            run(x)
            for name in names:
                sums[name] += tensors[name]
    finally:
        for module, momentum in zip(layers.values(), momenta, strict=True):
            module.eval()
            module.momentum = momentum
    for name in names:
        tensors[name].copy_(sums[name] / len(chunks))
