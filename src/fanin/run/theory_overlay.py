"""Theory laid over a measured profile: rows of profiles.csv, and what the profile at init says of the recipe."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from fanin.parts.models.layers import weight_layers
from fanin.probes.probe import QUANTITIES, Label
from fanin.record.recorder import ProfileRow
from fanin.run.layout import Layout
from fanin.theory import Expectation, Gradients, InitAnalysis, analyse
from fanin.theory.bands import EXACT, MEAN_FIELD, Band, Bands, Key

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Expected:
    """The bands behind a run's profile at init.

    Attributes:
        bands: those drawn, each with its source: the law's where there is one, else the redraws'.
        redraws: the redraws' own, where they are asked for beside a law.
        no_law: why a law does not reach all norms; empty where it does, and where none was asked for.
        stopped_at: the part that ended it.
        no_redraw: why there are no redraws, where some were wanted.
        cosines: the law's mean correlation between examples, at infinite width.
        layout: what the network is to theory.
        variances: what its weight layers' variances are to be, as the layout has them; empty where no law is wanted.
    """

    bands: Bands = field(default_factory=dict)
    redraws: Bands = field(default_factory=dict)
    no_law: str = ""
    stopped_at: str = ""
    no_redraw: str = ""
    cosines: Mapping[Key, float] = field(default_factory=dict)
    layout: Layout = field(default_factory=Layout)
    variances: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def along(self, layers: Collection[str], quantity: str) -> list[Band | None]:
        """The bands of a quantity of some weight layers."""
        return [self.bands.get(("weight", layer, quantity)) for layer in layers]


@dataclass
class Overlay:
    """Puts what is expected of a fresh draw beside the profile of one run, and judges it.

    Args:
        expect: from the keys of the norms that were measured to what is expected of them; None expects nothing.
        frozen: names of the weight layers that are not trained: their gradients say nothing.
        matrices: names of the model's parameters of two axes or more.
        no_law: why no law reaches all norms, where none does.

    Attributes:
        expected: what is expected; there once the profile at init has been annotated.
        analysis: what the profile at init says; there once that profile has been annotated.
        ends: gradient and activation norms of the first and the last layer at init.
        unseen: those of the matrices that the look at init did not come by: parameters that a module uses without
            being a layer of its own (nn.LSTM, the projections of nn.MultiheadAttention), or does not use at all.
    """

    expect: Callable[[Collection[Key]], Expected] | None = None
    frozen: Collection[str] = ()
    matrices: Sequence[str] = ()
    no_law: str = ""
    expected: Expected | None = None
    analysis: InitAnalysis | None = None
    ends: dict[str, float] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)

    @classmethod
    def over(cls, model: nn.Module, **known: Any) -> Overlay:
        """What lies over the profiles of a model."""
        weights = ((name, layer.get_parameter("weight")) for name, layer in weight_layers(model))
        frozen = [name for name, weight in weights if not weight.requires_grad]
        return cls(frozen=frozen, matrices=[name for name, one in model.named_parameters() if one.ndim >= 2], **known)

    def annotate(self, snapshot: str, labels: Sequence[Label], values: Sequence[float]) -> list[ProfileRow]:
        """The rows of a snapshot, sorted by axis, quantity and index; theory speaks of init only."""
        table = dict(zip(labels, values, strict=True))
        rows = [ProfileRow(*label, value) for label, value in table.items()]
        if snapshot == "init":
            self._tell_unseen(labels)
            rows = self._with_theory(rows, table)
        order = {name: place for place, name in enumerate((*QUANTITIES, "activation_norm_mean_square"))}
        return sorted(rows, key=lambda row: (row.axis, order.get(row.quantity, len(order)), row.quantity, row.index))

    def _with_theory(self, rows: list[ProfileRow], table: dict[Label, float]) -> list[ProfileRow]:
        norms = _series(table, "weight", "activation_norm")
        gradients = _series(table, "weight", "gradient_norm")
        if not norms:
            return rows
        for name, series in (("activation", norms), ("gradient", gradients)):
            if series:
                self.ends |= {f"{name}_first": series[0], f"{name}_last": series[-1]}
        if self.expect is not None:
            self.expected = self.expect([(axis, layer, quantity) for axis, _, layer, quantity in table])
            self.no_law = self.expected.no_law
        self.analysis = analyse(norms, self._expectation(table), self._gradients(table, gradients))
        return self._with_bands(rows)

    def _expectation(self, table: dict[Label, float]) -> Expectation:
        """What is expected along the weight layers."""
        if self.expected is None:
            return Expectation()
        layout, layers = self.expected.layout, _layers(table)
        hidden = layout.widths[:-1]
        widths = math.log(hidden[-1] / hidden[0]) if hidden else 0.0
        norms, gradients = (self.expected.along(layers, name) for name in ("activation_norm", "gradient_norm"))
        return Expectation(norms, gradients, widths, layout.chain.critical if layout.chain else None)

    def _with_bands(self, rows: list[ProfileRow]) -> list[ProfileRow]:
        """The rows with the bands that they have, and rows of the mean squares that laws know."""
        if self.expected is None:
            return rows
        squares = []
        for row in rows:
            key = row.axis, row.layer, row.quantity
            if (band := self.expected.bands.get(key)) is not None:
                row.theory, row.band_low, row.band_high, row.source = band.median, band.low, band.high, band.source
                if row.quantity == "activation_norm" and band.mean_square is not None:
                    name = "activation_norm_mean_square"
                    square = ProfileRow(row.axis, row.index, row.layer, name, None, band.mean_square)
                    square.source = band.source
                    squares.append(square)
            elif key in self.expected.cosines:
                row.theory, row.source = self.expected.cosines[key], MEAN_FIELD
            elif row.quantity == "weight_variance" and row.layer in self.expected.variances:
                variance, sd = self.expected.variances[row.layer]
                row.theory, row.band_low, row.band_high = variance, variance - sd, variance + sd
                row.source = EXACT
            if (drawn := self.expected.redraws.get(key)) is not None:
                row.redraw_median, row.redraw_low, row.redraw_high = drawn.median, drawn.low, drawn.high
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


def _layers(table: dict[Label, float]) -> list[str]:
    """The weight layers, by index."""
    found = {label[1]: label[2] for label in table if (label[0], label[3]) == ("weight", "activation_norm")}
    return [found[index] for index in sorted(found)]


def _series(table: dict[Label, float], axis: str, quantity: str) -> list[float]:
    """The values of a quantity along an axis, by index."""
    found = [(index, value) for (on, index, _, name), value in table.items() if (on, name) == (axis, quantity)]
    return [value for _, value in sorted(found)]


def _or_infinite(norm: float) -> float:
    """The norm; inf where it is not finite."""
    return norm if math.isfinite(norm) else math.inf
