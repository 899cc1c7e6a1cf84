"""What a training step costs, in floating point operations."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fanin.torch_internals import dispatch_mode

MOST_COUNTED = 64
"""Structures whose counts a process keeps: the oldest makes room."""

_COUNTED: dict[tuple[Hashable, torch.Size], int] = {}


def flops_of_step(model: nn.Module, inputs: Tensor, structure: Hashable = None) -> int:
    """Floating point operations of one forward and backward pass: those of matrix products and convolutions.

    For a chain of matrices [in_l, out_l] it is 3 * 2 B sum_l in_l out_l - 2 B in_1 out_1: forward, the gradients of the
    weights, and those of the inputs, which the first layer does not need. Elementwise work (activations, normalization,
    the update) is not counted; further passes of an optimizer are counted by `Passes`.

    One pass in evaluation mode, which leaves no trace in the model: no gradient, no statistics, no random draw.

    Args:
        model: on the inputs' device.
        inputs: [B, ...], one training batch; values do not matter.
        structure: what tells models of different structure apart, e.g. their configuration as text: a structure is
            counted once per process and batch shape. None counts anew.

    Returns:
        FLOPs, of which a multiplication and an addition are two.
    """
    known = (structure, inputs.shape)
    if structure is not None and known in _COUNTED:
        return _COUNTED[known]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        total = _counted(model, inputs.detach())
    finally:
        for module, training in modes:
            module.training = training
    if structure is not None:
        if len(_COUNTED) == MOST_COUNTED:
            del _COUNTED[next(iter(_COUNTED))]
        _COUNTED[known] = total
    return total


def formulas() -> Mapping[Any, Any]:
    """Torch's formulas by operation, without the warning that it logs where triton is missing, as on Windows."""
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)
    from torch.utils.flop_counter import flop_registry

    return flop_registry


def _counted(model: nn.Module, inputs: Tensor) -> int:
    """Of a pass forward and one backward."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.enable_grad(), counter() as counted:
        outputs = model(inputs)
        if outputs.requires_grad:
            torch.autograd.grad(outputs.sum(), parameters, allow_unused=True)
    return int(counted.total)


def counter() -> Any:
    """A context that counts what is computed in it, as `total`.

    With torch's formulas, but not with its FlopCounterMode, whose first use imports sympy: 0.8 s.
    """
    flop_registry = formulas()

    class Counter(dispatch_mode()):  # type: ignore[misc]
        total = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            formula = flop_registry.get(func._overloadpacket)
            if formula is not None:
                self.total += formula(*args, **(kwargs or {}), out_val=result)
            return result

    return Counter()


class Passes:
    """What steps have cost beside their first passes: sam's second one, and those that an optimizer asks for.

    A pass is counted by its operations the first time that one of its kind and shape is made, and has the same count
    ever after: looking at every operation would take longer than the operations.

    Attributes:
        gradients: examples whose gradient was taken; a product with a matrix of second derivatives counts as one.
        repeated: those of them whose pass was the same as the step's first.
        flops: floating point operations of all others.
    """

    def __init__(self) -> None:
        self.gradients = self.repeated = self.flops = 0
        self._known: dict[Hashable, int] = {}

    @contextmanager
    def __call__(self, kind: Hashable, gradients: int = 0) -> Iterator[None]:
        """Count what is computed in a block.

        Args:
            kind: what tells it from blocks of another cost: its name, and the shapes of what goes in.
            gradients: examples whose gradient is taken in it.
        """
        self.gradients += gradients
        if kind in self._known:
            yield
        else:
            with counter() as counted:
                yield
            self._known[kind] = int(counted.total)
        self.flops += self._known[kind]

    def repeat(self, examples: int) -> None:
        """Count a pass, forward and backward, that is the same as the step's first."""
        self.gradients += examples
        self.repeated += examples

    def state_dict(self) -> list[int]:
        """What is needed to go on counting."""
        return [self.gradients, self.repeated, self.flops]

    def load_state_dict(self, state: list[int]) -> None:
        """Load what `state_dict` returned."""
        self.gradients, self.repeated, self.flops = state
