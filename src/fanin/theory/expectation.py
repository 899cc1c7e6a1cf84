"""What a fresh draw of a recipe is expected to be along its weight layers, for a verdict to go by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fanin.theory.backward import backward_moments
from fanin.theory.bands import Band
from fanin.theory.forward import Layer, check_chain
from fanin.theory.laws import ActivationLaw
from fanin.theory.ratio import Moments


@dataclass(frozen=True)
class Critical:
    """Where the critical variance would have the norms of a chain whose activation is positively homogeneous.

    Attributes:
        log_changes: what it would add to ln ||x_l||^2 of a draw, [L]: scaled weights scale every norm.
        flow: the law of ln(||dL/dz_1||^2 / ||dL/dz_L||^2) with it; None of a chain of one layer.
    """

    log_changes: Sequence[float]
    flow: Moments | None

    @classmethod
    def of_chain(cls, layers: Sequence[Layer], law: ActivationLaw) -> Critical:
        """That of weight layers l = 1..L with an activation between them.

        Raises:
            ValueError: the layers do not form a chain.

        >>> from fanin.theory.laws import RELU
        >>> layers = [Layer("first", 100, 100, 1.0), Layer("second", 100, 100, 1.0)]
        >>> [round(math.exp(one)) for one in Critical.of_chain(layers, RELU).log_changes]  # 2 for 1, layer by layer
        [2, 4]
        """
        check_chain(layers)
        changes = [math.log(law.critical_c / layer.c) for layer in layers]
        ideal = [replace(layer, c=law.critical_c) for layer in layers]
        flow = backward_moments(ideal, law) if len(layers) > 1 else None
        return cls([math.fsum(changes[:place]) for place in range(1, len(layers) + 1)], flow)


@dataclass(frozen=True)
class Expectation:
    """What is expected of the weight layers l = 1..L.

    Attributes:
        activations: the band of ||x_l|| after the nonlinearity, [L]; None where none is known; empty for none at all.
        gradients: of ||dL/dW_l||, the same.
        log_widths: ln(n_(L-1) / n_1) of a chain, the growth of the widths that factors leave out; 0 where unknown.
        critical: where the critical variance would have the norms; None where there is no such thing.
    """

    activations: Sequence[Band | None] = ()
    gradients: Sequence[Band | None] = ()
    log_widths: float = 0.0
    critical: Critical | None = None


def band_at(bands: Sequence[Band | None], place: int) -> Band | None:
    """The band of a layer, counted from 0; None where there is none."""
    return bands[place] if -len(bands) <= place < len(bands) else None
