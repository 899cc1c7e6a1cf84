"""Theory laid over a measured profile: rows of profiles.csv, and what the profile at init says of the recipe."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fanin.probes.jacobians import SPECTRUM
from fanin.probes.probe import QUANTITIES, Label
from fanin.record.recorder import ProfileRow
from fanin.theory import (
    ActivationLaw,
    ForwardTheory,
    Gradients,
    InitAnalysis,
    Layer,
    NormTheory,
    analyse,
    forward_theory,
    gradient_line,
)

log = logging.getLogger(__name__)


@dataclass
class Overlay:
    """Puts theory beside the profile of one run, where a theory applies.

    Args:
        layers: the weight layers with their c; None if no theory applies.
        law: the activation's law; None if no theory applies.
        analysis: what the profile at init says; there once that profile has been annotated.
        ends: gradient and activation norms of the first and the last layer at init.
        frozen: names of the weight layers that are not trained: their gradients say nothing.
        matrices: names of the model's parameters of two axes or more.
        no_law: why no theory applies, where none does.
        unseen: those of the matrices that the look at init did not come by: parameters that a module uses without
            being a layer of its own (nn.LSTM, the projections of nn.MultiheadAttention), or does not use at all.
        spectrum: of the whole network's Jacobian, by the names of SPECTRUM; empty where nobody asked.
        point: where the recipe stands between order and chaos, see `phase_point`.
    """

    layers: Sequence[Layer] | None = None
    law: ActivationLaw | None = None
    analysis: InitAnalysis | None = None
    ends: dict[str, float] = field(default_factory=dict)
    frozen: Collection[str] = ()
    matrices: Sequence[str] = ()
    no_law: str = ""
    unseen: list[str] = field(default_factory=list)
    point: Mapping[str, float | None] = field(default_factory=dict)
    spectrum: Mapping[str, float] = field(default_factory=dict)

    def annotate(self, snapshot: str, labels: Sequence[Label], values: Sequence[float]) -> list[ProfileRow]:
        """The rows of a snapshot, sorted by axis, quantity and index; theory speaks of init only."""
        table = dict(zip(labels, values, strict=True))
        rows = [ProfileRow(*label, value) for label, value in table.items()]
        if snapshot == "init":
            self.spectrum = {label[3]: value for label, value in table.items() if label[3] in SPECTRUM}
            self._tell_unseen(labels)
            rows = self._with_theory(rows, table)
        order = {name: place for place, name in enumerate((*QUANTITIES, "activation_norm_mean_square"))}
        return sorted(rows, key=lambda row: (row.axis, order.get(row.quantity, len(order)), row.quantity, row.index))

    def _with_theory(self, rows: list[ProfileRow], table: dict[Label, float]) -> list[ProfileRow]:
        norms = _series(table, "weight", "activation_norm")
        gradients = _series(table, "weight", "gradient_norm")
        modules = _series(table, "module", "activation_norm")
        if not norms:
            return rows
        for name, series in (("activation", norms), ("gradient", gradients)):
            if series:  # a look without a backward pass has no gradients
                self.ends |= {f"{name}_first": series[0], f"{name}_last": series[-1]}
        flow = self._gradients(table, gradients)
        if self.layers is None or self.law is None:
            self.analysis = analyse(None, modules[0], norms, gradients=flow)
            return rows
        self.analysis = analyse(self.layers, modules[0], norms, self.law, flow)
        forward = forward_theory(self.layers, modules[0], self.law)
        lines = self._forward_lines(forward)
        slopes = gradient_line(self.layers, gradients)
        squares = []
        for row in rows:
            line = lines.get((row.axis, row.index)) if row.quantity == "activation_norm" else None
            if line is not None:
                row.theory, row.band_low, row.band_high = line.median, line.low, line.high
                square = ProfileRow(
                    row.axis, row.index, row.layer, "activation_norm_mean_square", None, line.mean_square
                )
                squares.append(square)
            elif row.quantity == "gradient_norm":
                row.theory = slopes[row.index - 1]
            elif row.quantity == "weight_variance":
                row.theory, row.band_low, row.band_high = _variance_band(self.layers[row.index - 1])
        return rows + squares

    def _tell_unseen(self, labels: Sequence[Label]) -> None:
        """Find the matrices that have no row of their own, and name them once in the run's log."""
        seen = {f"{layer}.weight".lstrip(".") for axis, _, layer, _ in labels if axis == "weight"}
        self.unseen = [name for name in self.matrices if name not in seen]
        if self.unseen:
            log.info("no profile shows %s: these are used by no layer of their own", ", ".join(self.unseen))

    def _gradients(self, table: dict[Label, float], gradients: Sequence[float]) -> Gradients:
        """The gradients of the weights, and those of the weight layers' outputs, which stand on the other axis."""
        names = [label[2] for label in sorted(table) if label[0] == "weight" and label[3] == "gradient_norm"]
        flowed = {label[2]: value for label, value in table.items() if label[3] == "activation_gradient_norm"}
        return Gradients(
            layers=names,
            weights=[
                math.nan if name in self.frozen else _or_infinite(one)
                for name, one in zip(names, gradients, strict=True)
            ],
            weight_norms=_series(table, "weight", "weight_norm"),
            outputs=[_or_infinite(flowed[name]) if name in flowed else math.nan for name in names],
        )

    def _forward_lines(self, forward: ForwardTheory) -> dict[tuple[str, int], NormTheory]:
        """The line at every place of both axes: module 2l is the linear layer l, 2l + 1 its activation."""
        lines = {}
        for l, (pre, post) in enumerate(zip(forward.pre, forward.post, strict=True), start=1):  # noqa: E741
            lines["weight", l] = post
            lines["module", 2 * l] = pre
            lines["module", 2 * l + 1] = post
        return lines


def _series(table: dict[Label, float], axis: str, quantity: str) -> list[float]:
    """The values of a quantity along an axis, by index."""
    found = [(index, value) for (on, index, _, name), value in table.items() if (on, name) == (axis, quantity)]
    return [value for _, value in sorted(found)]


def _or_infinite(norm: float) -> float:
    """The norm; inf where it is not finite."""
    return norm if math.isfinite(norm) else math.inf


def _variance_band(layer: Layer) -> tuple[float, float, float]:
    """fan_in Var(W) is c within its sampling error: one standard deviation is c sqrt(2 / (entries - 1))."""
    entries = layer.fan_in * layer.fan_out
    error = layer.c * math.sqrt(2 / (entries - 1)) if entries > 1 else math.nan
    return layer.c, layer.c - error, layer.c + error
