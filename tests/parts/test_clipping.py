"""Clipping against torch's own, run by run, and on gradients that are not finite, huge or tiny."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fanin.errors import OptionError
from fanin.parts.clipping import ClipNorm, Clipping, ClipValue, NoClipping, global_norms

BOTH = pytest.mark.parametrize("kind", [ClipValue, ClipNorm])
SHAPES = st.lists(st.lists(st.integers(1, 4), max_size=4).map(tuple), min_size=1, max_size=4)
BOUNDS = st.lists(st.floats(0.01, 10), min_size=1, max_size=4)


def draw(runs: int, shapes: list[tuple[int, ...]], seed: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(runs, *shape, generator=random, dtype=dtype) for shape in shapes]


def torchs(kind: type[Clipping], gradients: list[Tensor], run: int, bound: float) -> list[Tensor]:
    """One run's gradients as torch.nn.utils leaves them."""
    params = [torch.nn.Parameter(torch.zeros_like(gradient[run])) for gradient in gradients]
    for param, gradient in zip(params, gradients, strict=True):
        param.grad = gradient[run].clone()
    clip = torch.nn.utils.clip_grad_value_ if kind is ClipValue else torch.nn.utils.clip_grad_norm_
    clip(params, bound)
    return [param.grad for param in params if param.grad is not None]


@BOTH
@settings(max_examples=25, deadline=None)
@given(shapes=SHAPES, bounds=BOUNDS, seed=st.integers(0, 2**31), equal=st.booleans())
def test_equals_torchs_for_each_run(
    kind: type[Clipping], shapes: list[tuple[int, ...]], bounds: list[float], seed: int, equal: bool
) -> None:
    gradients = draw(len(bounds), shapes, seed)
    before = [gradient.clone() for gradient in gradients]
    if equal:
        bounds = bounds[:1] * len(bounds)
        kind(bound=bounds[0])(gradients)
    else:
        kind.clip(gradients, torch.tensor(bounds, dtype=torch.float64))
    for run, bound in enumerate(bounds):
        # torch divides by ||g|| + 1e-6 where the norm is above the bound, here at least 0.01; a norm within 1e-6 below
        # it makes no larger difference
        for gradient, theirs in zip(gradients, torchs(kind, before, run, bound), strict=True):
            torch.testing.assert_close(gradient[run], theirs, rtol=1.01e-4 if kind is ClipNorm else 0, atol=0)
        own, was = (torch.cat([part[run].flatten() for part in parts]) for parts in (gradients, before))
        if kind is ClipNorm:
            assert own.norm().item() == pytest.approx(min(bound, was.norm().item()), rel=1e-13)
            torch.testing.assert_close(own * was.norm(), was * own.norm(), rtol=1e-13, atol=0)  # the same direction


@BOTH
def test_what_is_within_the_bound_keeps_every_bit(kind: type[Clipping]) -> None:
    gradients = draw(3, [(4, 5), (5,)], 0, torch.float32)
    before = [gradient.clone() for gradient in gradients]
    kind(bound=100.0)(gradients)
    NoClipping()(gradients)
    assert all(torch.equal(one, other) for one, other in zip(gradients, before, strict=True))


@BOTH
@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_a_broken_run_leaves_the_others_alone(kind: type[Clipping], broken: float) -> None:
    gradients = draw(3, [(4, 5), (5,), ()], 1, torch.float32)
    alone = [gradient[[0, 2]].clone() for gradient in gradients]
    gradients[1][1, 0] = broken
    clip = kind(bound=0.3)
    clip(gradients)
    clip(alone)
    for gradient, other in zip(gradients, alone, strict=True):
        # norms of 3 runs and of 2 are the same sums, in another order maybe: some roundings of 2^-24
        torch.testing.assert_close(gradient[[0, 2]], other, rtol=1e-6, atol=0)
    if kind is ClipNorm:
        assert all(((gradient[1] == 0) | gradient[1].isnan()).all() for gradient in gradients)
    else:
        torch.testing.assert_close(gradients[1][1, 0], torch.tensor(broken).clamp(-0.3, 0.3), equal_nan=True)


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("size", [1e-30, 1e-15, 1.0, 1e15, 1e30])
def test_norms_of_what_leaves_float32_when_squared(runs: int, size: float) -> None:
    """A gradient that explodes has a direction all the same: it is clipped to the bound, not to 0."""
    gradients = draw(runs, [(4, 5), (5,)], 2, torch.float32)
    for gradient in gradients:
        gradient[-1] *= size
    exact = torch.stack([torch.cat([g[run].flatten() for g in gradients]).double().norm() for run in range(runs)])
    # float32's sums of 25 squares: below 13 roundings of 2^-24
    torch.testing.assert_close(global_norms(gradients), exact, rtol=1e-6, atol=0)
    ClipNorm(bound=1e-3)(gradients)
    torch.testing.assert_close(global_norms(gradients), exact.clamp(max=1e-3), rtol=1e-6, atol=0)


def test_no_gradient_at_all() -> None:
    zeros = [torch.zeros(2, 3)]
    for clip in (ClipNorm(), ClipValue()):
        clip(zeros)
        clip([])
    assert torch.equal(zeros[0], torch.zeros(2, 3))


@BOTH
@pytest.mark.parametrize("bound", [0, -1, "1"])
def test_bad_values_give_one_line(kind: type[Clipping], bound: object) -> None:
    with pytest.raises(OptionError) as caught:
        kind(bound=bound)  # type: ignore[arg-type]
    assert str(caught.value) == f"bound={bound}: must be a finite number > 0"
