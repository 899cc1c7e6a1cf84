"""Means of activations over a normal: known numbers, closed forms, and functions with kinks anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import erf
from torch import Tensor

from fanin.theory.chain import chain_law
from fanin.theory.chain_layer import ChainLayer
from fanin.theory.phase import fixed_point
from of_torch import activation

KNOWN = {  # at q = 1: E phi^2, E phi'^2
    torch.tanh: (0.394294, 0.464403), torch.sigmoid: (0.293379, 0.044836), F.gelu: (0.425221, 0.455851),
    F.silu: (0.355776, 0.379482), F.mish: (0.452342, 0.479084), F.elu: (0.644945, 0.668102), F.selu: (1, 1.071575),
    F.softplus: (0.921246, 0.293379), F.softsign: (0.183014, 0.227671), F.relu: (0.5, 0.5),
    partial(F.leaky_relu, negative_slope=0.2): (0.52, 0.52),
}  # fmt: skip


@pytest.mark.parametrize("function", KNOWN, ids=lambda one: getattr(one, "__name__", "leaky_relu"))
def test_known_means(function: Callable[[Tensor], Tensor]) -> None:
    phi = activation(function)
    square, slope = KNOWN[function]
    assert phi.mean_square(1.0) == pytest.approx(square, abs=1e-6)  # the digits that are given
    assert phi.derivative_mean_square(1.0) == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("q", [0.01, 0.5, 3.0, 100.0])
def test_closed_forms(q: float) -> None:
    assert activation(torch.erf).mean_square(q) == pytest.approx(
        2 / math.pi * math.asin(2 * q / (1 + 2 * q)), abs=1e-10
    )
    assert activation(torch.sin).mean_square(q) == pytest.approx((1 - math.exp(-2 * q)) / 2, abs=1e-8)
    assert activation(F.hardtanh).derivative_mean_square(q) == pytest.approx(erf(1 / math.sqrt(2 * q)), abs=1e-10)
    inner = math.asin(q / (1 + q)) + 2 * q / ((1 + q) * math.sqrt(1 + 2 * q))
    assert activation(F.gelu).mean_square(q) == pytest.approx(q / 4 + q / (2 * math.pi) * inner, rel=1e-10)


@pytest.mark.parametrize("place", [0.3, -1.7, 5.0])
def test_a_kink_anywhere_is_found(place: float) -> None:
    """P(z > place) in closed form, of a function that nobody has listed."""
    shifted = activation(lambda z: torch.relu(z - place) + 0.1 * torch.tanh(z))
    assert shifted.kinks == pytest.approx([place], abs=1e-9)
    step = activation(lambda z: torch.relu(z - place))
    assert step.derivative_mean_square(2.0) == pytest.approx((1 - erf(place / 2)) / 2, abs=1e-10)


def test_smooth_functions_have_no_kinks() -> None:
    for function in (torch.tanh, F.gelu, F.silu, F.mish, F.softplus, torch.sin):
        assert activation(function).kinks.size == 0


@pytest.mark.parametrize("function", [torch.tanh, F.selu, F.hardtanh, torch.sign], ids=lambda one: one.__name__)
def test_slope_of_the_mean_square(function: Callable[[Tensor], Tensor]) -> None:
    """V' against the difference quotient of V, whose error is (h^2/6) V''' of order 1e-8."""
    phi, q, h = activation(function), 0.8, 1e-4
    assert phi.mean_square_slope(q) == pytest.approx(
        (phi.mean_square(q + h) - phi.mean_square(q - h)) / (2 * h), abs=1e-7
    )


def test_sampled_moments() -> None:
    """Fourth and joint moments against a million draws, within 4 standard errors."""
    z = np.random.default_rng(11).normal(size=1_000_000) * math.sqrt(1.3)
    phi = activation(F.silu)
    for found, drawn in (
        (phi.fourth_moment(1.3), phi.phi(z) ** 4),
        (phi.derivative_fourth_moment(1.3), phi.derivative(z) ** 4),
        (phi.mean(1.3), phi.phi(z)),
    ):
        assert abs(found - drawn.mean()) < 4 * drawn.std() / 1000


def test_an_activation_is_asked_seldom() -> None:
    """A user's may be slow: the law of 30 layers asks for all values of eight lengths at once, and for none twice."""
    asked = []

    def counted(z: Tensor) -> Tensor:
        asked.append(z.numel())
        return torch.tanh(z)

    phi = activation(counted)
    layers = [ChainLayer(f"linear_{place}", 40, 40, 1.5, 0.02) for place in range(30)]
    first = chain_law(layers, 1.0, phi)
    assert fixed_point(phi, 1.5, 0.02).chi_perp == pytest.approx(
        fixed_point(activation(torch.tanh), 1.5, 0.02).chi_perp
    )
    found = len(asked)
    assert found < 60
    assert chain_law(layers, 1.0, phi) == first
    assert len(asked) == found


def test_values_do_not_depend_on_what_was_asked_before() -> None:
    """To the last bit: a run's files would say which runs came before it in its process."""
    alone, after = activation(torch.tanh), activation(torch.tanh)
    for q in (0.3, 1.0, math.exp(0.25), 7.0):
        after.mean_square(q)
    after.on_lattice(3)
    for place in (0, 1, 2):
        one, other = alone.on_lattice(place), after.on_lattice(place)
        assert np.array_equal(one.phi, other.phi)
        assert np.array_equal(one.slope, other.slope)
        assert one.mean(one.phi**2) == pytest.approx(alone.mean_square(math.exp(place / 4)), rel=1e-14)
