"""Numerics of curvature against dense matrices and hand computation; see also tests/train/test_minimized_loss.py."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fanin.probes.curvature.ends import SMALL, ends_of
from fanin.probes.curvature.gradient_noise import gradient_noise
from fanin.probes.curvature.lanczos import lanczos
from fanin.probes.curvature.operators import Operator
from fanin.probes.curvature.settings import Curvature
from fanin.probes.curvature.stacked_loss import Piece, StackedLoss
from fanin.probes.curvature.steps import critical_sharpness
from fanin.probes.curvature.trace import hutchpp_trace, slq_density, smoothed
from fanin.probes.probe import Probe
from fanin.run.identity import LOOK


def generators(runs: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + run) for run in range(runs)]


def matrices(values: Tensor, seed: int = 0) -> Tensor:
    """Symmetric matrices [R, P, P] of known eigenvalues [R, P], in random directions."""
    random = torch.randn(*values.shape, values.shape[-1], generator=torch.Generator().manual_seed(seed)).double()
    q = torch.linalg.qr(random)[0]
    return q @ torch.diag_embed(values.double()) @ q.mT


def operator(a: Tensor) -> Operator:
    return Operator(lambda v: torch.bmm(a, v.unsqueeze(-1)).squeeze(-1), torch.zeros_like(a[..., 0]))


def test_both_ends_of_runs_that_converge_at_different_times_are_each_as_alone() -> None:
    """One with outliers, one without: eigenvalues to the tolerance, and one run's are not touched by another."""
    easy = torch.cat([torch.tensor([-3.0, 50.0, 80.0]), torch.linspace(0, 1, 57)])
    hard = torch.linspace(-1, 1, 60)
    a = matrices(torch.stack([easy, hard]))
    start = torch.randn(2, 60, generator=torch.Generator().manual_seed(3)).double()
    both = lanczos(operator(a), start, k=2, low=True, tolerance=1e-3, generators=generators(2))
    assert both.products[0] < both.products[1] < 60
    assert both.converged == [True, True]
    for run, values in enumerate((easy, hard)):
        alone = lanczos(operator(a[run : run + 1]), start[run : run + 1], k=2, low=True, tolerance=1e-3)
        assert alone.products == [both.products[run]]
        torch.testing.assert_close(both.largest[run], alone.largest[0], rtol=1e-9, atol=1e-9)
        exact = values.double().sort().values
        bound = 1e-3 * float(exact.abs().max())
        torch.testing.assert_close(both.largest[run], exact.flip(0)[:2], rtol=0.0, atol=bound)
        torch.testing.assert_close(both.smallest[run], exact[:2], rtol=0.0, atol=bound)
    top = both.vectors[0, 0]
    assert torch.linalg.vector_norm(a[0] @ top - 80 * top) < 80 * 1e-1


def test_runs_that_have_converged_are_left_out_of_the_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three: the two that end together are out of what comes after, and all find what they find alone.

    Memory that is new holds what is no number here, as it may: nobody is to use it before it is written.
    """
    monkeypatch.setattr(Tensor, "new_empty", lambda like, *size: like.new_full(size, math.nan))
    easy = torch.cat([torch.tensor([-3.0, 50.0, 80.0]), torch.linspace(0, 1, 57)])
    a = matrices(torch.stack([easy, torch.linspace(-1, 1, 60), easy]))
    a[2] = a[0]
    start = torch.randn(1, 60, generator=torch.Generator().manual_seed(3)).double().expand(3, -1)
    multiplied: list[int] = []

    def of(a: Tensor) -> Operator:
        def product(v: Tensor) -> Tensor:
            multiplied.append(len(v))
            return torch.bmm(a, v.unsqueeze(-1)).squeeze(-1)

        return Operator(product, torch.zeros_like(a[..., 0]), lambda runs: of(a[list(runs)]))

    found = lanczos(of(a), start, k=2, low=True, tolerance=1e-3)
    few, many, _ = found.products
    assert multiplied == few * [3] + (many - few) * [1]
    padded = lanczos(operator(a), start, k=2, low=True, tolerance=1e-3)  # products that are made of all in any case
    for run in range(3):
        alone = lanczos(operator(a[run : run + 1]), start[:1], k=2, low=True, tolerance=1e-3)
        assert alone.products == [found.products[run]] == [padded.products[run]]
        for one in (found, padded):
            torch.testing.assert_close(one.largest[run], alone.largest[0], rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(one.vectors[run], alone.vectors[0], rtol=0.0, atol=1e-6)


def test_of_eigenvalues_that_lie_close_together_none_is_passed_over() -> None:
    """One iteration ends before it has told some of them apart; what it has passed over is found beside it."""
    pairs = torch.tensor([10.0, 10 - 1e-12, 6.0, -4.0, -4 + 1e-12, -3.0], dtype=torch.float64)
    exact = torch.cat([pairs, torch.linspace(-1, 1, 54, dtype=torch.float64)]).sort().values
    a = matrices(exact.expand(6, -1).clone(), seed=5)
    start = torch.randn(6, 60, generator=torch.Generator().manual_seed(6)).double()
    once = lanczos(operator(a), start, k=2, low=True, tolerance=1e-4)
    assert bool((once.largest[:, 1] < 9).all())
    assert bool((once.smallest[:, 1] > -3.5).all())
    found = ends_of(
        operator(a), 2, low=True, tolerance=1e-4, most=60, started=list(start), generators=generators(6, seed=7)
    )
    bound = 1e-4 * 10
    torch.testing.assert_close(found.largest, exact.flip(0)[:2].expand(6, -1), rtol=0.0, atol=bound)
    torch.testing.assert_close(found.smallest, exact[:2].expand(6, -1), rtol=0.0, atol=bound)
    overlaps = found.top @ found.top.mT
    torch.testing.assert_close(overlaps, torch.eye(2).double().expand(6, -1, -1), rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("values", [[2.0] * 6, [0.0] * 6, [5.0, 5.0, 1.0, 1.0, -1.0, -1.0], [3.0]])
def test_equal_eigenvalues_and_singular_matrices(values: list[float]) -> None:
    """An invariant subspace of the start ends nothing: each eigenvalue is found as often as it is there."""
    exact = torch.tensor(values).double().sort().values
    found = lanczos(operator(matrices(exact[None])), torch.ones(1, len(values)).double(), k=6, tolerance=1e-9)
    torch.testing.assert_close(found.largest[0], exact.flip(0), rtol=1e-9, atol=1e-9)


def test_where_all_eigenvalues_are_asked_for_a_larger_matrix_is_made_whole() -> None:
    """With as many products as it has rows, and the index is counted; with fewer allowed it is not known."""
    size = SMALL + 8
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    a = a + a.mT
    products = 0

    def product(v: Tensor) -> Tensor:
        nonlocal products
        products += 1
        return v @ a

    operator = Operator(product, torch.zeros(1, size, dtype=torch.float64))
    generators = [torch.Generator()]
    found = ends_of(operator, size, low=True, tolerance=0.01, most=size, started=[None], generators=generators)
    values = torch.linalg.eigvalsh(a)
    assert (products, found.converged) == (size, True)
    assert found.every is not None
    torch.testing.assert_close(found.every[0], values, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.largest[0], values.flip(0), rtol=1e-12, atol=1e-12)
    fewer = ends_of(operator, size, low=True, tolerance=0.01, most=size - 1, started=[None], generators=generators)
    assert fewer.every is None


def test_a_run_of_nan_leaves_the_others_alone() -> None:
    a = matrices(torch.linspace(-1, 4, 40).expand(2, -1))
    a[0, 3, 3] = torch.nan
    found = lanczos(operator(a), torch.ones(2, 40).double(), tolerance=1e-6)
    assert math.isnan(found.largest[0, 0])
    assert found.largest[1, 0] == pytest.approx(4.0, rel=1e-6)
    assert found.converged == [False, True]


def test_a_warm_start_finds_what_has_overtaken_it() -> None:
    """The old top eigenvector is still one, but no longer of the largest eigenvalue."""
    a = torch.diag(torch.cat([torch.tensor([10.0, 12.0]), torch.linspace(0, 1, 98)])).double()[None]
    stirred = torch.zeros(1, 100).double()
    stirred[0, 0] = 1.0
    stirred += 0.1 * torch.randn(1, 100, generator=torch.Generator().manual_seed(0)) / 10
    found = lanczos(operator(a), stirred, tolerance=0.01)
    assert found.largest[0, 0] == pytest.approx(12.0, rel=0.01)


def test_traces_are_within_their_errors() -> None:
    """Hutch++ of 40 seeds: the mean within four standard errors, the error that it tells that of its scatter."""
    values = torch.cat([torch.tensor([100.0, 40.0]), torch.linspace(-1, 1, 78)])
    a = matrices(values.expand(40, -1).clone(), seed=1)
    found, errors = hutchpp_trace(operator(a), 30, generators(40))
    away = found - values.sum()
    scatter = away.square().mean().sqrt()
    assert abs(away.mean()) < 4 * scatter / 40**0.5
    told = errors.square().mean().sqrt()
    assert 1 / 1.6 < told / scatter < 1.6  # of 40 draws a ratio of standard deviations scatters by 1/sqrt(80) each


def test_a_density_has_the_moments_of_the_spectrum() -> None:
    """Quadrature is exact for each vector's moments; those over sign vectors scatter by the matrix's other entries."""
    values = torch.linspace(-1, 3, 50)
    a = matrices(values.expand(30, -1).clone(), seed=2)
    points, weights = slq_density(operator(a), 2, 20, generators(30))
    torch.testing.assert_close(weights.sum(-1), torch.ones(30).double())
    for power in (1, 2):
        exact = values.double().pow(power).mean()
        found = (weights * points.pow(power)).sum(-1)
        assert abs(found.mean() - exact) < 4 * found.std() / 30**0.5
    grid = torch.linspace(-2, 4, 400).double()
    curve = smoothed(points[0], weights[0], grid)
    assert torch.trapezoid(curve, grid) == pytest.approx(1.0, abs=1e-6)


def quadratic(a: Tensor, theta: Tensor) -> StackedLoss:
    """Of R runs, theta^T A theta / 2."""
    return StackedLoss(
        theta, [Piece(lambda at: at.unsqueeze(1), lambda out: 0.5 * torch.einsum("rbi,rij,rbj->r", out, a, out))]
    )


@pytest.mark.parametrize("guess", [1e-3, 0.3, 50.0])
def test_critical_sharpness_of_a_quadratic_is_the_curvature_along_the_step(guess: float) -> None:
    """2 / eta_c = d^T H d / (-g^T d) whatever the direction; where nothing falls or nothing rises, inf and 0."""
    a = matrices(torch.tensor([[9.0, 2.0, 1.0], [5.0, 4.0, 0.5], [1.0, 1.0, 1.0], [-1.0, -1.0, -2.0]]))
    theta = torch.tensor([[1.0, 2.0, -1.0], [0.5, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]).double()
    losses = quadratic(a, theta)
    g = losses.gradient()
    d = -g * torch.tensor([[1.0, 0.3, 2.0], [1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    found, eta = critical_sharpness(losses, d, torch.full((4,), guess))
    along = torch.einsum("ri,rij,rj->r", d, a, d) / -(g * d).sum(-1)
    torch.testing.assert_close(found[:2], along[:2], rtol=1e-6, atol=0.0)
    torch.testing.assert_close(eta[:2], 2 / along[:2], rtol=1e-6, atol=0.0)
    assert found[2:].tolist() == [math.inf, 0.0]


def test_the_noise_scale_is_that_of_a_hand_computation() -> None:
    gradients = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)).double() + 1
    mean = gradients.mean(0)
    scatter = torch.cov(gradients.mT).trace()
    found = gradient_noise(gradients.split(4))
    assert found.noise_scale == pytest.approx(float(scatter / (mean @ mean - scatter / 9)))
    assert found.signal_to_noise == pytest.approx(float((mean.square() / gradients.var(0)).mean()))
    assert math.isnan(gradient_noise([gradients[:1]]).noise_scale)
    gradients[3, 2] = torch.nan
    assert math.isnan(gradient_noise(gradients.split(4)).noise_scale)


def test_wrong_settings_are_told_in_one_line() -> None:
    for keys, said in (
        ({"quantities": "trace"}, "probe-less"),
        ({"quantities": ["tracee"]}, "did you mean trace?"),
        ({"k": 0}, "curvature.k=0: must be an integer >= 1"),
        ({"kk": 1}, "curvature.kk=1: must be no key of it"),
        ({"quantities": ["verdict"], "matrices": ["gauss_newton"]}, "with hessian"),
    ):
        with pytest.raises(ValueError, match=r"^curvature\.") as error:
            Probe(curvature=keys)
        if said != "probe-less":
            assert said in str(error.value)


def test_settings_where_nothing_is_looked_at_leave_a_runs_identity_as_it_was() -> None:
    made = Curvature()
    assert {name: list(v) if isinstance(v := getattr(made, name), tuple) else v for name in LOOK} == LOOK
    assert set(LOOK) == set(vars(made))
