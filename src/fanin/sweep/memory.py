"""How much memory a run takes: its weights with all that is as large as they are, and what a pass keeps."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from fanin.build import load_data, recipe
from fanin.probes.capture import leaves
from fanin.recipe import Recipe

COPIES = 4
"""Of the weights: themselves, as they were at the start, their gradients, and the best so far."""

FEW = (2, 4)
"""Examples in the passes that are measured; batch normalization asks for two."""


def bytes_of_a_run(cfg: DictConfig) -> int:
    """About what a run takes in memory beside its data.

    Its weights, their copies and the optimizer's slots; and of one pass, be it one of training or the look of a
    profile, what autograd keeps. The look keeps the outputs of all modules and their gradients, too.

    Args:
        cfg: a composed configuration without mistakes.
    """
    made = recipe(cfg)
    data = load_data(cfg, torch.device("cpu"), torch.float32)
    model = made.make_model(data.input_shape, made.method.loss.out_features(data.classes))
    weights = sum(parameter.numel() for parameter in model.parameters())
    copies = COPIES + slots(made) + (not made.method.averaging.neutral)
    (kept, outputs), (kept_twice, _) = (_pass(model, (count, *data.input_shape)) for count in FEW)
    each = (kept_twice - kept) / (FEW[1] - FEW[0])  # the rest are functions of the weights alone
    rest = kept - FEW[0] * each

    def kept_of(examples: int) -> float:
        return rest + examples * each

    looked_at = made.probe.batch_size if made.probe.profile_due(0) else 0
    largest = max(kept_of(made.trainer.batch(len(data.train_x))), kept_of(looked_at) + 2 * looked_at * outputs / FEW[0])
    return int(made.dtype.itemsize * (copies * weights + largest))


def slots(made: Recipe) -> float:
    """Entries that the optimizer keeps for each entry of a weight matrix, found by a step of it."""
    weight = nn.Parameter(torch.ones(4, 4))
    weight.grad = torch.ones(4, 4)
    optimizer = made.make_optimizer([weight])
    optimizer.step()
    held = [value for value in optimizer.state[weight].values() if isinstance(value, Tensor)]
    return sum(value.numel() for value in held) / weight.numel()


def _pass(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Entries that autograd keeps of a training pass, those of the model apart, and entries of all modules' outputs.

    On the CPU: on the meta device torch imports sympy for it, two seconds.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}
    outputs = 0

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # views share one
        kept[storage.data_ptr()] = storage.nbytes() // tensor.itemsize
        return tensor

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal outputs
        outputs += output.numel()

    hooks = [module.register_forward_hook(count) for _, module in leaves(model)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = model(torch.zeros(shape))  # held, or its memory would be used again
    for hook in hooks:
        hook.remove()
    del result
    return sum(size for place, size in kept.items() if place not in own), outputs
