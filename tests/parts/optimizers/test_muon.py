"""Muon against torch.optim.Muon, its iteration against an SVD, and what torch's refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fanin.parts.optimizers import Adam, Muon
from fanin.parts.optimizers.muon import orthogonalized
from fanin.train.stacked_tensors import stacked
from oracles.optimizers import by_svd

SHAPES = [(4, 6), (6, 4), (5, 5), (1, 3), (3, 1)]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def descend(make: Callable[[list[Tensor]], torch.optim.Optimizer], steps: int) -> list[Tensor]:
    """Matrices after some steps on |W|^2/2 with noise in the gradient."""
    params = [normal(*shape, seed=place) for place, shape in enumerate(SHAPES)]
    optimizer = make(params)
    for step in range(steps):
        for place, param in enumerate(params):
            param.grad = param + normal(*param.shape, seed=100 + 10 * step + place)
        optimizer.step()
    return params


@settings(max_examples=6, deadline=None)
@given(
    lr=st.floats(1e-3, 0.1), momentum=st.floats(0, 0.99), nesterov=st.booleans(), weight_decay=st.floats(0, 1),
)  # fmt: skip
def test_is_torchs_in_float64(lr: float, momentum: float, nesterov: bool, weight_decay: float) -> None:
    keys = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    ours = descend(lambda p: Muon(p, **keys), 100)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "bfloat16", torch.float64)  # the type that torch's casts to
        theirs = descend(lambda p: torch.optim.Muon(p, **keys), 100)  # type: ignore[arg-type]
    for a, b in zip(ours, theirs, strict=True):
        # 100 steps of lr and roundings of 1e-16, which a small singular value blows up by 3.4445^5 = 500
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_is_nearly_torchs_in_bfloat16() -> None:
    start = descend(lambda p: Muon(p, lr=0.0), 1)
    (ours, theirs) = (descend(lambda p, kind=kind: kind(p, lr=0.02), 3) for kind in (Muon, torch.optim.Muon))
    for a, b, first in zip(ours, theirs, start, strict=True):
        # bfloat16 has 8 bits, and the iteration blows its roundings up; a step's length is what they are measured by
        assert torch.linalg.norm(a - b) < 0.1 * torch.linalg.norm(a - first)


@settings(max_examples=25, deadline=None)
@given(
    lead=st.sampled_from([(1,), (3,), (2, 3)]),
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    seed=st.integers(0, 10**6),
)
def test_the_iteration_acts_on_singular_values(
    lead: tuple[int, ...], rows: int, columns: int, scale: float, seed: int
) -> None:
    matrices = scale * normal(*lead, rows, columns, seed=seed)
    made = orthogonalized(matrices).flatten(0, -3)
    for ours, matrix in zip(made, matrices.flatten(0, -3), strict=True):
        # roundings of 1e-16, times 3.4445^5 = 500 at most
        torch.testing.assert_close(ours, by_svd(matrix), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("rows", "columns"), [(20, 20), (30, 10), (8, 40)])
def test_all_directions_step_alike(rows: int, columns: int) -> None:
    """Singular values from 1 down to 1/50 all come to lie in [0.68, 1.21]: so far f(f(f(f(f(s))))) strays from 1."""
    left, _, right = torch.linalg.svd(normal(rows, columns, seed=3), full_matrices=False)
    values = torch.logspace(0, -1.7, min(rows, columns), dtype=torch.float64)
    made = torch.linalg.svdvals(orthogonalized((left * values @ right).unsqueeze(0))[0])
    assert 0.68 < made.min() < made.max() < 1.21


def test_no_gradient_no_step() -> None:
    param = normal(3, 4, seed=0)
    before, param.grad = param.clone(), torch.zeros_like(param)
    Muon([param], lr=0.1, weight_decay=0.0).step()
    assert torch.equal(param, before)


def test_a_kernel_is_the_matrix_of_its_outputs() -> None:
    kernel, gradient = normal(4, 3, 2, 2, seed=1), normal(4, 3, 2, 2, seed=2)
    matrix = kernel.reshape(4, 12).clone()
    kernel.grad, matrix.grad = gradient, gradient.reshape(4, 12)
    Muon([kernel], lr=0.1).step()
    Muon([matrix], lr=0.1).step()
    torch.testing.assert_close(kernel.reshape(4, 12), matrix, rtol=0, atol=1e-15)


@pytest.mark.parametrize("shape", [(), (5,)])
def test_vectors_take_adams_steps(shape: tuple[int, ...]) -> None:
    ours, theirs = normal(*shape, seed=4), normal(*shape, seed=4)
    muon, adam = Muon([ours], lr=0.2, vector_factor=0.25), Adam([theirs], lr=0.05)
    for step in range(5):
        ours.grad = theirs.grad = normal(*shape, seed=step)
        muon.step()
        adam.step()
    assert torch.equal(ours, theirs)


def test_stacked_vectors_are_no_matrices() -> None:
    """A bias of 4 runs is a tensor [4, 3]: the axis of the runs is none of the parameter's."""
    biases = [normal(3, seed=run) for run in range(4)]
    gradients = [normal(3, seed=10 + run) for run in range(4)]
    stack = torch.stack(biases)
    optimizer = stacked([Muon([bias], lr=0.1 * (1 + run)) for run, bias in enumerate(biases)], biases[:1], [stack])
    stack.grad = torch.stack(gradients)
    optimizer.step()
    for run, (bias, gradient) in enumerate(zip(biases, gradients, strict=True)):
        # Adam's first step is its learning rate, here 0.05 lr, in the direction of -g; eps/|g| < 1e-6
        expected = bias - 0.05 * 0.1 * (1 + run) * gradient.sign()
        torch.testing.assert_close(stack[run], expected, rtol=0, atol=1e-7)
