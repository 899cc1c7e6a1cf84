"""Drawn channels against the sums that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from fanin.theory.drawn_maps import mixed, mixed_back, scaled, squares_at
from fanin.theory.stages.convolved import Convolution
from fanin.theory.weights import Weights


def convolution(*, circular: bool, stride: int = 1) -> Convolution:
    return Convolution(2 * 9, 5, (3, 3), (stride, stride), (1, 1), circular, Weights(1.7))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("circular", [True, False])
def test_channels_behind_a_convolution_have_its_covariance(circular: bool, seed: int) -> None:
    """Of few weights draws are made white, so that the covariance of any two places is that of the formula."""
    near, (height, width) = convolution(circular=circular, stride=2)._near((6, 6))
    assert (height, width) == (3, 3)
    units = np.random.default_rng(seed).standard_normal((36, 4, 2))
    found = mixed(units, near, 1.7, 0.3, 192, [seed])
    flat = found.reshape(-1, 192).astype(float)
    padded = np.concatenate([units, np.zeros((1, 4, 2))])
    patches = padded[near].transpose(0, 2, 1, 3).reshape(len(near) * 4, -1)  # of each place and example
    assert flat @ flat.T / 192 == pytest.approx(1.7 * patches @ patches.T / 18 + 0.3, abs=1e-4)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("circular", [True, False])
def test_a_gradient_is_handed_on_to_the_places_it_came_from(circular: bool, seed: int) -> None:
    """With a kernel's own places for each: G'(q) = (v/kernel) sum_d G(q - d), and the whole length exactly."""
    near, _ = convolution(circular=circular)._near((5, 5))
    above = np.zeros((1, 25, 1, 192))
    above[0, 7, 0] = np.random.default_rng(seed).standard_normal(192)
    below = squares_at(mixed_back(above, near, 25, 1.7, [seed]))[0, :, 0]
    expected = np.zeros(26)
    np.add.at(expected, near[7], 1.7 / 9 * float((above[0, 7, 0] ** 2).mean()))
    assert below.sum() == pytest.approx(expected[:25].sum(), rel=1e-5)
    assert below == pytest.approx(expected[:25], rel=4 * np.sqrt(2 / 192))
    assert not below[expected[:25] == 0].any()


@pytest.mark.parametrize("seed", [1, 2])
def test_draws_are_scaled_to_what_is_known(seed: int) -> None:
    rng = np.random.default_rng(seed)
    squares = rng.random((3, 4))
    squares[1, 2] = 0
    assert squares_at(scaled(rng.standard_normal((3, 4, 50)), squares)) == pytest.approx(squares, rel=1e-12)
