"""Lines and band over depth: the study's figures, sums done by hand, and invariances."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from closed_forms import IDENTITY, RELU, ActivationLaw, forward_theory
from fanin.errors import OptionError
from fanin.theory.chain_layer import ChainLayer


def chain(widths: list[int], c: float) -> list[ChainLayer]:
    return [
        ChainLayer(f"linear_{index}", fan_in, fan_out, c) for index, (fan_in, fan_out) in enumerate(pairwise(widths), 1)
    ]


STUDY = [784, *[100] * 49, 10]
NETWORKS = st.builds(chain, st.lists(st.integers(1, 60), min_size=2, max_size=8), st.floats(0.5, 4.0))
LAWS = st.sampled_from([RELU, IDENTITY])


def test_median_and_band_of_the_study() -> None:
    """n = 100, 50 ReLU layers, c = 2: median 0.53 of the input, one sigma 0.24 to 1.19, mean square 1."""
    found = forward_theory(chain([100] * 52, 2.0), 1.0).post[49]
    assert [round(value, 2) for value in (found.median, found.low, found.high)] == [0.53, 0.24, 1.19]
    assert found.mean_square == pytest.approx(1.0)
    # 50 times the entries of the study's table, -0.025421 and 0.051940, known to 5e-7 each.
    assert found.log_mean == pytest.approx(50 * -0.025421, abs=50 * 5e-7)
    assert found.log_sd**2 == pytest.approx(50 * 0.051940, abs=50 * 5e-7)


@pytest.mark.parametrize("c", [1.0, 2.0, 3.0])
def test_mean_square_line_of_the_study(c: float) -> None:
    """E||x_l||^2 = ||x_0||^2 (n_l / n_0) (c/2)^l; before the gate and at the logits twice that."""
    found = forward_theory(chain(STUDY, c), 92.0)
    for depth, width in enumerate(STUDY[1:-1], 1):
        squared = 92.0**2 * width / 784 * (c / 2) ** depth
        assert found.post[depth - 1].mean_square ** 2 == pytest.approx(squared)
        assert found.pre[depth - 1].mean_square ** 2 == pytest.approx(2 * squared)
    assert found.post[-1].mean_square ** 2 == pytest.approx(92.0**2 * 10 / 784 * 2 * (c / 2) ** 50)


def test_first_linear_layer_by_hand() -> None:
    """||z_1||^2 = ||x_0||^2 (c / n_0) chi2_100, and E ln chi2_100 = ln 2 + digamma(50), Var trigamma(50)."""
    found = forward_theory(chain(STUDY, 2.0), 92.0).pre[0]
    assert found.log_mean == pytest.approx(math.log(92**2 * 2 / 784) + math.log(2) + special.digamma(50))
    assert found.log_sd**2 == pytest.approx(float(special.polygamma(1, 50)))


@given(layers=NETWORKS, law=LAWS, input_norm=st.floats(1e-3, 1e3))
def test_lines_agree_with_the_moments(layers: list[ChainLayer], law: ActivationLaw, input_norm: float) -> None:
    found = forward_theory(layers, input_norm, law)
    assert found.post[-1] == found.pre[-1]  # no nonlinearity after the last layer
    for norm in (*found.pre, *found.post):
        assert 2 * math.log(norm.median) == pytest.approx(norm.log_mean, abs=1e-9)
        assert 2 * math.log(norm.high / norm.median) == pytest.approx(norm.log_sd, abs=1e-9)
        assert 2 * math.log(norm.median / norm.low) == pytest.approx(norm.log_sd, abs=1e-9)


@given(layers=NETWORKS, law=LAWS, scale=st.floats(0.5, 4.0))
def test_networks_are_homogeneous(layers: list[ChainLayer], law: ActivationLaw, scale: float) -> None:
    """Every c times s moves the lines after l layers by s^(l/2) and leaves the width of the band."""
    scaled = forward_theory([replace(layer, variance=layer.variance * scale) for layer in layers], 1.0, law)
    for depth, (after, before) in enumerate(zip(scaled.post, forward_theory(layers, 1.0, law).post, strict=True), 1):
        for line in ("mean_square", "median", "low", "high"):
            assert getattr(after, line) == pytest.approx(getattr(before, line) * scale ** (depth / 2), rel=1e-9)
        assert after.log_sd == before.log_sd


@given(layers=NETWORKS, law=LAWS)
def test_band_widens_and_median_stays_below_mean_square(layers: list[ChainLayer], law: ActivationLaw) -> None:
    found = forward_theory(layers, 1.0, law)
    spreads = [norm.log_sd for norm in found.post[:-1]]
    assert spreads == sorted(spreads)
    assert all(norm.median < norm.mean_square for norm in (*found.pre, *found.post))


def test_identity_keeps_the_norm_at_c_one() -> None:
    assert forward_theory(chain([30] * 21, 1.0), 5.0, IDENTITY).post[-1].mean_square == pytest.approx(5.0)
    assert IDENTITY.critical_c == 1.0
    assert RELU.critical_c == 2.0


@pytest.mark.parametrize(("input_norm", "lines"), [(0.0, 0.0), (math.inf, math.inf), (math.nan, math.nan)])
def test_inputs_at_the_edge(input_norm: float, lines: float) -> None:
    found = forward_theory(chain([4, 4, 4], 2.0), input_norm).post[-1]
    assert [found.mean_square, found.median, found.low, found.high] == pytest.approx([lines] * 4, nan_ok=True)


def test_lines_beyond_the_floats_saturate() -> None:
    """(3/2)^(l/2) passes 1e308 at l = 3500; (1/2)^(l/2) passes 1e-324 at l = 2150."""
    assert forward_theory(chain([8] * 4001, 3.0), 1.0).post[-1].mean_square == math.inf
    assert forward_theory(chain([8] * 4001, 1.0), 1.0).post[-1].mean_square == 0.0


def test_layers_that_do_not_follow_on_one_another() -> None:
    with pytest.raises(ValueError, match="b takes 5 inputs, but a gives 4"):
        forward_theory([ChainLayer("a", 3, 4, 2.0), ChainLayer("b", 5, 4, 2.0)], 1.0)


def test_weights_without_variance_have_no_theory() -> None:
    with pytest.raises(OptionError, match=r"variance=0\.0: must be a finite number > 0"):
        ChainLayer("a", 3, 4, 0.0)
