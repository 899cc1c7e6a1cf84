"""Capturing what passes through a network in one forward and backward pass, by hooks that live only then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Observation:
    """One look at R runs of one structure; every tensor has the leading axis R.

    Args:
        modules: names of the modules that were looked at, in the order of execution.
        activations: their outputs, [R, B, ...] each; that of "input" is the input itself.
        activation_gradients: dL/d output of each; None where nothing flows back, or nobody asked.
        weight_names: the modules that own a weight, in the order of execution.
        block_ends: for each of them the position, in `modules`, of its block's last module: what the next weight
            layer receives; for the last one the network's output.
        weights: the weights the pass was made with, [R, fan_out, fan_in, ...] each, in the order of `weight_names`.
        gradients: dL/dW of each.
        initial: the weights at step 0.
        initial_norms: their norms, [n, R]; asked for only where they are needed, and kept by the learner.
        updated: the weights after the step's update; None where there was none, or nobody asked.
    """

    modules: list[str] = field(default_factory=list)
    activations: list[Tensor] = field(default_factory=list)
    activation_gradients: list[Tensor | None] = field(default_factory=list)
    weight_names: list[str] = field(default_factory=list)
    block_ends: list[int] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    initial: list[Tensor] = field(default_factory=list)
    initial_norms: Callable[[], Tensor] = lambda: torch.empty(0)
    updated: list[Tensor] | None = None


Named = tuple[str, nn.Module]


def leaves(model: nn.Module) -> list[Named]:
    """The modules that have none inside them, with their qualified names."""
    return [(name, module) for name, module in model.named_modules() if next(module.children(), None) is None]


@contextmanager
def capturing(modules: Sequence[Named], x: Tensor | None = None, *, gradients: bool = False) -> Iterator[Observation]:
    """Record the outputs of modules while the block runs; the observation is filled in as the block ends.

    Gradients come from hooks on the output tensors: full backward hooks would wrap every module's inputs in an
    autograd node of their own. Nothing is left on the modules afterwards.

    Args:
        modules: the modules to look at.
        x: the network's input [B, ...], to be recorded as the module "input", where `modules` are all that run; the
            observation then also says which of them own a weight and where blocks end. None where that is known.
        gradients: whether to record the gradients with respect to the outputs.
    """
    seen = Observation()
    outputs: list[tuple[Named, Tensor]] = []
    flowed: dict[int, Tensor] = {}
    handles = []

    def watch(named: Named) -> Callable[[nn.Module, Any, Tensor], None]:
        def look(module: nn.Module, inputs: Any, output: Tensor) -> None:
            place = len(outputs)
            outputs.append((named, output))
            if gradients and output.requires_grad:
                handles.append(output.register_hook(partial(flowed.__setitem__, place)))  # type: ignore[no-untyped-call]

        return look

    handles += [named[1].register_forward_hook(watch(named)) for named in modules]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
    seen.activations = [output.detach().unsqueeze(0) for _, output in outputs]
    seen.activation_gradients = [flowed[at].unsqueeze(0) if at in flowed else None for at in range(len(outputs))]
    if x is not None:
        seen.activations.insert(0, x.detach().unsqueeze(0))
        seen.activation_gradients.insert(0, None)
        _find_blocks(seen, [named for named, _ in outputs])


def _find_blocks(seen: Observation, ran: Sequence[Named]) -> None:
    """Name what ran after the input, and find the weights and the ends of their blocks."""
    seen.modules = ["input"]
    calls: Counter[str] = Counter()
    weights_at: list[int] = []
    for name, module in ran:
        calls[name] += 1
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim >= 2 and calls[name] == 1:
            weights_at.append(len(seen.modules))
            seen.weight_names.append(name)
        # A module used several times (recurrence, shared weights) gets a number per call.
        seen.modules.append(name if calls[name] == 1 else f"{name}.{calls[name]}")
    seen.block_ends = [position - 1 for position in weights_at[1:]] + [len(seen.modules) - 1]
