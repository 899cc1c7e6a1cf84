"""Factors a step against the eigenvalues of each method's own recursion, and the best numbers against all others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from fanin.api.resolvers import register_resolvers
from fanin.theory.optimizer_rates import best, factor, setting

conditions = st.floats(2, 1e3)
METHODS = ("gd", "momentum", "ema_momentum", "nesterov", "newton", "saddle_free_newton")


def recursion(optimizer: str, numbers: dict[str, float], bend: float) -> np.ndarray:
    """The map of (distance, velocity or mean gradient) by one step on bend/2 x^2, from the updates as they are."""
    a = numbers["lr"]
    rho = numbers.get("momentum", numbers.get("beta", 0.0))
    if optimizer == "momentum":  # v <- rho v - a g; x <- x + v
        return np.array([[1 - a * bend, rho], [-a * bend, rho]])
    if optimizer == "ema_momentum":  # u <- beta u + (1 - beta) g; x <- x - a u
        u = np.array([(1 - rho) * bend, rho])
        return np.stack([np.array([1, 0]) - a * u, u])
    if optimizer == "nesterov":  # v <- rho v - a g; x <- x - a g + rho v
        v = np.array([-a * bend, rho])
        return np.stack([np.array([1 - a * bend, 0]) + rho * v, v])
    if optimizer.endswith("newton"):
        return np.array([[1 - a * bend / (bend + numbers["damping"])]])
    return np.array([[1 - a * bend]])


@pytest.mark.parametrize("optimizer", METHODS)
@given(kappa=conditions, share=st.floats(0.01, 3), rho=st.floats(0, 0.99))
@settings(max_examples=25, deadline=None)
def test_the_factor_is_the_spectral_radius(optimizer: str, kappa: float, share: float, rho: float) -> None:
    numbers = {"lr": share / kappa, "momentum": rho, "beta": rho, "damping": 0.1 + rho}
    radius = [np.abs(np.linalg.eigvals(recursion(optimizer, numbers, bend))).max() for bend in (1.0, kappa)]
    # Roots that are nearly double are known to the square root of the precision only.
    assert factor(optimizer, numbers, kappa) == pytest.approx(max(radius), abs=1e-6)
    between = np.abs(np.linalg.eigvals(recursion(optimizer, numbers, np.sqrt(kappa)))).max()
    assert between <= max(radius) + 1e-6


@pytest.mark.parametrize("optimizer", ["gd", "momentum", "nesterov"])
@given(kappa=conditions, lr=st.floats(0.5, 2), rho=st.floats(0, 0.999))
@settings(max_examples=25, deadline=None)
def test_no_numbers_are_better_than_the_best(optimizer: str, kappa: float, lr: float, rho: float) -> None:
    known = best(optimizer, kappa)
    assert known is not None
    assert factor(optimizer, dict(known.numbers), kappa) == pytest.approx(known.factor, abs=1e-6)
    other = factor(optimizer, {"lr": lr * known.numbers["lr"], "momentum": rho}, kappa)
    assert other is not None
    assert other >= known.factor - 1e-9


def test_the_best_by_hand() -> None:
    """kappa = 9: steps 2/10, 4/16 and 4/28."""
    gd, momentum, nesterov = (best(name, 9) for name in ("gd", "momentum", "nesterov"))
    assert gd is not None and momentum is not None and nesterov is not None  # noqa: PT018
    assert (gd.numbers, gd.factor) == ({"lr": 0.2}, 0.8)
    assert (momentum.numbers, momentum.factor) == ({"lr": 0.25, "momentum": 0.25}, 0.5)
    assert nesterov.numbers["lr"] == pytest.approx(1 / 7, rel=1e-15)
    assert nesterov.factor == pytest.approx(1 - 2 / 28**0.5, rel=1e-15)


@pytest.mark.parametrize("optimizer", ["gd", "momentum", "nesterov"])
@given(kappa=conditions, steps=st.integers(8, 60))
@settings(max_examples=20, deadline=None)
def test_a_distance_shrinks_as_theory_says_between_any_two_steps(optimizer: str, kappa: float, steps: int) -> None:
    """|e_t| = |e_0| (1 + s t) r^t with the growth s of either end, from a start at rest, by powers of the recursion."""
    known = best(optimizer, kappa)
    assert known is not None
    numbers = dict(known.numbers)
    for bend, s in zip((1.0, kappa), known.growth, strict=True):
        s = known.growth[1] if optimizer == "nesterov" else s  # the other end has two roots
        if optimizer == "nesterov" and bend > 1:
            continue
        moved = np.linalg.matrix_power(recursion(optimizer, numbers, bend), steps)[0, 0]
        # Rounding splits a double root by some 1e-8: steps times that share.
        assert abs(moved) == pytest.approx((1 + s * steps) * known.factor**steps, rel=1e-5)
    least, most = known.between(4, steps)
    ends = [
        [np.linalg.matrix_power(recursion(optimizer, numbers, bend), t)[0, 0] for bend in (1.0, kappa)]
        for t in (4, steps)
    ]
    for weight in (0.1, 0.5, 0.9):
        first, last = (np.hypot(weight * one[0], (1 - weight) * one[1]) for one in ends)
        measured = (last / first) ** (1 / (steps - 4))
        # Nesterov's second root at kappa, a third of r or less, may have left (1/3)^4 of the first one.
        slack = 2e-2 if optimizer == "nesterov" else 1e-6
        assert least * (1 - slack) <= measured <= most * (1 + slack)


def test_no_recursion_no_factor() -> None:
    assert factor("adam", {"lr": 0.1}, 10) is None
    assert best("lbfgs", 10) is None


@pytest.mark.parametrize("kappa", [4.0, 50.0])
def test_an_average_is_set_to_what_momentum_is(kappa: float) -> None:
    """Step a (1 - beta) and share beta of one are step and share of the other; so are the factors."""
    lr, beta = (setting("ema_momentum", key, kappa) for key in ("lr", "beta"))
    assert lr * (1 - beta) == pytest.approx(setting("momentum", "lr", kappa), rel=1e-12)
    assert beta == setting("momentum", "momentum", kappa) == setting("unbiased_momentum", "beta", kappa)
    known = best("momentum", kappa)
    assert known is not None
    assert factor("ema_momentum", {"lr": lr, "beta": beta}, kappa) == pytest.approx(known.factor, abs=1e-6)


def test_a_configuration_is_set_by_theory() -> None:
    """kappa = 49: 2/50 for gd; s = sqrt(148) for nesterov."""
    register_resolvers()
    for optimizer, key, expected in (("gd", "lr", 0.04), ("nesterov", "momentum", (148**0.5 - 2) / (148**0.5 + 2))):
        made = OmegaConf.create({"k": 49, "x": f"${{fanin.quadratic:{optimizer},{key},${{k}}}}"})
        assert made.x == pytest.approx(expected, rel=1e-12)
    with pytest.raises(InterpolationResolutionError, match="no best beta of gd"):
        _ = OmegaConf.create({"x": "${fanin.quadratic:gd,beta,49}"}).x
