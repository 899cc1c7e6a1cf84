"""Whole spectra against dense matrices and curvlinops; what tied, frozen and stacked parameters do to a product."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import hessian as at_once

from fanin.probes.curvature.ends import ends_of
from fanin.probes.curvature.operators import Operator
from fanin.probes.curvature.trace import density_of, hutchpp_trace, signs, slq_density
from fanin.train.minimized_loss import MinimizedLosses
from minimized import CLOUDS, DRAWS, FURTHER, GROUPS, IMAGES, hessian, made, near, plain


def generators(seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*GROUPS, *FURTHER])
def test_spectrum_trace_density_and_blocks_are_those_of_the_dense_matrix(name: str) -> None:
    """Of every kind of model, Hessian and Gauss-Newton matrix (made whole by products that are tested elsewhere)."""
    members, x, y = made((GROUPS | FURTHER)[name])
    _, minimized, theta = plain(members[0], x, y, "evaluation")
    losses, size = MinimizedLosses(members).at(x, y), len(theta)
    exact = {
        "hessian": hessian(minimized, draws=name in DRAWS)(theta),
        "gauss_newton": losses.gauss_newton().dense()[0],
    }
    for kind, matrix in exact.items():
        matrix = 0.5 * (matrix + matrix.mT)
        operator = getattr(losses, kind)()
        scale = float(torch.linalg.eigvalsh(matrix).abs().max())
        whole = {"": (0, size), **losses.blocks}
        assert sorted(whole.values())[-1][1] == size
        for start, stop in whole.values():
            part = operator.block(start, stop)
            true = torch.linalg.eigvalsh(matrix[start:stop, start:stop])
            k = min(3, stop - start)
            ends = ends_of(
                part, k, low=True, tolerance=1e-7, most=stop - start, started=[None], generators=generators()
            )
            torch.testing.assert_close(ends.largest[0], true.flip(0)[:k], rtol=0.0, atol=1e-6 * scale)
            torch.testing.assert_close(ends.smallest[0], true[:k], rtol=0.0, atol=1e-6 * scale)
        trace, error = hutchpp_trace(operator, 3 * size, generators())
        assert (float(trace), float(error)) == (pytest.approx(float(matrix.trace()), abs=1e-9 * size * scale), 0.0)
        # The quadrature of a vector is exact: of one and the same sign vector, u^T A^k u is known from the matrix.
        u = signs(operator, generators())[0] / size**0.5
        points, weights = slq_density(operator, 1, min(size, 60), generators())
        for power in (1, 2, 3):
            found = float((weights[0] * points[0] ** power).sum())
            assert found == pytest.approx(
                float(u @ torch.linalg.matrix_power(matrix, power) @ u), abs=1e-9 * scale**power
            )


@pytest.mark.slow
def test_a_middle_network_has_the_curvature_that_curvlinops_finds() -> None:
    """17,000 parameters, 300 examples: H v, G v and the ends of the spectrum."""
    curvlinops = pytest.importorskip("curvlinops")
    from scipy.sparse.linalg import eigsh

    members, _, _ = made(("data=digits", "model.depth=4", "model.width=20"))
    (own,) = members
    inputs, targets = torch.rand(300, 784, dtype=torch.float64), torch.randint(10, (300,))
    losses = MinimizedLosses(members).at(inputs, targets)
    parameters = [one for one in own.model.parameters() if one.requires_grad]
    own.model.eval()
    data = [(inputs, targets)]
    v = torch.randn(losses.theta.shape[1], dtype=torch.float64)
    for kind, name in (("hessian", "HessianLinearOperator"), ("gauss_newton", "GGNLinearOperator")):
        oracle = getattr(curvlinops, name)(own.model, nn.CrossEntropyLoss(), parameters, data)
        operator = getattr(losses, kind)()
        expected = oracle @ v
        torch.testing.assert_close(operator.matvec(v), expected, rtol=1e-9, atol=1e-12 * float(expected.abs().max()))
        there = oracle.to_scipy()
        high = float(eigsh(there, k=1, which="LA", return_eigenvectors=False)[0])
        low = 0.0  # of G, whose rank is 300 times 9 at most; ARPACK, which tells errors by size, does not settle on 0
        if kind == "hessian":
            low = float(eigsh(there, k=1, which="SA", return_eigenvectors=False)[0])
        ends = ends_of(operator, 1, low=True, tolerance=1e-6, most=200, started=[None], generators=generators())
        assert float(ends.largest[0, 0]) == pytest.approx(high, rel=1e-5)
        assert float(ends.smallest[0, 0]) == pytest.approx(low, abs=1e-5 * high)


class Tied(nn.Module):
    """Two layers that share their matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        scores: Tensor = self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))
        return scores


def tied(own: nn.Module) -> nn.Module:
    """In the place of a network."""
    return Tied().double()


def frozen(own: nn.Module) -> nn.Module:
    """Its first matrix takes no step."""
    next(own.parameters()).requires_grad_(requires_grad=False)
    return own


@pytest.mark.parametrize("change", [tied, frozen])
def test_shared_and_frozen_parameters(change: Callable[[nn.Module], nn.Module]) -> None:
    """What is shared counts once, with both places' effects; what takes no step is no coordinate. Stacked, too."""
    members, x, y = made((*CLOUDS, "model.depth=3", "model.width=4"), (0, 1))
    members = [dataclasses.replace(one, model=change(copy.deepcopy(one.model))) for one in members]
    v = torch.randn(2, MinimizedLosses(members).size, dtype=torch.float64)
    operator = MinimizedLosses(members).at(x, y).hessian()
    together = operator.matvec(v)
    near(operator.only([1]).matvec(v[1:])[0], together[1], together)
    for run, own in enumerate(members):
        _, minimized, theta = plain(own, x, y, "evaluation")
        assert len(theta) == v.shape[1] == sum(one.numel() for one in own.model.parameters() if one.requires_grad)
        matrix = at_once(minimized)(theta)
        near(MinimizedLosses([own]).at(x, y).hessian().matvec(v[run]), matrix @ v[run], matrix)
        near(together[run], matrix @ v[run], matrix)


STACKED = {
    "batch normalization": ((*CLOUDS, "model.depth=3", "model.width=4", "normalization=batch"), "evaluation"),
    "batch normalization, training": ((*CLOUDS, "model.depth=3", "model.width=4", "normalization=batch"), "training"),
    "dropout, smoothing, l2": (
        (*CLOUDS, "model.depth=3", "model.width=4", "regularizer=[l2,dropout,label_smoothing]"), "training"),
    "recurrent": (("model=gru", *IMAGES, "model.width=2"), "evaluation"),
    "attention": (GROUPS["attention"], "evaluation"),
    "vae": (GROUPS["vae"], "evaluation"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", STACKED)
def test_stacked_networks_have_the_curvature_that_they_have_alone(name: str) -> None:
    """Losses, gradients and both products, or one line that says why not; nothing else of the networks changes."""
    words, mode = STACKED[name]
    members, x, y = made(words, (0, 1))
    before = [{key: value.clone() for key, value in one.model.state_dict().items()} for one in members]
    together = MinimizedLosses(members).at(x, y, mode=mode)
    v = torch.randn(together.theta.shape, dtype=torch.float64)
    alone = [MinimizedLosses([one]).at(x, y, mode=mode) for one in members]
    torch.testing.assert_close(together.losses(), torch.cat([one.losses() for one in alone]))
    torch.testing.assert_close(together.gradient(), torch.cat([one.gradient() for one in alone]))
    for kind in ("hessian", "gauss_newton"):
        each = torch.stack([getattr(one, kind)().matvec(u) for one, u in zip(alone, v, strict=True)])
        operator = getattr(together, kind)()
        torch.testing.assert_close(operator.matvec(v), each)
        for runs in ([1], [1, 0]):
            torch.testing.assert_close(operator.only(runs).matvec(v[runs]), each[runs])
    for one, kept in zip(members, before, strict=True):
        assert all(torch.equal(value, kept[key]) for key, value in one.model.state_dict().items())


@pytest.mark.parametrize("values", [[3.0], [0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0, -2.0]])
def test_one_parameter_and_singular_spectra_are_known_whole(values: list[float]) -> None:
    exact = torch.tensor([values], dtype=torch.float64)
    operator = Operator(lambda v: exact * v, exact)
    ends = ends_of(operator, 5, low=True, tolerance=0.01, most=9, started=[None], generators=generators())
    assert ends.every is not None
    assert ends.every[0].tolist() == sorted(values)
    assert float(hutchpp_trace(operator, 30, generators())[0]) == pytest.approx(sum(values))
    points, weights = slq_density(operator, 3, 60, generators())
    found = density_of(points[0], weights[0], 200, 0.01)
    assert float(torch.trapezoid(found.curve, found.at)) == pytest.approx(1.0, abs=1e-3)
    assert found.negative_share == pytest.approx(sum(one < 0 for one in values) / len(values))
    assert (found.condition == 1.0) == (max(values) > 0)


def test_a_look_at_a_network_that_had_broken_does_not_break_the_next() -> None:
    """Where the last eigenvector is no number the iteration begins as the first one did."""
    values = torch.linspace(0, 5, 40, dtype=torch.float64)[None]
    operator = Operator(lambda v: values * v, values)
    broken = [torch.full((40,), torch.nan)]
    found = ends_of(operator, 1, low=False, tolerance=1e-6, most=40, started=broken, generators=generators())
    assert float(found.largest[0, 0]) == pytest.approx(5.0, rel=1e-5)
