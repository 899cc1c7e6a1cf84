"""When to look and what to measure: profiles over depth at chosen steps, curves over steps at a cadence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fanin.errors import OptionError, choice, flag, integer
from fanin.probes import measures
from fanin.probes.capture import Observation
from fanin.torch_internals import foreach_sub

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
Norms = Callable[[Sequence[Tensor]], Tensor]
Measured = tuple[list[Label], Tensor]  # n labels, values [R, n] in float64 on the device of what was measured


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
        trajectory: write all parameters at every step to trajectory.csv, for models of a few parameters.

    Raises:
        OptionError: a value that is not allowed, with what is.
    """

    def __init__(
        self,
        *,
        batch_size: int = 100,
        steps: Sequence[int] = (),
        every: int = 50,
        curves: Sequence[str] = ("activation_norm", "gradient_norm"),
        curve_batch: str = "train",
        trajectory: bool = False,
    ) -> None:
        self.batch_size = integer("batch_size", batch_size, 1)
        if isinstance(steps, (str, int)):
            raise OptionError("steps", steps, "a list of steps", f"type steps=[{steps}]")
        self.steps = frozenset(integer("steps", step, 1) for step in steps)
        self.every = integer("every", every, 0)
        if isinstance(curves, str):
            raise OptionError("curves", curves, "a list of quantities", f"type curves=[{curves}]")
        self.curves = tuple(choice("curves", name, QUANTITIES) for name in curves)
        self.trajectory = flag("trajectory", trajectory)
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
        super().__init__(batch_size=1, every=0, curves=())

    def profile_due(self, step: int) -> bool:
        """Never."""
        return False


class Trajectory(NoProbe):
    """The parameters at every step, in trajectory.csv, and no other look."""

    def __init__(self) -> None:
        super().__init__()
        self.trajectory = True


def measure_profile(seen: Observation) -> Measured:
    """Every quantity on both axes."""
    table, norms = _Table(), _Once(measures.norms)
    modules = _labels(seen.modules)
    for name, function in ACTIVATION.items():
        table.add("module", name, modules, _each(function, seen.activations, norms))
    _gradients_there(table, "module", modules, seen.activation_gradients)
    _weight_quantities(table, seen, ("activation_norm", *GRADIENT, *WEIGHT), norms)
    return table.read()


def measure_curves(seen: Observation, quantities: Sequence[str]) -> Measured:
    """The chosen quantities of every weight layer; activations are those of the layer's block."""
    table = _Table()
    _weight_quantities(table, seen, quantities, measures.quick_norms)
    return table.read()


def _weight_quantities(table: _Table, seen: Observation, quantities: Sequence[str], norms: Norms) -> None:
    """Add the chosen quantities on the weight axis."""
    labels = _labels(seen.weight_names)
    for name in quantities if labels else ():  # a model may have no weight layers
        if name in ACTIVATION:
            values = _each(ACTIVATION[name], [seen.activations[end] for end in seen.block_ends], norms)
        elif name in ACTIVATION_GRADIENT:
            _gradients_there(table, "weight", labels, [seen.activation_gradients[end] for end in seen.block_ends])
            continue
        elif name in GRADIENT:
            values = _each(GRADIENT[name], seen.gradients, norms)
        elif name == "weight_norm":
            values = norms(seen.weights)
        elif name == "weight_variance":
            pairs = zip(seen.weights, seen.fan_ins, strict=True)
            values = torch.stack([measures.scaled_variance(weight.flatten(2), fan_in) for weight, fan_in in pairs])
        elif name == "weight_movement":
            values = norms(_differences(seen.weights, seen.initial)) / seen.initial_norms()
        elif seen.updated is not None:
            values = norms(_differences(seen.updated, seen.weights)) / norms(seen.weights)
        else:  # an observation without an update
            continue
        table.add("weight", name, labels, values)


def _labels(names: Sequence[str]) -> list[tuple[int, str]]:
    return [(index, name) for index, name in enumerate(names, start=1)]


def _each(function: Callable[[Tensor], Tensor], tensors: Sequence[Tensor], norms: Norms) -> Tensor:
    """[n, R]: a measure of n tensors [R, B, ...], whose features are flattened to one axis."""
    if function is measures.norm:
        return norms(tensors)
    if function is measures.nonfinite:
        return measures.nonfinites(tensors, norms(tensors))
    return torch.stack([function(tensor.flatten(2)) for tensor in tensors])


def _gradients_there(
    table: _Table, axis: str, labels: Sequence[tuple[int, str]], gradients: Sequence[Tensor | None]
) -> None:
    """Add the norm of every activation's gradient that there is: nothing flows back to the input."""
    there = [(label, gradient) for label, gradient in zip(labels, gradients, strict=True) if gradient is not None]
    if there:
        norms = measures.norms([gradient for _, gradient in there])
        table.add(axis, "activation_gradient_norm", [label for label, _ in there], norms)


def _differences(after: Sequence[Tensor], before: Sequence[Tensor]) -> Sequence[Tensor]:
    return foreach_sub(list(after), list(before))


class _Once:
    """Norms of n tensors, [n, R], each tensor's taken once however often it is asked for."""

    def __init__(self, norms: Norms) -> None:
        self._norms = norms
        self._known: dict[int, tuple[Tensor, Tensor]] = {}  # with the tensor, or another could get its identity

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        """[n, R]."""
        new = [tensor for tensor in tensors if id(tensor) not in self._known]
        if new:
            self._known |= {id(one[0]): one for one in zip(new, self._norms(new), strict=True)}
        return torch.stack([self._known[id(tensor)][1] for tensor in tensors])


class _Table:
    """Collects measured values, so that a recorded step costs one copy to the host."""

    def __init__(self) -> None:
        self._labels: list[Label] = []
        self._values: list[Tensor] = []

    def add(self, axis: str, quantity: str, labels: Sequence[tuple[int, str]], values: Tensor) -> None:
        """Add the values [n, R] of a quantity at n labels."""
        self._labels += [(axis, index, layer, quantity) for index, layer in labels]
        self._values.append(values)

    def read(self) -> Measured:
        """The labels, and the values as one tensor [R, len(labels)]."""
        if not self._values:
            return [], torch.zeros(1, 0, dtype=torch.float64)
        return self._labels, torch.cat(self._values).T
