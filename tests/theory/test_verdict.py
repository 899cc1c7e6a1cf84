"""Factors, deviations and verdicts worked out by hand from norms that are made up."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from closed_forms import IDENTITY, RELU, ActivationLaw, backward_moments, forward_theory, slope_moments
from fanin.theory import Critical, Expectation, Gradients, InitAnalysis
from fanin.theory import analyse as judged
from fanin.theory.bands import EXACT, Band, redraw_source
from fanin.theory.chain_layer import ChainLayer
from fanin.theory.gaussian_maps import Activation

MEAN, VARIANCE = (
    -0.02542088562275735,
    0.05193999214872514,
)  # ln r at n = 100, c = 2, see test_ratio.py


MAPS = {
    "relu": Activation(lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "identity": Activation(lambda z: z, np.ones_like),
}


def chain(widths: list[int], c: float) -> list[ChainLayer]:
    return [
        ChainLayer(f"linear_{index}", fan_in, fan_out, c) for index, (fan_in, fan_out) in enumerate(pairwise(widths), 1)
    ]


def study(c: float) -> list[ChainLayer]:
    return chain([784, *[100] * 49, 10], c)


def analyse(
    layers: list[ChainLayer] | None,
    input_norm: float,
    norms: list[float],
    law: ActivationLaw = RELU,
    gradients: Gradients | None = None,
) -> InitAnalysis:
    """The analysis of a chain whose law is a random walk; without layers nothing is expected."""
    if layers is None:
        return judged(norms, gradients=gradients)
    theory = forward_theory(layers, input_norm, law).post
    bands = [replace(Band.lognormal(one.log_mean, one.log_sd, EXACT), mean_square=one.mean_square) for one in theory]
    widths = math.log(layers[-2].fan_out / layers[0].fan_out) if len(layers) > 1 else 0.0
    expected = Expectation(bands, log_widths=widths, critical=Critical.of_chain(layers, MAPS[law.name]))
    return judged(norms, expected, gradients)


def norms_at(layers: list[ChainLayer], z: float, law: ActivationLaw = RELU) -> list[float]:
    """Norms that lie z standard deviations off the median line in every layer, input norm 92."""
    return [math.exp((line.log_mean + z * line.log_sd) / 2) for line in forward_theory(layers, 92.0, law).post]


def test_study_by_hand() -> None:
    """Norms on the mean-square line: the factor is sqrt(c/2), the deviation that of the line itself."""
    layers = study(3.0)
    found = analyse(layers, 92.0, [line.mean_square for line in forward_theory(layers, 92.0).post])
    assert found.factor_per_layer == pytest.approx(math.sqrt(1.5))
    assert found.theory_factor == pytest.approx(math.sqrt(1.5))
    assert found.expected_factor == pytest.approx(math.sqrt(1.5) * math.exp(MEAN / 2))
    # 49 hidden layers: the line lies 49 * 0.0254 above the mean of the walk, whose sd is sqrt(49 * 0.0519).
    assert found.z == pytest.approx(-49 * MEAN / math.sqrt(49 * VARIANCE))
    assert found.z_critical == pytest.approx(49 * (math.log(1.5) - MEAN) / math.sqrt(49 * VARIANCE))
    assert found.verdict == "exploding"


@pytest.mark.parametrize("z", [-2.9, 0.0, 2.9])
@pytest.mark.parametrize(("c", "verdict"), [(1.0, "vanishing"), (2.0, "critical"), (3.0, "exploding")])
def test_the_three_initializers_of_the_study(c: float, verdict: str, z: float) -> None:
    """49 ln(c/2) is -21 sd for c = 1 and 12 sd for c = 3: three either way change nothing."""
    found = analyse(study(c), 92.0, norms_at(study(c), z))
    assert found.z == pytest.approx(z)
    assert found.z_critical == pytest.approx(z + 49 * math.log(c / 2) / math.sqrt(49 * VARIANCE))
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("z", "verdict"), [(-3.01, "vanishing"), (-2.99, "critical"), (2.99, "critical"), (3.01, "exploding")]
)
@pytest.mark.parametrize("law", [RELU, IDENTITY], ids=lambda law: law.name)
def test_critical_is_within_three_standard_deviations(z: float, verdict: str, law: ActivationLaw) -> None:
    layers = study(law.critical_c)
    found = analyse(layers, 92.0, norms_at(layers, z, law), law)
    assert found.z_critical == pytest.approx(z)
    assert found.verdict == verdict


def test_critical_c_depends_on_the_activation() -> None:
    """c = 2 without a nonlinearity doubles the square in every layer."""
    found = analyse(study(2.0), 92.0, norms_at(study(2.0), 0.0, IDENTITY), IDENTITY)
    assert found.verdict == "exploding"
    assert found.theory_factor == pytest.approx(math.sqrt(2))


def test_growth_that_comes_from_widths_is_divided_out() -> None:
    """Hidden widths 25, 400, 100 from layer 1 to 3: norms that grow by sqrt(width) have factor 1."""
    layers = chain([10, 25, 400, 100, 10], 2.0)
    found = analyse(layers, 1.0, [5.0, 20.0, 10.0, 1.0])
    assert found.factor_per_layer == pytest.approx(1.0)
    assert found.theory_factor == pytest.approx(1.0)
    # Without layers the widths are not known: two steps from 5 to 10.
    assert analyse(None, 1.0, [5.0, 20.0, 10.0, 1.0]).factor_per_layer == pytest.approx(math.sqrt(2))


def test_layers_of_different_c_have_the_geometric_mean() -> None:
    """Layers 2 and 3 of 4 with c = 1 and 8: sqrt(0.5 * 4)^(1/2); layers 1 and 4 do not count."""
    layers = [ChainLayer(str(c), 50, 50, c) for c in (3.0, 1.0, 8.0, 0.1)]
    assert analyse(layers, 1.0, [1.0] * 4).theory_factor == pytest.approx(2**0.25)


@pytest.mark.parametrize(
    ("hidden", "factor", "verdict"),
    [
        ([1.0, 0.5, 0.25], 0.5, "stable"),
        ([1.0, 0.1, 0.011], math.sqrt(0.011), "stable"),
        ([1.0, 0.1, 0.009], math.sqrt(0.009), "vanishing"),
        ([1.0, 10.0, 99.0], math.sqrt(99.0), "stable"),
        ([1.0, 10.0, 101.0], math.sqrt(101.0), "exploding"),
        ([1.0, 1e-30, 0.0], 0.0, "vanishing"),
        ([0.0, 0.0, 0.0], 0.0, "vanishing"),
        ([1.0, 1e30, math.inf], math.inf, "exploding"),
        ([1.0, math.inf, math.nan], math.inf, "exploding"),
        ([7.0], math.nan, "stable"),
        ([], math.nan, "stable"),
    ],
)
def test_without_theory(hidden: list[float], factor: float, verdict: str) -> None:
    found = analyse(None, 1.0, [*hidden, 1e9])
    assert found.factor_per_layer == pytest.approx(factor, nan_ok=True)
    assert found.verdict == verdict
    assert (found.theory_factor, found.expected_factor, found.z, found.z_critical) == (None,) * 4


@pytest.mark.parametrize(
    ("hidden", "factor", "z", "verdict"),
    [
        ([1.0, 1e-30, 0.0], 0.0, -math.inf, "vanishing"),
        ([0.0, 0.0, 0.0], 0.0, -math.inf, "vanishing"),
        ([1.0, 1e30, math.inf], math.inf, math.inf, "exploding"),
        ([1.0, math.nan, math.nan], math.inf, math.inf, "exploding"),
    ],
)
def test_norms_that_are_zero_or_not_finite(hidden: list[float], factor: float, z: float, verdict: str) -> None:
    found = analyse(chain([5] * 5, 2.0), 1.0, [*hidden, 1.0])
    assert (found.factor_per_layer, found.z, found.z_critical, found.verdict) == (factor, z, z, verdict)


def test_one_hidden_layer_has_a_deviation_but_no_factor() -> None:
    layers = chain([100, 100, 10], 2.0)
    found = analyse(layers, 1.0, [math.exp((MEAN + 2 * math.sqrt(VARIANCE)) / 2), 1.0])
    assert found.z == pytest.approx(2.0)
    assert found.verdict == "critical"
    assert math.isnan(found.factor_per_layer)
    assert found.expected_factor is not None
    assert math.isnan(found.expected_factor)


def test_no_hidden_layer_has_nothing_to_judge() -> None:
    found = analyse(chain([100, 10], 2.0), 1.0, [1e9])
    assert (found.verdict, found.z, found.quantile, found.source) == ("stable", None, None, None)


def test_one_norm_per_layer() -> None:
    with pytest.raises(ValueError, match="2 activation norms for 50 layers"):
        analyse(study(2.0), 92.0, [1.0, 1.0])


def test_slope_is_the_logarithm_of_the_factors() -> None:
    layers = chain([7, 20, 5, 60, 30, 4], 1.3)
    found = analyse(layers, 92.0, norms_at(layers, 0.0))
    assert found.expected_factor == pytest.approx(math.exp(slope_moments(layers).mean))
    assert found.factor_per_layer == pytest.approx(found.expected_factor)


def gradients(outputs: list[float], weights: list[float] | None = None, norms: list[float] | None = None) -> Gradients:
    """Norms of the gradients of the layers' outputs; those of the weights are 1, and so are the weights' norms."""
    names, ones = [f"linear_{layer}" for layer in range(1, len(outputs) + 1)], [1.0] * len(outputs)
    return Gradients(names, ones if weights is None else weights, ones if norms is None else norms, outputs)


@pytest.mark.parametrize(
    ("c", "z", "verdict"),
    [(2.0, 0.0, "critical"), (2.0, -2.99, "critical"), (2.0, 2.99, "critical"), (2.0, -3.01, "vanishing"),
     (2.0, 3.01, "exploding"), (1.0, 2.9, "vanishing"), (3.0, -2.9, "exploding")],
)  # fmt: skip
def test_backward_with_a_law(c: float, z: float, verdict: str) -> None:
    """49 steps from layer 50 to layer 1, of width 100 each: the moments of one are known."""
    layers = study(c)
    moments = backward_moments(layers)
    assert moments.mean == pytest.approx(49 * (MEAN + math.log(c / 2)))
    assert moments.variance == pytest.approx(49 * VARIANCE)
    first = math.exp((moments.mean + z * math.sqrt(moments.variance)) / 2)
    seen = gradients([first, *[math.nan] * 48, 1.0])
    found = analyse(layers, 92.0, norms_at(layers, 0.0), gradients=seen)
    assert found.backward == verdict
    assert found.backward_z_critical == pytest.approx(
        z + 49 * math.log(c / 2) / math.sqrt(49 * VARIANCE), rel=1e-6, abs=1e-6
    )
    assert found.backward_factor_per_layer == pytest.approx(first ** (1 / 49))


@pytest.mark.parametrize(
    ("outputs", "factor", "verdict"),
    [
        ([0.011, 0.1, 1.0], math.sqrt(0.011), "stable"),
        ([0.009, 0.1, 1.0], math.sqrt(0.009), "vanishing"),
        ([99.0, 10.0, 1.0], math.sqrt(99.0), "stable"),
        ([101.0, 10.0, 1.0], math.sqrt(101.0), "exploding"),
        ([math.nan, 0.009, 1.0], 0.009, "vanishing"),  # a first layer whose output was not seen
        ([math.nan, math.nan, 1.0], math.nan, "stable"),
        ([math.inf, 1e30, 1.0], math.inf, "exploding"),
    ],
)
def test_backward_without_a_law(outputs: list[float], factor: float, verdict: str) -> None:
    found = analyse(None, 1.0, [1.0, 1.0, 1.0], gradients=gradients(outputs))
    assert found.backward_factor_per_layer == pytest.approx(factor, nan_ok=True)
    assert (found.forward, found.backward, found.backward_z_critical) == ("stable", verdict, None)
    assert found.verdict == verdict, "the forward pass is stable, so the backward pass decides"


@pytest.mark.parametrize("layers", [None, chain([5] * 4, 2.0)], ids=["without a law", "with one"])
@pytest.mark.parametrize(
    ("weights", "norms", "verdict"),
    [
        ([1.0, 5.9e-8, 1.0], [1.0, 1.0, 1.0], "vanishing"),  # below half of float32's spacing, 2^-24 = 5.96e-8
        ([1.0, 5.9e-8, 1.0], [1.0, 0.9, 1.0], None),
        ([1.0, math.nan, 1.0], [1.0, 1.0, 1.0], None),  # not trained
        ([0.0, 0.0, 1.0], [1.0, 1.0, 1.0], "vanishing"),
        ([0.0, 0.0, 1.0], [1.0, 1.0, 0.0], "blocked"),
        ([math.inf, 1.0, 1.0], [1.0, 1.0, 0.0], "exploding"),
    ],
)
def test_a_gradient_that_is_lost(
    layers: list[ChainLayer] | None, weights: list[float], norms: list[float], verdict: str | None
) -> None:
    """Whatever a law says of what the depth does."""
    expected = verdict or ("stable" if layers is None else "critical")
    found = analyse(layers, 1.0, [1.0, 1.0, 1.0], gradients=gradients([1.0] * 3, weights, norms))
    assert found.backward == expected
    known = [weight for weight in weights if not math.isnan(weight)]
    assert (found.gradient_smallest, found.layers_without_gradient) == (min(known), known.count(0.0))
    assert found.gradient_smallest_layer == f"linear_{weights.index(min(known)) + 1}"


def test_the_forward_pass_goes_first_where_both_are_bad() -> None:
    found = analyse(None, 1.0, [1.0, 1e-9, 1.0], gradients=gradients([1e9, 1.0, 1.0]))
    assert (found.verdict, found.forward, found.backward) == ("vanishing", "vanishing", "exploding")


def test_without_trained_weights_there_is_no_backward_verdict() -> None:
    found = analyse(None, 1.0, [1.0, 1.0], gradients=gradients([math.nan] * 2, [math.nan] * 2))
    assert (found.verdict, found.backward, found.gradient_smallest) == ("stable", None, None)


def test_a_draw_has_its_place_among_redraws() -> None:
    """Norms e^0, .., e^6 in 7 draws: ln norm^2 has mean 6 and variance 4 * 28 / 6; e^4.5 lies above 5 of them."""
    band = Band.of_draws([math.exp(step) for step in range(7)], redraw_source(7))
    expected = Expectation([band, band, None], [None, band, band])
    found = judged([1.0, math.exp(4.5), 5.0], expected, gradients([1.0] * 3))
    assert found.z == pytest.approx((9 - 6) / math.sqrt(4 * 28 / 6))
    assert (found.quantile, found.source) == (5.5 / 8, "redraw of 7")
    assert (found.theory_factor, found.z_critical, found.backward_z) == (None, None, None)
    assert found.expected_factor == pytest.approx(1)
    assert (found.forward, found.backward) == ("stable", "stable")
    behind = judged([1.0, 0.0, 5.0], replace(expected, gradients=[band, None, None]), gradients([1.0] * 3))
    assert (behind.z, behind.quantile) == (-math.inf, 0.5 / 8)
    assert behind.backward_z == pytest.approx(-6 / math.sqrt(4 * 28 / 6))
    assert (behind.backward_quantile, behind.backward_source) == (1 / 8, "redraw of 7")


def test_a_law_gives_the_quantile_of_a_normal() -> None:
    found = analyse(study(2.0), 92.0, norms_at(study(2.0), 1.0))
    assert (found.quantile, found.source) == (pytest.approx(0.841345, abs=1e-6), EXACT)
