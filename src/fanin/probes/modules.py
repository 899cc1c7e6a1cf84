"""Which modules of a network are looked at, and what of that which they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

Named = tuple[str, nn.Module]


def watched(model: nn.Module) -> list[Named]:
    """The modules to look at, with their qualified names.

    They are those that have none inside them; those that make their weight from others (torch's parametrizations,
    whose own modules are left out); and those that own parameters beside the modules inside them, as
    nn.MultiheadAttention does: these last ones are recorded only where none of the modules inside them runs.
    """
    return [
        (name, module)
        for name, module in model.named_modules()
        if ".parametrizations." not in f".{name}." and (_is_leaf(module) or (name and _owns_parameters(module)))
    ]


def inner(named: Named, modules: Sequence[Named]) -> tuple[str, ...]:
    """The names of those modules that are inside of another one, which is recorded only if none of them runs."""
    name, module = named
    return () if _is_leaf(module) else tuple(one for one, _ in modules if one.startswith(f"{name}."))


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None or hasattr(module, "parametrizations")


def _owns_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor of real numbers in what a module gave; None if there is none.

    Modules give tensors, or tuples, lists, dictionaries and objects of them: of nn.LSTM it is the hidden states of
    all steps, of nn.MultiheadAttention the outputs, not the attention weights.
    """
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, Mapping):
        output = output.values()
    elif not isinstance(output, (tuple, list)):
        output = vars(output).values() if hasattr(output, "__dict__") else ()
    return next((found for one in output if (found := first_tensor(one)) is not None), None)
