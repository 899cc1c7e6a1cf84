"""Edge-of-chaos points against published and independently computed numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fanin.theory.gaussian_maps import Activation
from fanin.theory.phase import FixedPoint, NoCriticalPoint, critical_point, fixed_point
from of_torch import activation

EDGE = [
    (torch.tanh, 0.01, 0.27330, 1.42421, 0.678), (torch.tanh, 0.05, 0.57005, 1.76095, 0.518),
    (torch.tanh, 0.1, 0.80580, 1.98607, None), (F.selu, 0.01, 0.30894, 0.76023, None),
    (F.selu, 0.05, 0.82730, 0.90177, None), (F.silu, 0.01, 0.25971, 3.31259, 1.072),
    (F.silu, 0.05, 0.82658, 2.72861, 1.100), (F.gelu, 0.01, 0.18348, 2.98280, 1.098),
    (F.gelu, 0.05, 0.72204, 2.30252, 1.085),
]  # fmt: skip


@pytest.mark.parametrize(("function", "s", "q", "v", "chi_par"), EDGE)
def test_edge_of_chaos(
    function: Callable[[Tensor], Tensor], s: float, q: float, v: float, chi_par: float | None
) -> None:
    found = critical_point(activation(function), s)
    assert isinstance(found, FixedPoint)
    assert (found.q, found.variance) == (pytest.approx(q, abs=1e-5), pytest.approx(v, abs=1e-5))
    assert found.chi_perp == pytest.approx(1, abs=1e-9)
    assert found.phase == "critical"
    if chi_par is not None:
        assert found.chi_par == pytest.approx(chi_par, abs=6e-4)
    if found.chi_par < 1:  # lengths come back to it
        assert fixed_point(activation(function), found.variance, s, start=2.0).q == pytest.approx(q, rel=1e-4)


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.2])
def test_homogeneous_ones_at_any_length(slope: float) -> None:
    phi = activation(partial(F.leaky_relu, negative_slope=slope))
    found = critical_point(phi)
    assert isinstance(found, FixedPoint)
    assert found.variance == pytest.approx(2 / (1 + slope**2), rel=1e-12)
    assert fixed_point(phi, found.variance, 0.0, start=7.0).q == pytest.approx(7.0)


@pytest.mark.parametrize("function", [torch.tanh, F.hardtanh, F.softsign, torch.sin], ids=lambda one: one.__name__)
def test_odd_ones_without_biases(function: Callable[[Tensor], Tensor]) -> None:
    found = critical_point(activation(function))
    assert isinstance(found, FixedPoint)
    assert (found.variance, found.q) == (pytest.approx(1, abs=1e-6), 0.0)


@pytest.mark.parametrize("s", [0.0, 0.05, 1.0])
def test_softplus_has_none(s: float) -> None:
    assert isinstance(critical_point(activation(F.softplus), s), NoCriticalPoint)


def test_relu_with_biases_has_none() -> None:
    assert isinstance(critical_point(activation(F.relu), 0.1), NoCriticalPoint)


def test_fixed_points_by_hand() -> None:
    """relu: q* = s / (1 - v/2); both slopes v/2; xi = 1 / ln(2/v)."""
    found = fixed_point(activation(F.relu), 1.0, 0.1)
    assert (found.q, found.chi_par, found.chi_perp) == pytest.approx((0.2, 0.5, 0.5))
    assert found.xi_c == pytest.approx(1 / math.log(2))
    assert found.phase == "ordered"
    assert fixed_point(activation(F.relu), 3.0, 0.0).q == math.inf
    assert fixed_point(activation(F.relu), 1.0, 0.0).q == 0.0
    chaotic = fixed_point(activation(torch.tanh), 3.0, 0.05)
    assert chaotic.phase == "chaotic"
    assert chaotic.q == pytest.approx(3.0 * activation(torch.tanh).mean_square(chaotic.q) + 0.05, rel=1e-10)


@pytest.mark.parametrize(("c", "bias_variance"), [(1.0, 0.3), (1.0, 0.0), (3.0, 0.0), (3.0, 0.3), (2.0, 0.3)])
def test_two_slopes_have_their_fixed_point_in_closed_form(c: float, bias_variance: float) -> None:
    """q = c q / 2 + s of relu: 2 s / (2 - c), and growth without end from c = 2 on."""
    relu = Activation(lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float))
    found = fixed_point(relu, c, bias_variance)
    assert found.q == pytest.approx(2 * bias_variance / (2 - c) if c < 2 else math.inf)
