"""Jacobians of a network, by backward passes of random vectors: nothing as large as a Jacobian is ever held.

E ||J^T v||^2 = ||J||_F^2 for entries of v that are 1 or -1 at random (Hutchinson 1990).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fanin.devices import widened
from fanin.probes.modules import first_tensor, watched

MOST_ROWS = 1000
"""Rows of Jacobians that a spectrum is made of, a backward pass each."""


SPECTRUM = ("spectrum_mean", "spectrum_max", "spectrum_variance")
"""Of the squares of the singular values of the Jacobian of outputs with respect to inputs."""

VECTORS = 4
"""Random vectors for each Jacobian of a profile."""

OPENED = (nn.Sequential.forward, nn.ModuleList.forward)
"""What runs its parts one after the other, or leaves them to others."""


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Args:
        name, module: of it.
        input: the first tensor that it got.
        output: the first tensor that it gave.
        place: among all calls, from 1.
    """

    name: str
    module: nn.Module
    input: Tensor | None
    output: Tensor
    place: int

    @property
    def weighs(self) -> bool:
        """Whether the module owns a weight matrix or kernel."""
        weight = dict(self.module.named_parameters(recurse=False)).get("weight")
        return weight is not None and weight.ndim >= 2


@contextmanager
def calls_of(model: nn.Module) -> Iterator[list[Call]]:
    """The calls of a model's innermost modules while the block runs, with tensors that gradients flow through."""
    calls: list[Call] = []

    def look(name: str, module: nn.Module) -> Any:
        own = next(module.children(), None) is not None  # it is looked at where none of those inside runs

        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = first_tensor(output)
            inside = any(call.name.startswith(f"{name}.") for call in calls) if own else False
            if tensor is not None and not inside:
                calls.append(Call(name, module, first_tensor(inputs), tensor, len(calls) + 1))

        return module.register_forward_hook(hook)

    handles = [look(name, module) for name, module in watched(model)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def jacobian_norm(start: Tensor, end: Tensor, vectors: int, generator: torch.Generator) -> float | None:
    """||d end / d start||_F^2 over the entries of `end`: the averaged partial Jacobian norm of what lies between.

    J = E ||dx_(l+1) / dx_l||_F^2 / n_(l+1), the mean over examples; None if `end` does not depend on `start`.
    At infinite width it is chi_perp for a layer of a chain. Source: Doshi, He & Gromov 2023.

    Args:
        start, end: [B, ...] each, of one graph.
        vectors: random vectors, >= 1; the estimate of one has a relative error of about sqrt(2 / entries).
        generator: the CPU's.

    >>> x = torch.ones(1, 2, requires_grad=True)
    >>> jacobian_norm(x, 3 * x, 1, torch.Generator())
    9.0
    """
    total = 0.0
    for _ in range(vectors):
        signs = torch.randint(2, end.shape, generator=generator) * 2 - 1
        (back,) = torch.autograd.grad(end, start, signs.to(end.device, end.dtype), retain_graph=True, allow_unused=True)
        if back is None:
            return None
        total += widened(back).square().sum().item()
    return total / (vectors * end.numel())


def blocks(model: nn.Module, calls: Sequence[Call]) -> list[Call]:
    """The last call of each block: of a part that holds weights, with what follows it without any.

    Parts are what stands in the model, or in a nn.Sequential or nn.ModuleList of it. In a chain blocks are the weight
    layers with their activations, in a residual network the blocks with their sums. There are none in a network whose
    parts run more than once, as a recurrent one's do.
    """
    names = [call.name for call in calls]
    if len(set(names)) < len(names):
        return []
    parts = [_part(model, call.name) for call in calls]
    weighing = {part for part, call in zip(parts, calls, strict=True) if call.weighs}
    ends: list[Call] = []
    current = ""
    for place, part in enumerate(parts):
        if part in weighing and part != current:
            ends += [calls[place - 1]] if current else []
            current = part
    return [*ends, calls[-1]] if current else []


def _part(model: nn.Module, name: str) -> str:
    """The outermost part that a module belongs to, lists and chains of parts opened."""
    module, pieces = model, name.split(".")
    for place, piece in enumerate(pieces, start=1):
        module = module.get_submodule(piece)
        if type(module).forward not in OPENED:
            return ".".join(pieces[:place])
    return name


def spectrum(inputs: Tensor, outputs: Tensor) -> Tensor:
    """The squares of the singular values of d output / d input of the first examples, all in one vector, float64.

    Args:
        inputs: [B, ...], of the graph.
        outputs: [B, ...].

    >>> x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    >>> spectrum(x, x * torch.tensor([3.0, 1.0])).tolist()
    [9.0, 1.0]
    """
    flat = outputs.flatten(1)
    examples = max(1, min(len(flat), 10, MOST_ROWS // flat.shape[1]))
    squares = []
    for example in range(examples):
        rows = []
        for entry in flat[example]:
            (back,) = torch.autograd.grad(entry, inputs, retain_graph=True, allow_unused=True)
            rows.append(torch.zeros_like(inputs[example]) if back is None else back[example])
        jacobian = widened(torch.stack(rows).flatten(1))
        if not jacobian.isfinite().all():  # of which there is no decomposition
            return torch.full((1,), torch.nan, dtype=torch.float64)
        squares.append(torch.linalg.svdvals(jacobian).square())
    return torch.cat(squares)


def measured(
    model: nn.Module, calls: Sequence[Call], inputs: Tensor, outputs: Tensor, *, norms: bool, spectra: bool
) -> dict[tuple[str, int, str, str], float]:
    """What a profile says of Jacobians, by axis, index, layer and quantity; see `jacobian_norm` and `spectrum`.

    Args:
        model: that ran.
        calls: of its modules.
        inputs: of the pass, [B, ...], with gradients.
        outputs: of it.
        norms: whether to measure jacobian_norm, from each block's end to the next one's.
        spectra: whether to measure spectrum_mean, spectrum_max and spectrum_variance, of the whole network.
    """
    found: dict[tuple[str, int, str, str], float] = {}
    generator = torch.Generator().manual_seed(0)
    start = inputs
    for end in blocks(model, calls) if norms else ():
        norm = jacobian_norm(start, end.output, VECTORS, generator)
        if norm is not None:
            found["module", end.place + 1, end.name, "jacobian_norm"] = norm
        start = end.output
    if spectra and calls and outputs.ndim > 1:
        squares, last = spectrum(inputs, outputs), calls[-1]
        values = (squares.mean(), squares.max(), squares.var(correction=0))
        for name, value in zip(SPECTRUM, values, strict=True):
            found["module", last.place + 1, last.name, name] = value.item()
    return found
