"""Clipping against torch's own, run by run, and on gradients that are not finite, huge or tiny."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fanin.errors import OptionError
from fanin.parts.clipping import ClipAdaptively, ClipNorm, ClipValue, NoClipping, global_norms

Clips = ClipNorm | ClipValue
BOTH = pytest.mark.parametrize("kind", [ClipValue, ClipNorm])
SHAPES = st.lists(st.lists(st.integers(1, 4), max_size=4).map(tuple), min_size=1, max_size=4)
BOUNDS = st.floats(0.01, 10)
RUNS = st.integers(1, 4)


def draw(runs: int, shapes: list[tuple[int, ...]], seed: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(runs, *shape, generator=random, dtype=dtype) for shape in shapes]


def torchs(kind: type[Clips], gradients: list[Tensor], run: int, bound: float) -> list[Tensor]:
    """One run's gradients as torch.nn.utils leaves them."""
    params = [torch.nn.Parameter(torch.zeros_like(gradient[run])) for gradient in gradients]
    for param, gradient in zip(params, gradients, strict=True):
        param.grad = gradient[run].clone()
    clip = torch.nn.utils.clip_grad_value_ if kind is ClipValue else torch.nn.utils.clip_grad_norm_
    clip(params, bound)
    return [param.grad for param in params if param.grad is not None]


@BOTH
@settings(max_examples=25, deadline=None)
@given(shapes=SHAPES, bound=BOUNDS, runs=RUNS, seed=st.integers(0, 2**31))
def test_equals_torchs_for_each_run(
    kind: type[Clips], shapes: list[tuple[int, ...]], bound: float, runs: int, seed: int
) -> None:
    gradients = draw(runs, shapes, seed)
    before = [gradient.clone() for gradient in gradients]
    kind(bound=bound)(gradients)
    for run in range(runs):
        # torch divides by ||g|| + 1e-6 where the norm is above the bound, here at least 0.01; a norm within 1e-6 below
        # it makes no larger difference
        for gradient, theirs in zip(gradients, torchs(kind, before, run, bound), strict=True):
            torch.testing.assert_close(gradient[run], theirs, rtol=1.01e-4 if kind is ClipNorm else 0, atol=0)
        own, was = (torch.cat([part[run].flatten() for part in parts]) for parts in (gradients, before))
        if kind is ClipNorm:
            assert own.norm().item() == pytest.approx(min(bound, was.norm().item()), rel=1e-13)
            torch.testing.assert_close(own * was.norm(), was * own.norm(), rtol=1e-13, atol=0)  # the same direction


@BOTH
def test_what_is_within_the_bound_keeps_every_bit(kind: type[Clips]) -> None:
    gradients = draw(3, [(4, 5), (5,)], 0, torch.float32)
    before = [gradient.clone() for gradient in gradients]
    kind(bound=100.0)(gradients)
    NoClipping()(gradients)
    assert all(torch.equal(one, other) for one, other in zip(gradients, before, strict=True))


@BOTH
@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_a_broken_run_leaves_the_others_alone(kind: type[Clips], broken: float) -> None:
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
def test_bad_values_give_one_line(kind: type[Clips], bound: object) -> None:
    with pytest.raises(OptionError) as caught:
        kind(bound=bound)  # type: ignore[arg-type]
    assert str(caught.value) == f"bound={bound}: must be a finite number > 0"


@settings(max_examples=25, deadline=None)
@given(shapes=SHAPES, runs=RUNS, low=st.floats(-2, 1), more=st.floats(0, 2), seed=st.integers(0, 2**31))
def test_entries_end_between_low_and_high(
    shapes: list[tuple[int, ...]], runs: int, low: float, more: float, seed: int
) -> None:
    gradients = draw(runs, shapes, seed)
    before = [gradient.clone() for gradient in gradients]
    ClipValue(low=low, high=low + more)(gradients)
    for gradient, was in zip(gradients, before, strict=True):
        assert gradient.flatten().tolist() == [min(max(one, low), low + more) for one in was.flatten().tolist()]


@settings(max_examples=25, deadline=None)
@given(shapes=SHAPES, runs=RUNS, least=st.floats(0, 10), more=st.floats(0.1, 5), seed=st.integers(0, 2**31))
def test_a_norm_ends_between_least_and_bound(
    shapes: list[tuple[int, ...]], runs: int, least: float, more: float, seed: int
) -> None:
    gradients = draw(runs, shapes, seed)
    for gradient in gradients:
        gradient[-1] = 0  # a run of zeros has no direction to go along
    before = global_norms(gradients)
    ClipNorm(bound=least + more, least=least)(gradients)
    expected = [min(max(one, least), least + more) if one else 0 for one in before.tolist()]
    assert global_norms(gradients).tolist() == pytest.approx(expected, rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(shapes=SHAPES, runs=RUNS, bound=st.floats(0.01, 3), seed=st.integers(0, 2**31))
def test_each_unit_is_clipped_by_its_own_weights(
    shapes: list[tuple[int, ...]], runs: int, bound: float, seed: int
) -> None:
    """Brock et al. 2021, equation 3, unit by unit."""
    gradients, weights = draw(runs, shapes, seed), draw(runs, shapes, seed + 1)
    weights[0][0] = 0
    before = [gradient.clone() for gradient in gradients]
    ClipAdaptively(bound=bound, eps=0.02)(gradients, weights)
    for gradient, was, weight in zip(gradients, before, weights, strict=True):
        units = [one.reshape(runs, *(one.shape[1:2] or (1,)), -1).flatten(0, 1) for one in (gradient, was, weight)]
        for unit, old, own in zip(*units, strict=True):
            ratio = old.norm() / max(own.norm().item(), 0.02)
            torch.testing.assert_close(unit, old if ratio <= bound else old / ratio * bound, rtol=1e-12, atol=1e-15)


def test_ends_that_cross_give_one_line() -> None:
    for make, message in (
        (lambda: ClipValue(low=2.0), "high=1.0: must be a finite number >= 2"),
        (lambda: ClipValue(low=0.5, high=0.1), "high=0.1: must be a finite number >= 0.5"),
        (lambda: ClipNorm(bound=1.0, least=2.0), "least=2.0: must be a finite number >= 0 and <= 1"),
        (lambda: ClipAdaptively(eps=0), "eps=0: must be a finite number > 0"),
    ):
        with pytest.raises(OptionError) as caught:
            make()
        assert str(caught.value) == message
