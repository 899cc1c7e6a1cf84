"""What is seen of the passes of R runs, made complete with their weights and gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType

from torch import Tensor, zeros_like

from fanin.probes.capture import Capture, Observation
from fanin.probes.measures import norms
from fanin.probes.modules import Named
from fanin.probes.quantities import Quantity, needs

Tensors = Mapping[str, Tensor]


class Observer:
    """Knows the weights of R runs and makes observations of them complete.

    Args:
        weights: of the weight layers by name, [R, ...] each or, of one run, without that axis; training changes them.
        initial: they as they were at step 0, [R, ...] each; empty where nobody asks for it.
        runs: R.
        fan_ins: of the weight layers: how many inputs one output sums over.
        biases: of the weight layers that have some, by name, as the weights.
    """

    def __init__(
        self,
        weights: Tensors,
        initial: Tensors,
        runs: int,
        fan_ins: Mapping[str, int],
        biases: Tensors = MappingProxyType({}),
    ) -> None:
        self.biases = biases
        self.weights, self.initial, self.runs, self.fan_ins = weights, initial, runs, fan_ins
        self._norms: Tensor | None = None

    def add_weights(self, seen: Observation, *, copy: bool) -> None:
        """Add the weights that the pass met, in the order it met them; a copy where an update follows."""
        weights = [self._stacked(self.weights[name]) for name in seen.weight_names]
        seen.weights = [weight.clone() for weight in weights] if copy else weights
        seen.fan_ins = [self.fan_ins[name] for name in seen.weight_names]
        seen.initial = [self.initial[name] for name in seen.weight_names if name in self.initial]
        seen.initial_norms = partial(self._initial_norms, seen.initial)

    def add_gradients(self, seen: Observation, gradients: Mapping[str, Tensor | None], *, copy: bool) -> None:
        """Add the gradients of the weights that the pass met; 0 where the loss does not depend on a weight."""
        seen.gradients += [self._held(self.weights[name], gradients.get(name), copy) for name in seen.weight_names]

    def add_bias_gradients(self, seen: Observation, gradients: Mapping[str, Tensor | None], *, copy: bool) -> None:
        """Add the gradients of the biases beside them, by the names of their layers."""
        seen.bias_gradients += [
            self._held(self.biases[name], gradients.get(name), copy) if name in self.biases else None
            for name in seen.weight_names
        ]

    def add_updated(self, seen: Observation) -> None:
        """Add the weights as the update has left them."""
        seen.updated = [self._stacked(self.weights[name]) for name in seen.weight_names]

    def _held(self, parameter: Tensor, gradient: Tensor | None, copy: bool) -> Tensor:
        held = zeros_like(parameter) if gradient is None else gradient.clone() if copy else gradient
        return held if self.runs > 1 else held.unsqueeze(0)

    def _stacked(self, tensor: Tensor) -> Tensor:
        return tensor.detach() if self.runs > 1 else tensor.detach().unsqueeze(0)

    def _initial_norms(self, initial: Sequence[Tensor]) -> Tensor:
        if self._norms is None:
            self._norms = norms(initial)
        return self._norms


class CurveCapture:
    """Captures, in a training pass of one run, what its curves need and no more.

    Args:
        capture: of the network.
    """

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self._blocks: tuple[list[str], list[str], list[Named]] | None = None  # weight layers, ends in order, the same
        self._numbers: dict[str, int] = {}  # of weight layers, as they first ran
        self._varies = False  # whether it is not always the same modules that run

    @contextmanager
    def during(self, inputs: Tensor, curves: Sequence[str | Quantity]) -> Iterator[Observation]:
        """Capture what the curves need: after a first full look only the ends of the blocks, if those at all."""
        of = needs(curves)
        gradients = "activation_gradient" in of
        if self._blocks is None:
            with self.capture.everything(inputs, gradients=gradients) as seen:
                yield seen
            for name in seen.weight_names:
                self._numbers.setdefault(name, len(self._numbers) + 1)
            seen.numbers = self._numbers
            # A module that is called twice bears a name of its own then: such a network gets the full look every time.
            if not self._varies and set(seen.modules[1:]) <= {name for name, _ in self.capture.modules}:
                ends = [seen.modules[end] for end in seen.block_ends]
                self._blocks = (seen.weight_names, ends, [one for one in self.capture.modules if one[0] in set(ends)])
            return
        names, ends, modules = self._blocks
        needed = modules if gradients or "activation" in of else []
        with self.capture.only(needed, gradients=gradients) as seen:
            yield seen
        seen.weight_names, seen.block_ends, seen.numbers = names, list(range(len(needed))), self._numbers
        if needed and seen.modules != ends:  # experts without an example, depth that is left to chance
            self._blocks, self._varies = None, True
            there = {label: place for place, label in enumerate(seen.modules)}
            pairs = [(name, there[end]) for name, end in zip(names, ends, strict=True) if end in there]
            seen.weight_names, seen.block_ends = [name for name, _ in pairs], [place for _, place in pairs]
