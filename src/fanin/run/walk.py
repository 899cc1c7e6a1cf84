"""The parts of a model in the order in which it runs them, and where each takes its inputs from.

One pass of a few examples shows it. A part takes what an earlier one gave if it is the same memory, unchanged since;
anything else was made by the model itself, between its parts, where nobody sees what it does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fanin.parts.models.passes import copied_buffers, forward
from fanin.parts.noise import noise_modules
from fanin.probes.modules import watched

INPUT = -1
"""The place of the model's input."""

EXAMPLES = 2


@dataclass(frozen=True)
class Taken:
    """One input of a part.

    Args:
        place: in the walk, of the part that gave it; INPUT for the model's; None if no part did.
        shape: in which it was taken.
    """

    place: int | None
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Ran:
    """A part that ran.

    Args:
        label: its name as profiles have it, numbered if it runs again.
        module: itself.
        inputs: what it took.
        shape: of what it gave.
        again: whether it had run before.
    """

    label: str
    module: nn.Module
    inputs: tuple[Taken, ...]
    shape: tuple[int, ...]
    again: bool


@dataclass(frozen=True)
class Compound:
    """A module of parts that has a rule as a whole.

    Args:
        module: itself.
        inputs: what it took.
        first, end: of its parts in the walk, `end` not among them.
    """

    module: nn.Module
    inputs: tuple[Taken, ...]
    first: int
    end: int


@dataclass(frozen=True)
class Walk:
    """A model's parts.

    Args:
        parts: in the order in which they ran.
        last: the place of the part that gave what the model returns; None if no part did.
        compounds: the modules of parts that have a rule as a whole.
    """

    parts: tuple[Ran, ...]
    last: int | None
    compounds: tuple[Compound, ...] = ()


def walk(model: nn.Module, inputs: Tensor, compound: Callable[[nn.Module], bool] = lambda module: False) -> Walk:
    """The parts that run when a model is given inputs.

    Parts are the modules that profiles look at, and those that bring a `signal_rule`, whose insides do not count.

    Args:
        model: left as it was, its buffers and random streams too.
        inputs: [B, ...], of which a few are used.
        compound: whether a module of parts has a rule as a whole.
    """
    some = inputs[:EXAMPLES]
    given: list[tuple[Tensor, int, int]] = [(some, some._version, INPUT)]
    parts: list[Ran] = []
    compounds: list[Compound] = []
    calls: Counter[str] = Counter()
    open_calls: list[tuple[tuple[Taken, ...], int]] = []
    inside = 0

    def source(tensor: Tensor) -> Taken:
        for known, version, place in reversed(given):
            alike = tensor.data_ptr() == known.data_ptr() and tensor.numel() == known.numel()
            view = (tensor.shape, tensor.stride()) == (known.shape, known.stride())
            if alike and tensor._version == version and (view or (tensor.is_contiguous() and known.is_contiguous())):
                return Taken(place, tuple(tensor.shape))
        return Taken(None, tuple(tensor.shape))

    def before(whole: bool) -> Any:
        def look(module: nn.Module, arguments: Any, keywords: Any) -> None:
            nonlocal inside
            open_calls.append((tuple(map(source, _tensors([*arguments, *keywords.values()]))), len(parts)))
            inside += whole

        return look

    def after(name: str, whole: bool) -> Any:
        def look(module: nn.Module, arguments: Any, output: Any) -> None:
            nonlocal inside
            inside -= whole
            taken, already = open_calls.pop()
            if compound(module) and not inside and len(parts) > already:
                compounds.append(Compound(module, taken, already, len(parts)))
            if inside or len(parts) > already:  # a part of a part, or one whose own parts were seen
                return
            outputs = _tensors(output)
            calls[name] += 1
            label = name if calls[name] == 1 else f"{name}.{calls[name]}"
            shape = tuple(outputs[0].shape) if outputs else ()
            parts.append(Ran(label, module, taken, shape, calls[name] > 1))
            given.extend((one, one._version, len(parts) - 1) for one in outputs[:1])

        return look

    handles = []
    for name, module in _parts(model, compound):
        whole = hasattr(module, "signal_rule") or next(module.children(), None) is None
        handles.append(module.register_forward_pre_hook(before(whole), with_kwargs=True))
        handles.append(module.register_forward_hook(after(name, whole)))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _own_generators(model):
            outputs = forward(model, some, tensors=copied_buffers(model))
    finally:
        for handle in handles:
            handle.remove()
    last = source(outputs).place if isinstance(outputs, Tensor) else None
    return Walk(tuple(parts), None if last == INPUT else last, tuple(compounds))


def _parts(model: nn.Module, compound: Callable[[nn.Module], bool]) -> list[tuple[str, nn.Module]]:
    """The modules to look at."""
    seen = dict(watched(model))
    seen |= {
        name: module for name, module in model.named_modules() if hasattr(module, "signal_rule") or compound(module)
    }
    return list(seen.items())


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, (tuple, list)):
        return [tensor for one in value for tensor in _tensors(one)]
    return []


@contextmanager
def _own_generators(model: nn.Module) -> Iterator[None]:
    """The pass draws from torch's own stream, not from the generators that modules were given."""
    kept = [(module, module.generator) for module in noise_modules(model)]
    try:
        for module, _ in kept:
            module.generator = None
        yield
    finally:
        for module, generator in kept:
            module.generator = generator
