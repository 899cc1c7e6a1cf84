"""When to look and what to measure: profiles over depth at chosen steps, curves over steps at a cadence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fanin.errors import OptionError, choice, flag, integer
from fanin.probes import measures
from fanin.probes.capture import Observation
from fanin.probes.curvature.settings import Curvature
from fanin.probes.histograms import OF
from fanin.probes.quantities import TABLE, Measures, Norms, Quantity, own_quantities, resolved, tensors_of

QUANTITIES = tuple(TABLE)
SOME = ("activation_gradient", "bias_gradient")
"""What is not everywhere: nothing flows back to the input, and not every layer has biases."""

Label = tuple[str, int, str, str]  # axis, index, layer, quantity
Measured = tuple[list[Label], Tensor]  # n labels, values [R, n] in float64 on the device of what was measured


POINTS, WIDEST = 10, 50
"""Points that a curve has at least, and the most steps between two of them, where no cadence is asked for."""


class Probe:
    """Profiles over depth and curves over steps.

    A profile measures every quantity, for every module and every weight layer, on a fixed batch that training does
    not see as such; it is taken at init, at the end, and at the steps in `steps`. Curves measure the
    quantities in `curves`, for every weight layer, each `every` steps: on the training batch in the very pass that
    trains (`curve_batch=train`, which costs no pass of its own) or on the fixed batch (`curve_batch=fixed`).

    Args:
        batch_size: examples of the fixed batch.
        steps: further steps, beside init and the end, at which to take a profile.
        every: steps between two points of the curves; 0 for no curves; None for 10 points or more of a run that has as
            many steps, and no more than 50 steps between two.
        curves: names of the quantities of the curves.
        curve_batch: "train" or "fixed".
        measures: functions of one's own, by their dotted names, to be measured too: in profiles wherever what they are
            of is there, in curves where `curves` names them; see `fanin.probes.quantities`.
        trajectory: write all parameters at every step to trajectory.csv, for models of a few parameters.
        band: what is drawn behind the norms at init: the law of the recipe ("law"), a band of fresh draws of it
            ("redraw"), the law where there is one and else the redraws ("auto"), both ("both") or nothing ("off").
        redraws: how many fresh draws make a band, 8 or more; None for 64, and for 16 or more where a draw takes long or
            the run has few steps.
        jacobians: whether profiles have jacobian_norm, the averaged partial Jacobian norm of each block, which costs as
            much as four more backward passes; see `fanin.probes.jacobians`.
        histograms: of what there are histograms, a list of activations, weights and gradients: on the fixed batch, at
            the profiles' steps and those at which curves have a point, a pass each; see `fanin.probes.histograms`.
        spectrum: whether profiles have spectrum_mean, spectrum_max and spectrum_variance, of the squares of the
            singular values of d output / d input for the first ten examples: a backward pass for each output of each.
        curvature: what is looked at of the minimized loss's curvature, and when: the keys of
            `fanin.probes.curvature.settings.Curvature`; nothing without `quantities`.

    Raises:
        OptionError: a value that is not allowed, with what is.
    """

    def __init__(
        self,
        *,
        batch_size: int = 100,
        steps: Sequence[int] = (),
        every: int | None = None,
        curves: Sequence[str] = ("activation_norm", "gradient_norm"),
        curve_batch: str = "train",
        measures: Measures | None = None,
        trajectory: bool = False,
        band: str = "auto",
        redraws: int | None = None,
        jacobians: bool = False,
        spectrum: bool = False,
        histograms: Sequence[str] = (),
        curvature: Mapping[str, Any] | None = None,
    ) -> None:
        self.batch_size = integer("batch_size", batch_size, 1)
        if isinstance(steps, str) or not isinstance(steps, Collection):
            raise OptionError("steps", steps, "a list of steps", f"type steps=[{'' if steps is None else steps}]")
        self.steps = frozenset(integer("steps", step, 1) for step in steps)
        self.every = None if every is None else integer("every", every, 0)
        self._cadence = WIDEST if self.every is None else self.every
        if isinstance(curves, str) or not isinstance(curves, Collection):
            fix = f"type curves=[{curves if isinstance(curves, str) else ''}]"
            raise OptionError("curves", curves, "a list of quantities", fix)
        self.measures = own_quantities(() if measures is None else measures)
        if isinstance(histograms, str) or not isinstance(histograms, Collection):
            fix = f"type histograms=[{histograms if isinstance(histograms, str) else ''}]"
            raise OptionError("histograms", histograms, f"a list out of {', '.join(OF)}", fix)
        self.histograms = tuple(dict.fromkeys(choice("histograms", name, OF) for name in histograms))
        known = TABLE | {one.name: one for one in self.measures}
        self.curves = tuple(known[choice("curves", name, known)] for name in curves)
        self.trajectory = flag("trajectory", trajectory)
        self.jacobians, self.spectrum = flag("jacobians", jacobians), flag("spectrum", spectrum)
        self.curve_batch = choice("curve_batch", curve_batch, ("train", "fixed"))
        self.band = choice("band", band, ("auto", "law", "redraw", "both", "off"))
        self.curvature = Curvature.of(curvature)
        self.redraws = None if redraws is None else integer("redraws", redraws, 8)

    takes_fewer: bool = False
    """Whether a data set of fewer examples than the batch's will do."""

    def set_length(self, steps: int) -> None:
        """Learn how many steps the run has, before it begins: curves that name no cadence take theirs from it."""
        if self.every is None:
            self._cadence = max(1, min(WIDEST, steps // POINTS))

    def profile_due(self, step: int) -> bool:
        """Whether a profile is to be taken at this step, the end apart."""
        return step == 0 or step in self.steps

    def histogram_due(self, step: int) -> bool:
        """Whether histograms are to be taken at this step, the end apart."""
        return bool(self.histograms) and (self.profile_due(step) or (self._cadence > 0 and step % self._cadence == 0))

    def curve_due(self, step: int) -> bool:
        """Whether the curves have a point at this step."""
        return bool(self.curves) and self._cadence > 0 and step % self._cadence == 0


class NoProbe(Probe):
    """No look at all: no profiles, no curves, no verdict on the initialization."""

    def __init__(self, curvature: Mapping[str, Any] | None = None, batch_size: int | None = None) -> None:
        wanted = bool(Curvature.of(curvature).quantities)
        size = batch_size if batch_size is not None else 100 if wanted else 1
        super().__init__(batch_size=size, every=0, curves=(), band="off", curvature=curvature)
        self.takes_fewer = batch_size is None

    def profile_due(self, step: int) -> bool:
        """Never."""
        return False


class Trajectory(NoProbe):
    """The parameters at every step, in trajectory.csv, and no other look."""

    def __init__(self, curvature: Mapping[str, Any] | None = None, batch_size: int | None = None) -> None:
        super().__init__(curvature, batch_size)
        self.trajectory = True


def measure_profile(
    seen: Observation,
    own: Sequence[Quantity] = (),
    quantities: Sequence[Quantity] = tuple(TABLE.values()),
    norms: Norms = measures.norms,
) -> Measured:
    """Every quantity, one's own too: at every module what activations alone tell, the rest at weight layers."""
    table, norms = _Table(), _Once(norms)
    every = [*quantities, *own]
    for quantity in (one for one in every if one.everywhere):
        table.measure(seen, quantity, "module", norms)
    for quantity in (one for one in every if not one.everywhere or one.name == "activation_norm"):
        table.measure(seen, quantity, "weight", norms)
    return table.read()


def measure_curves(seen: Observation, quantities: Sequence[str | Quantity]) -> Measured:
    """The chosen quantities of every weight layer; activations are those of the layer's block."""
    table = _Table()
    for quantity in resolved(quantities):
        table.measure(seen, quantity, "weight", measures.quick_norms)
    return table.read()


def curve_tags(labels: Sequence[Label]) -> tuple[str, ...]:
    """TensorBoard's tags of curves: layers/<quantity>/<index>_<layer>, the index as wide as the largest."""
    width = len(str(max((index for _, index, _, _ in labels), default=0)))
    return tuple(f"layers/{quantity}/{index:0{width}d}_{layer}" for _, index, layer, quantity in labels)


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

    def measure(self, seen: Observation, quantity: Quantity, axis: str, norms: Norms) -> None:
        """Add a quantity along an axis, wherever what it is of is there: nothing flows back to the input."""
        names = seen.modules if axis == "module" else seen.weight_names
        places = range(len(seen.modules)) if axis == "module" else seen.block_ends
        if not names:  # a model may have no weight layers
            return
        of = [tensors_of(seen, name, places) for name in quantity.of]
        if any(one is None for one in of):  # an observation without an update, or without a backward pass
            return
        there = [place for place, name in enumerate(names) if seen.chosen(name)]
        for flows in (one for name, one in zip(quantity.of, of, strict=True) if name in SOME):
            there = [place for place in there if flows[place] is not None]
        if len(there) < len(names):
            of = [one[there] if isinstance(one, Tensor) else [one[place] for place in there] for one in of]
        if there:
            numbers = seen.numbers if axis == "weight" else {}
            self._labels += [
                (axis, numbers.get(names[place], place + 1), names[place], quantity.name) for place in there
            ]
            self._values.append(quantity.many(norms, *of))

    def read(self) -> Measured:
        """The labels, and the values as one tensor [R, len(labels)]."""
        if not self._values:
            return [], torch.zeros(1, 0, dtype=torch.float64)
        return self._labels, torch.cat(self._values).T
