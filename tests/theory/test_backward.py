"""The gradient line: its shape by hand, its level, and measured norms that do not count."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.theory import Layer, gradient_line

STUDY = [
    Layer(f"linear_{index}", 784 if index == 1 else 100, 10 if index == 50 else 100, 2.0) for index in range(1, 51)
]


def test_study_is_flat_with_the_first_layer_above_by_the_widths() -> None:
    """Layer 1 stands above layer 2 by sqrt(784/100) = 2.8, and the line is flat from there on."""
    line = gradient_line(STUDY, [5.0] + [1.5] * 49)
    assert line[0] / line[1] == pytest.approx(2.8)
    assert line[1:] == pytest.approx([1.5] * 49)


@given(
    norms=st.lists(st.floats(1e-12, 1e12), min_size=5, max_size=5),
    widths=st.lists(st.integers(1, 900), min_size=6),
)
def test_level_is_the_geometric_mean_over_layers_two_on(norms: list[float], widths: list[int]) -> None:
    layers = [Layer(f"linear_{i + 1}", widths[i], widths[i + 1], 1.7) for i in range(5)]
    line = gradient_line(layers, norms)
    # Sums of a few logarithms up to 28: relative rounding below 1e-12 after the exponential.
    assert math.prod(line[1:]) == pytest.approx(math.prod(norms[1:]), rel=1e-12)
    for index in range(1, 5):
        assert line[index] / line[0] == pytest.approx(math.sqrt(widths[index] / widths[0]), rel=1e-12)


def test_a_layer_with_larger_weights_has_the_smaller_gradient() -> None:
    """By homogeneity dL/dW_l goes like 1 / sqrt(c_l), beside a product of all c: c of 1 and 4 differ by 2."""
    layers = [Layer("a", 9, 9, 2.0), Layer("b", 9, 9, 1.0), Layer("c", 9, 9, 4.0)]
    line = gradient_line(layers, [1.0, 1.0, 1.0])
    assert line[1] / line[2] == pytest.approx(2.0)
    assert line[0] / line[2] == pytest.approx(math.sqrt(2.0))


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
def test_norms_that_do_not_count(bad: float) -> None:
    layers = [Layer(name, 16, 16, 2.0) for name in "abcd"]
    assert gradient_line(layers, [bad, 2.0, bad, 8.0]) == pytest.approx([4.0] * 4)
    assert gradient_line(layers, [1.0, bad, bad, bad]) == pytest.approx([math.nan] * 4, nan_ok=True)


def test_one_layer_has_no_level() -> None:
    assert gradient_line([Layer("a", 4, 2, 2.0)], [1.0]) == pytest.approx([math.nan], nan_ok=True)


def test_one_norm_per_layer() -> None:
    with pytest.raises(ValueError, match="2 gradient norms for 50 layers"):
        gradient_line(STUDY, [1.0, 1.0])
