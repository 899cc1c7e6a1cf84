"""Looks at the passes of one run: what is captured, and which weights and gradients belong to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn, zeros_like

from fanin.probes.capture import Named, Observation, capturing, leaves
from fanin.probes.measures import norms
from fanin.probes.probe import ACTIVATION, ACTIVATION_GRADIENT


class Looks:
    """Knows a model's modules and weights, and makes observations of them complete.

    Args:
        model: that is looked at.
        weights: of its weight layers, by name.

    Attributes:
        leaves: the modules that have none inside them.
        initial: the weights at step 0, [1, ...] each.
    """

    def __init__(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights
        self.leaves = leaves(model)
        self.initial = {name: weight.detach().clone().unsqueeze(0) for name, weight in weights.items()}
        self._norms: Tensor | None = None
        self._blocks: tuple[list[str], list[Named]] | None = None  # weight layers, and the last module of each block

    @contextmanager
    def during(self, inputs: Tensor, curves: Sequence[str]) -> Iterator[Observation]:
        """Capture what the curves need: after a first full look only the ends of the blocks, if those at all."""
        gradients = not ACTIVATION_GRADIENT.keys().isdisjoint(curves)
        if self._blocks is None:
            with capturing(self.leaves, inputs, gradients=gradients) as seen:
                yield seen
            # A module that is called twice bears a name of its own then: such a network gets the full look every time.
            if set(seen.modules[1:]) <= {name for name, _ in self.leaves}:
                ends = {seen.modules[end] for end in seen.block_ends}
                self._blocks = (seen.weight_names, [named for named in self.leaves if named[0] in ends])
            return
        names, ends_of_blocks = self._blocks
        needed = ends_of_blocks if gradients or not ACTIVATION.keys().isdisjoint(curves) else []
        with capturing(needed, gradients=gradients) as seen:
            yield seen
        seen.weight_names, seen.block_ends = names, list(range(len(needed)))

    def add_gradients(self, seen: Observation, gradients: Mapping[str, Tensor | None], *, copy: bool) -> None:
        """Add the gradients of the weights that the pass met; 0 where the loss does not depend on a weight."""
        for name in seen.weight_names:
            gradient = gradients.get(name)
            held = zeros_like(self.weights[name]) if gradient is None else gradient
            seen.gradients.append((held.detach().clone() if copy else held.detach()).unsqueeze(0))

    def add_weights(self, seen: Observation, *, copy: bool) -> None:
        """Add the weights that the pass met, in the order it met them; a copy where an update follows."""
        weights = [self.weights[name].detach().unsqueeze(0) for name in seen.weight_names]
        seen.weights = [weight.clone() for weight in weights] if copy else weights
        seen.initial = [self.initial[name] for name in seen.weight_names]
        seen.initial_norms = partial(self._initial_norms, seen.initial)

    def _initial_norms(self, initial: Sequence[Tensor]) -> Tensor:
        if self._norms is None:
            self._norms = norms(initial)
        return self._norms
