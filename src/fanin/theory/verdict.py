"""What the norms of a fresh network say about its initialization: a word each for the forward and the backward pass.

Where scaled weights scale every norm, as in a chain of ReLUs, a pass is "critical" as long as the critical variance
would give what was measured within three standard deviations of its band. Everywhere else it is "stable" as long as
the norm changes by less than a factor of 100 over the whole depth. Schoenholz et al. 2017 find that networks train
down to about six depth scales, where the square of a gradient has changed by e^6, its norm by 20; the rest of the 100
is for widths, which are not divided out there: a fivefold norm is a 25-fold width.

Beside the word stands how usual the draw is: by how many standard deviations, and at which quantile, it lies in the
band of its recipe, be that of a law or of redraws. A band says how far a pass may stray, not how much of it floats can
hold: a gradient is lost, and the backward pass "vanishing" whatever the band says, where a step of learning rate 1
along it is smaller than float32's rounding of the weights, 2^-24 of their norm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fanin.theory.bands import Band
from fanin.theory.expectation import Critical, Expectation, band_at
from fanin.theory.logs import exp, log
from fanin.theory.ratio import Moments

CRITICAL_Z = 3.0
"""Largest deviation from the critical variance's law that still counts as critical, in standard deviations."""

STABLE_CHANGE = 1e2
"""Largest change, up or down, of a norm over the whole depth that counts as stable without a law."""

ROUNDING = 2.0**-24
"""Largest relative error of rounding to float32."""

BAD = ("exploding", "vanishing", "blocked")


@dataclass(frozen=True)
class Gradients:
    """The gradients of a fresh network on one batch.

    Attributes:
        layers: names of the weight layers l = 1..L.
        weights: ||dL/dW_l||_F, [L]; nan where a layer is not trained.
        weight_norms: ||W_l||_F, [L].
        outputs: ||dL/dz_l||_F with respect to the output of each layer, [L]; nan where it was not seen.
    """

    layers: Sequence[str]
    weights: Sequence[float]
    weight_norms: Sequence[float]
    outputs: Sequence[float]


@dataclass(frozen=True)
class InitAnalysis:
    """The initialization judged by its norms; None where there is no band to go by, or no gradient is known.

    Attributes:
        factor_per_layer: exp of the mean increment of ln||x_l|| from layer 1 to layer L-1, the last hidden
            one; of a chain that of the norm per unit (see slope.py), as are the two factors below. 0 where
            the norm has vanished, inf where one is not finite.
        theory_factor: the mean-square factor over the same layers, sqrt(c/2) for ReLU.
        expected_factor: the median's factor over the same layers, at this width.
        z: (ln||x_(L-1)||^2 - the band's mean) / the band's standard deviation, from the input on.
        z_critical: the same with the critical c (2 for ReLU) in every layer.
        verdict: that of the forward pass if it is bad, else that of the backward pass if that is, else the former.
        forward: vanishing, exploding or, where there is a critical variance, critical; else stable.
        backward: the same words, or "blocked": gradients are exactly 0 because weights are; None without gradients.
        backward_factor_per_layer: exp of the mean increment of ln||dL/dz_l|| from layer L down to layer 1, towards the
            input.
        backward_z_critical: ln(||dL/dz_1||^2 / ||dL/dz_L||^2) in standard deviations from the critical c's mean.
        gradient_smallest: the smallest ||dL/dW_l||_F of the trained layers.
        gradient_smallest_layer: its layer.
        layers_without_gradient: how many of the trained layers have a gradient that is exactly 0.
        quantile: the share of fresh draws whose last hidden norm is smaller.
        source: of the band that z and the quantile go by.
        backward_z: (ln||dL/dW_1||^2 - its band's mean) / its band's standard deviation.
        backward_quantile: the share of fresh draws whose ||dL/dW_1|| is smaller.
        backward_source: of that band.
    """

    factor_per_layer: float
    theory_factor: float | None
    expected_factor: float | None
    z: float | None
    z_critical: float | None
    verdict: str
    forward: str = ""
    backward: str | None = None
    backward_factor_per_layer: float | None = None
    backward_z_critical: float | None = None
    gradient_smallest: float | None = None
    gradient_smallest_layer: str | None = None
    layers_without_gradient: int | None = None
    quantile: float | None = None
    source: str | None = None
    backward_z: float | None = None
    backward_quantile: float | None = None
    backward_source: str | None = None


NOTHING = Expectation()


def analyse(
    post_norms: Sequence[float], expected: Expectation = NOTHING, gradients: Gradients | None = None
) -> InitAnalysis:
    """Compares the measured norms with what a fresh draw is expected to show, and names the regime of either pass.

    Where there is a critical variance the forward pass is "critical" while the last hidden norm is one that it would
    give, within `CRITICAL_Z` standard deviations of the band, or without a band one that it would make of the first:
    in a shallow network a c beside it may pass. Elsewhere
    the total change of the norm from layer 1 to layer L-1 decides, widths left as they are. A last norm of 0 is
    vanishing, any hidden norm that is not finite is exploding; a network without hidden layers is "stable".
    For the backward pass see `judge_backward`.

    Args:
        post_norms: ||x_l|| after the nonlinearity, [L]; the last one is that of the logits.
        expected: of these layers.
        gradients: of the same batch; None judges the forward pass alone.

    Returns:
        The analysis; factors are nan with fewer than two hidden layers.

    Raises:
        ValueError: as many norms as bands were not given.

    Source: Hanin & Rolnick 2018; Hanin & Nica 2019.
    """
    found = _forward(post_norms, expected)
    if gradients is None or not any(math.isfinite(one) or one == math.inf for one in gradients.weights):
        return found
    word, z_critical = judge_backward(gradients, expected.critical)
    smallest, place = _smallest(gradients)
    z, quantile, source = _place(band_at(expected.gradients, 0), gradients.weights[0])
    return replace(
        found,
        verdict=word if word in BAD and found.forward not in BAD else found.forward,
        backward=word,
        backward_factor_per_layer=_backward_factor(gradients.outputs),
        backward_z_critical=z_critical,
        gradient_smallest=smallest,
        gradient_smallest_layer=gradients.layers[place],
        layers_without_gradient=sum(one == 0 for one in gradients.weights),
        backward_z=z,
        backward_quantile=quantile,
        backward_source=source,
    )


def judge_backward(gradients: Gradients, critical: Critical | None = None) -> tuple[str, float | None]:
    """The regime of the backward pass.

    exploding: a gradient is not finite. blocked: one is exactly 0, and so are all weights of a layer, through which
    nothing flows until they have moved. vanishing: one is lost to rounding, ||dL/dW_l|| < 2^-24 ||W_l||. Else
    ||dL/dz_1|| / ||dL/dz_L||, what the depth does to a gradient, decides: by its law, or by `STABLE_CHANGE`.

    Args:
        gradients: of one batch.
        critical: the law of a gradient's change at the critical variance, where there is one.

    Returns:
        The word, and the deviation from the critical c's law; None without one.
    """
    change = _change(gradients.outputs)
    z = None
    if critical is not None and critical.flow is not None and not math.isnan(change):
        z = _deviation(change, critical.flow)
    known = [one for one in gradients.weights if not math.isnan(one)]
    pairs = zip(gradients.weights, gradients.weight_norms, strict=True)
    if math.inf in known:
        return "exploding", z
    if 0 in known and 0 in gradients.weight_norms:
        return "blocked", z
    if 0 in known or any(one < ROUNDING * norm for one, norm in pairs):
        return "vanishing", z
    if z is not None:
        return _verdict_of_deviation(z), z
    return _verdict_of_change(change), z


def _forward(post_norms: Sequence[float], expected: Expectation) -> InitAnalysis:
    """The analysis of the forward pass."""
    bands, critical = expected.activations, expected.critical
    if bands and len(post_norms) != len(bands):
        raise ValueError(f"{len(post_norms)} activation norms for {len(bands)} layers")
    hidden = list(post_norms[:-1])
    end, last = _end(hidden), len(hidden) - 1
    band = band_at(bands, last) if hidden else None
    z, quantile, source = _place(band, end)
    z_critical = None
    word = _verdict_of_change(_log_ratio(end, hidden[0])) if hidden else "stable"
    if critical is not None and band is not None:
        z_critical = replace(band, log_mean=band.log_mean + critical.log_changes[last]).deviation(end)
    elif critical is not None and critical.rise is not None:
        z_critical = _deviation(_log_ratio(end, hidden[0]), critical.rise)
    if z_critical is not None and not math.isnan(z_critical):
        word = _verdict_of_deviation(z_critical)
    theory_factor, expected_factor = _band_factors(bands[: last + 1], expected.log_widths)
    return InitAnalysis(
        factor_per_layer=_factor(hidden, end, expected.log_widths),
        theory_factor=theory_factor,
        expected_factor=expected_factor,
        z=z,
        z_critical=z_critical,
        verdict=word,
        forward=word,
        quantile=quantile,
        source=source,
    )


def _place(band: Band | None, norm: float) -> tuple[float | None, float | None, str | None]:
    """Where a norm lies in its band: deviation, quantile and the band's source; None without one."""
    if band is None or math.isnan(norm):
        return None, None, None
    z, quantile = band.deviation(norm), band.quantile(norm)
    return None if math.isnan(z) else z, None if math.isnan(quantile) else quantile, band.source


def _deviation(change: float, law: Moments) -> float:
    """That of a norm's change, as a logarithm, from the law of its square's."""
    return (2 * change - law.mean) / math.sqrt(law.variance)


def _band_factors(hidden: Sequence[Band | None], log_widths: float) -> tuple[float | None, float | None]:
    """The factors a layer of the mean square and of the median, from the first hidden layer to the last."""
    first, last = (band_at(hidden, place) for place in (0, -1))
    if first is None or last is None:
        return None, None
    if len(hidden) < 2:
        return (None if first.mean_square is None else math.nan), math.nan
    steps = 2 * (len(hidden) - 1)
    square = None
    if first.mean_square is not None and last.mean_square is not None:
        square = exp((2 * (log(last.mean_square) - log(first.mean_square)) - log_widths) / steps)
    return square, exp((last.log_mean - first.log_mean - log_widths) / steps)


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


def _log_ratio(norm: float, other: float) -> float:
    """ln(norm / other); -inf for a norm of 0, inf for one that is not finite."""
    if norm in (0.0, math.inf):
        return -math.inf if norm == 0 else math.inf
    return log(norm) - log(other)


def _change(outputs: Sequence[float]) -> float:
    """ln(||dL/dz_1|| / ||dL/dz_L||), from the first and the last that were seen; nan with fewer than two."""
    seen = [one for one in outputs if not math.isnan(one)]
    return _log_ratio(seen[0], seen[-1]) if len(seen) > 1 and seen[-1] > 0 else math.nan


def _backward_factor(outputs: Sequence[float]) -> float:
    """Mean factor per layer towards the input; nan with fewer than two gradients."""
    places = [place for place, one in enumerate(outputs) if not math.isnan(one)]
    return exp(_change(outputs) / (places[-1] - places[0])) if len(places) > 1 else math.nan


def _smallest(gradients: Gradients) -> tuple[float, int]:
    """The smallest norm of a weight's gradient, and its place."""
    return min((one, place) for place, one in enumerate(gradients.weights) if not math.isnan(one))


def _verdict_of_deviation(z_critical: float) -> str:
    """The regime from the deviation against the critical c."""
    if abs(z_critical) <= CRITICAL_Z:
        return "critical"
    return "vanishing" if z_critical < 0 else "exploding"


def _verdict_of_change(change: float) -> str:
    """The regime from the total change of the norm, as a logarithm; never "critical"."""
    if math.isnan(change) or abs(change) <= math.log(STABLE_CHANGE):
        return "stable"
    return "vanishing" if change < 0 else "exploding"
