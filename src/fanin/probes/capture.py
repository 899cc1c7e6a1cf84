"""Capturing what passes through a network in one forward and backward pass, by hooks that live only then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass
class Observation:
    """One look at R runs of one structure; every tensor has the leading axis R.

    Args:
        modules: names of the modules in the order of execution; the first is "input".
        activations: their outputs, [R, B, ...] each (the first the input itself).
        activation_gradients: dL/d output of each, None where nothing flows back (the input).
        weight_at: positions, in `modules`, of the modules that own a weight.
        weights: the weights the pass was made with, [R, fan_out, fan_in, ...] each, in the same order.
        gradients: dL/dW of each.
        initial: the weights at step 0.
        updated: the weights after the step's update; None where there was none.
    """

    modules: list[str] = field(default_factory=lambda: ["input"])
    activations: list[Tensor] = field(default_factory=list)
    activation_gradients: list[Tensor | None] = field(default_factory=list)
    weight_at: list[int] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    initial: list[Tensor] = field(default_factory=list)
    updated: list[Tensor] | None = None

    @property
    def weight_names(self) -> list[str]:
        """The modules that own a weight, in the order of execution."""
        return [self.modules[position] for position in self.weight_at]

    @property
    def block_ends(self) -> list[int]:
        """For each weight layer the position of its block's last module: what the next weight layer receives."""
        return [position - 1 for position in self.weight_at[1:]] + [len(self.modules) - 1]


@contextmanager
def capturing(model: nn.Module, x: Tensor, *, gradients: bool) -> Iterator[Observation]:
    """Record the output of every leaf module, and the gradient with respect to it, while the block runs.

    Gradients come from hooks on the output tensors: full backward hooks would wrap every module's inputs in an
    autograd node of their own. Nothing is left on the model afterwards.
    """
    seen = Observation(activations=[x.detach().unsqueeze(0)], activation_gradients=[None])
    calls: Counter[str] = Counter()
    handles = []

    def look(name: str, module: nn.Module, output: Tensor) -> None:
        calls[name] += 1
        position = len(seen.modules)
        # A module used several times (recurrence, shared weights) gets a number per call.
        seen.modules.append(name if calls[name] == 1 else f"{name}.{calls[name]}")
        seen.activations.append(output.detach().unsqueeze(0))
        seen.activation_gradients.append(None)
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim >= 2 and calls[name] == 1:
            seen.weight_at.append(position)
        if gradients and output.requires_grad:

            def keep(gradient: Tensor) -> None:
                seen.activation_gradients[position] = gradient.unsqueeze(0)

            handles.append(output.register_hook(keep))  # type: ignore[no-untyped-call]

    for name, module in model.named_modules():
        if not any(True for _ in module.children()):
            handles.append(
                module.register_forward_hook(lambda module, _, output, name=name: look(name, module, output))
            )
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
