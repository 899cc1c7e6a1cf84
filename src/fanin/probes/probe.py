"""When to look and what to measure: profiles over depth at chosen steps, curves over steps at a cadence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fanin.errors import OptionError, choice, integer
from fanin.probes import measures
from fanin.probes.capture import Observation

ACTIVATION = {
    "activation_norm": measures.norm,
    "dead_units": measures.dead_units,
    "activation_cosine": measures.cosine,
    "activation_nonfinite": measures.nonfinite,
}
ACTIVATION_GRADIENT = {"activation_gradient_norm": measures.norm}
GRADIENT = {"gradient_norm": measures.norm, "gradient_nonfinite": measures.nonfinite}
WEIGHT = ("weight_norm", "weight_variance", "weight_movement", "update_ratio")
QUANTITIES = (*ACTIVATION, *ACTIVATION_GRADIENT, *GRADIENT, *WEIGHT)

Label = tuple[str, int, str, str]  # axis, index, layer, quantity


class Probe:
    """Profiles over depth and curves over steps.

    A profile measures every quantity, for every module and every weight layer, on a fixed batch that training does
    not see as such; it is taken at init, at the end, and at the steps in `steps`. Curves measure the
    quantities in `curves`, for every weight layer, each `every` steps: on the training batch in the very pass that
    trains (`curve_batch=train`, which costs no pass of its own) or on the fixed batch (`curve_batch=fixed`).

    Args:
        batch_size: examples of the fixed batch.
        steps: further steps, beside init and the end, at which to take a profile.
        every: steps between two points of the curves; 0 for no curves.
        curves: names of the quantities of the curves.
        curve_batch: "train" or "fixed".

    Raises:
        OptionError: a value that is not allowed, with what is.
    """

    def __init__(
        self,
        *,
        batch_size: int = 100,
        steps: Sequence[int] = (),
        every: int = 50,
        curves: Sequence[str] = ("activation_norm", "gradient_norm", "weight_movement"),
        curve_batch: str = "train",
    ) -> None:
        self.batch_size = integer("batch_size", batch_size, 1)
        if isinstance(steps, (str, int)):
            raise OptionError("steps", steps, "a list of steps", f"type steps=[{steps}]")
        self.steps = frozenset(integer("steps", step, 1) for step in steps)
        self.every = integer("every", every, 0)
        if isinstance(curves, str):
            raise OptionError("curves", curves, "a list of quantities", f"type curves=[{curves}]")
        self.curves = tuple(choice("curves", name, QUANTITIES) for name in curves)
        self.curve_batch = choice("curve_batch", curve_batch, ("train", "fixed"))

    def profile_due(self, step: int) -> bool:
        """Whether a profile is to be taken at this step, the end apart."""
        return step == 0 or step in self.steps

    def curve_due(self, step: int) -> bool:
        """Whether the curves have a point at this step."""
        return bool(self.curves) and self.every > 0 and step % self.every == 0


class NoProbe(Probe):
    """No look at all: no profiles, no curves, no verdict on the initialization."""

    def __init__(self) -> None:
        super().__init__(every=0, curves=())

    def profile_due(self, step: int) -> bool:
        """Never."""
        return False


def measure_profile(seen: Observation) -> tuple[list[Label], Tensor]:
    """Every quantity on both axes: labels, and values [R, len(labels)] in float64 on the observation's device."""
    table = _Table()
    for name, function in ACTIVATION.items():
        table.add("module", name, seen.activations, function, _labels(seen.modules))
    table.add_present("module", "activation_gradient_norm", seen.activation_gradients, _labels(seen.modules))
    _weight_quantities(table, seen, ("activation_norm", *GRADIENT, *WEIGHT))
    return table.read()


def measure_curves(seen: Observation, quantities: Sequence[str]) -> tuple[list[Label], Tensor]:
    """The chosen quantities of every weight layer; activations are those of the layer's block."""
    table = _Table()
    _weight_quantities(table, seen, quantities)
    return table.read()


def _labels(names: Sequence[str]) -> list[tuple[int, str]]:
    return [(index, name) for index, name in enumerate(names, start=1)]


def _weight_quantities(table: _Table, seen: Observation, quantities: Sequence[str]) -> None:
    """Add the chosen quantities on the weight axis; layers of one shape are measured together."""
    labels = _labels(seen.weight_names)
    for name in quantities:
        if name in ACTIVATION:
            table.add("weight", name, [seen.activations[end] for end in seen.block_ends], ACTIVATION[name], labels)
        elif name in ACTIVATION_GRADIENT:
            table.add_present("weight", name, [seen.activation_gradients[end] for end in seen.block_ends], labels)
        elif name in GRADIENT:
            table.add("weight", name, seen.gradients, GRADIENT[name], labels)
        elif name == "weight_norm":
            table.add("weight", name, seen.weights, measures.norm, labels)
        elif name == "weight_variance":
            table.add("weight", name, seen.weights, lambda w: measures.scaled_variance(w, w.shape[-1]), labels)
        elif name == "weight_movement":
            table.add_pairs("weight", name, seen.weights, seen.initial, labels)
        elif name == "update_ratio" and seen.updated is not None:
            table.add_pairs("weight", name, seen.updated, seen.weights, labels)


class _Table:
    """Collects measured values so that a recorded step costs one call a shape and one copy to the host."""

    def __init__(self) -> None:
        self._labels: list[Label] = []
        self._values: list[Tensor] = []
        self._stacks: dict[tuple[int, ...], Tensor] = {}

    def add(
        self,
        axis: str,
        quantity: str,
        tensors: Sequence[Tensor],
        function: Callable[[Tensor], Tensor],
        labels: Sequence[tuple[int, str]],
    ) -> None:
        """Add function(tensor) for every tensor [R, B, ...]; features are flattened to one axis."""
        for members in _same_shape(tensors):
            values = function(self._stacked([tensors[i] for i in members]))  # [members, R]
            self._labels += [(axis, *labels[i], quantity) for i in members]
            self._values.append(values)

    def add_present(
        self, axis: str, quantity: str, tensors: Sequence[Tensor | None], labels: Sequence[tuple[int, str]]
    ) -> None:
        """Add the norm of every tensor that is there."""
        there = [(tensor, label) for tensor, label in zip(tensors, labels, strict=True) if tensor is not None]
        self.add(axis, quantity, [tensor for tensor, _ in there], measures.norm, [label for _, label in there])

    def add_pairs(
        self,
        axis: str,
        quantity: str,
        now: Sequence[Tensor],
        then: Sequence[Tensor],
        labels: Sequence[tuple[int, str]],
    ) -> None:
        """Add ||now - then|| / ||then|| for every pair."""
        for members in _same_shape(now):
            after, before = (self._stacked([tensors[i] for i in members]) for tensors in (now, then))
            self._labels += [(axis, *labels[i], quantity) for i in members]
            self._values.append(measures.ratio(after - before, before))

    def read(self) -> tuple[list[Label], Tensor]:
        """The labels, and the values as one tensor [R, len(labels)]."""
        if not self._values:
            return [], torch.zeros(1, 0, dtype=torch.float64)
        return self._labels, torch.cat(self._values).T

    def _stacked(self, tensors: list[Tensor]) -> Tensor:
        """[members, R, B, F]; the stack is kept, for the next quantity looks at the same tensors."""
        key = tuple(id(tensor) for tensor in tensors)
        if key not in self._stacks:
            self._stacks[key] = torch.stack([tensor.flatten(2) for tensor in tensors])
        return self._stacks[key]


def _same_shape(tensors: Sequence[Tensor]) -> list[list[int]]:
    """The indices of the tensors, grouped by shape."""
    groups: dict[torch.Size, list[int]] = defaultdict(list)
    for index, tensor in enumerate(tensors):
        groups[tensor.shape].append(index)
    return list(groups.values())
