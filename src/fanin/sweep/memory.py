"""How much memory a run takes: weights, gradients, optimizer state, and the activations that a pass keeps."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from fanin.probes.modules import first_tensor, watched
from fanin.run.build import load_data, recipe
from fanin.run.make_option import Options
from fanin.run.recipe import Recipe

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
    options = Options(cfg)
    made = recipe(options)
    data = load_data(options, torch.device("cpu"), made.dtype, indices=made.takes_indices)
    model = made.make_model(data.input_shape, made.method.loss.out_features(data.classes)).to(made.dtype)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    copies = COPIES + slots(made) + (not made.method.averaging.neutral)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # starting others takes longer than what they would do
    passes = [_pass(model, data.train_x.new_zeros(count, *data.input_shape)) for count in FEW]
    torch.set_num_threads(threads)
    (kept, outputs), (kept_of_more, _) = passes
    each = (kept_of_more - kept) / (FEW[1] - FEW[0])
    rest = kept - FEW[0] * each  # functions of the weights alone
    trained_on, looked_at = made.trainer.batch(len(data.train_x)), 0
    if made.probe.profile_due(0):
        looked_at = made.probe.batch_size
    largest = max(trained_on * each, looked_at * (each + 2 * outputs / FEW[0]))
    return int(copies * weights + rest + largest)


def slots(made: Recipe) -> float:
    """Entries that the optimizer keeps for each entry of a weight matrix, found by a step of it."""
    weight = nn.Parameter(torch.ones(4, 4))
    weight.grad = torch.ones(4, 4)
    optimizer = made.make_optimizer([weight])
    optimizer.step()
    held = [value for value in optimizer.state[weight].values() if isinstance(value, Tensor)]
    return sum(value.numel() for value in held) / weight.numel()


def _pass(model: nn.Module, inputs: Tensor) -> tuple[int, int]:
    """Bytes that autograd keeps of a training pass, those of the model apart, and bytes of all modules' outputs.

    On the CPU: on the meta device torch imports sympy for it, two seconds.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}
    outputs = 0

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # views share one
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal outputs
        tensor = first_tensor(output)
        outputs += 0 if tensor is None else tensor.nbytes

    hooks = [module.register_forward_hook(count) for _, module in watched(model)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = model(inputs)  # held, or its memory would be used again
    for hook in hooks:
        hook.remove()
    del result
    return sum(size for place, size in kept.items() if place not in own), outputs
