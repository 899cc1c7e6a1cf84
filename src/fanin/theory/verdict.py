"""What the measured norms of a fresh network say about its initialization, in one word and a few numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fanin.theory.forward import Layer, NormTheory, forward_theory
from fanin.theory.laws import RELU, ActivationLaw
from fanin.theory.logs import exp, log
from fanin.theory.slope import slope_moments

CRITICAL_Z = 3.0
"""Largest |z_critical| that still counts as critical, in standard deviations of the band."""

STABLE_CHANGE = 1e2
"""Largest change, up or down, of the norm over all hidden layers that counts as stable without theory."""


@dataclass(frozen=True)
class InitAnalysis:
    """The initialization judged by its activation norms; None where no theory applies.

    Attributes:
        factor_per_layer: exp of the mean increment of ln||x_l|| from layer 1 to layer L-1, the last hidden
            one; with theory that of the norm per unit (see slope.py), as are the two factors below. 0 where
            the norm has vanished, inf where one is not finite.
        theory_factor: the mean-square factor over the same layers, sqrt(c/2) for ReLU.
        expected_factor: the exact median factor at finite width over the same layers.
        z: (ln||x_(L-1)||^2 - theory's mean) / theory's standard deviation, from the input on.
        z_critical: the same with the critical c (2 for ReLU) in every layer.
        verdict: with theory vanishing, critical or exploding; without vanishing, stable or exploding.
    """

    factor_per_layer: float
    theory_factor: float | None
    expected_factor: float | None
    z: float | None
    z_critical: float | None
    verdict: str


def analyse(
    layers: Sequence[Layer] | None,
    input_norm: float,
    post_norms: Sequence[float],
    law: ActivationLaw = RELU,
) -> InitAnalysis:
    """Compares the measured norms of the hidden layers with theory and names the regime.

    With theory the verdict is "critical" while the last hidden norm is one that the critical c would give,
    within `CRITICAL_Z` standard deviations: in a shallow network a c beside it may pass. Without theory the
    total change of the norm from layer 1 to layer L-1 decides, widths left as they are. A last norm of 0 is
    vanishing, any hidden norm that is not finite is exploding; a network without hidden layers is "stable".

    Args:
        layers: the weight layers l = 1..L, or None where no theory applies.
        input_norm: ||x_0||, for a batch the Frobenius norm of its matrix.
        post_norms: ||x_l|| after the nonlinearity, [L]; the last one is that of the logits.
        law: the activation between the layers; not used where `layers` is None.

    Returns:
        The analysis; factors are nan with fewer than two hidden layers, z is nan with none.

    Raises:
        ValueError: as many norms as layers were not given, or the layers do not form a chain.

    Source: Hanin & Rolnick 2018; Hanin & Nica 2019.
    """
    hidden = list(post_norms[:-1])
    end = _end(hidden)
    if layers is None:
        factor = _factor(hidden, end, log_widths=0.0)
        return InitAnalysis(factor, None, None, None, None, _verdict_without_theory(hidden, end))
    if len(post_norms) != len(layers):
        raise ValueError(f"{len(post_norms)} activation norms for {len(layers)} layers")
    inner = layers[1:-1]
    factor = _factor(hidden, end, math.log(inner[-1].fan_out / inner[0].fan_in) if inner else 0.0)
    log_factors = [math.log(law.half * layer.c) / 2 for layer in inner]
    z = z_critical = math.nan
    verdict = "stable"
    if hidden:
        critical = [replace(layer, c=law.critical_c) for layer in layers]
        z = _deviation(end, forward_theory(layers, input_norm, law).post[-2])
        z_critical = _deviation(end, forward_theory(critical, input_norm, law).post[-2])
        verdict = _verdict_with_theory(z_critical)
    return InitAnalysis(
        factor_per_layer=factor,
        theory_factor=exp(math.fsum(log_factors) / len(inner)) if inner else math.nan,
        expected_factor=exp(slope_moments(layers, law).mean),
        z=z,
        z_critical=z_critical,
        verdict=verdict,
    )


def _end(hidden: Sequence[float]) -> float:
    """The last hidden norm; inf if any is not finite, for what overflows turns into nan further up."""
    if not all(math.isfinite(norm) for norm in hidden):
        return math.inf
    return hidden[-1] if hidden else math.nan


def _factor(hidden: Sequence[float], end: float, log_widths: float) -> float:
    """Mean factor per layer from the first hidden norm to `end`, the growth of the widths divided out."""
    if len(hidden) < 2:
        return math.nan
    if end in (0.0, math.inf):
        return end
    return exp((log(end) - log(hidden[0]) - log_widths / 2) / (len(hidden) - 1))


def _deviation(norm: float, theory: NormTheory) -> float:
    """Deviation of ln norm^2 in standard deviations; -inf for a norm of 0, inf for one that is not finite."""
    if norm in (0.0, math.inf):
        return -math.inf if norm == 0 else math.inf
    return (2 * log(norm) - theory.log_mean) / theory.log_sd


def _verdict_with_theory(z_critical: float) -> str:
    """The regime from the deviation against the critical c."""
    if abs(z_critical) <= CRITICAL_Z:
        return "critical"
    return "vanishing" if z_critical < 0 else "exploding"


def _verdict_without_theory(hidden: Sequence[float], end: float) -> str:
    """The regime from the total change of the norm; never "critical", for that word needs a theory."""
    if not hidden:
        return "stable"
    if end in (0.0, math.inf):
        return "vanishing" if end == 0 else "exploding"
    change = log(end) - log(hidden[0])
    if abs(change) <= math.log(STABLE_CHANGE):
        return "stable"
    return "vanishing" if change < 0 else "exploding"
