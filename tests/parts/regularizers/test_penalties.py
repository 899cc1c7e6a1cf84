"""The penalties by hand and by autograd, stacked and alone, and where L1 and L2 put a weight."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fanin.errors import OptionError
from fanin.parts.optimizers import SGD
from fanin.parts.regularizers import L1, L2, Penalty

BOTH = pytest.mark.parametrize("kind", [L1, L2])
SHAPES = st.lists(st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple), min_size=1, max_size=3)
SEEDS = st.integers(0, 2**31)
STRENGTHS = st.just(0.0) | st.floats(1e-6, 10)  # half of the smallest number of all is 0


def draws(shapes: list[tuple[int, ...]], seed: int) -> list[Tensor]:
    """Normal weights of which some are exactly 0."""
    random = torch.Generator().manual_seed(seed)
    weights = [torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes]
    return [weight * (torch.rand(weight.shape, generator=random) < 0.8) for weight in weights]


@pytest.mark.parametrize(("kind", "expected"), [(L2, 0.05 * (1 + 4 + 9 + 0.25)), (L1, 0.1 * (1 + 2 + 3 + 0.5))])
def test_penalty_by_hand(kind: type[Penalty], expected: float) -> None:
    weights = [torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0], [0.5]])]
    assert kind(strength=0.1).penalty(weights).item() == pytest.approx(expected)


@BOTH
@settings(max_examples=20, deadline=None)
@given(shapes=SHAPES, seed=SEEDS, strength=STRENGTHS)
def test_pull_is_the_gradient_of_the_penalty(
    kind: type[Penalty], shapes: list[tuple[int, ...]], seed: int, strength: float
) -> None:
    weights = [weight.requires_grad_() for weight in draws(shapes, seed)]
    gradients = torch.autograd.grad(kind(strength=strength).penalty(weights), weights)
    pulls = kind.pull([weight.detach() for weight in weights], strength)
    for pull, gradient in zip(pulls, gradients, strict=True):
        torch.testing.assert_close(pull, gradient, rtol=1e-14, atol=0)  # one rounding or two of 2^-53


@BOTH
@settings(max_examples=20, deadline=None)
@given(shapes=SHAPES, seed=SEEDS, strengths=st.lists(STRENGTHS, min_size=1, max_size=4))
def test_stacked_runs_are_pulled_as_alone(
    kind: type[Penalty], shapes: list[tuple[int, ...]], seed: int, strengths: list[float]
) -> None:
    stacked = draws([(len(strengths), *shape) for shape in shapes], seed)
    pulls = kind.pull(stacked, torch.tensor(strengths, dtype=torch.float64))
    for run, strength in enumerate(strengths):
        for pull, alone in zip(pulls, kind.pull([weight[run] for weight in stacked], strength), strict=True):
            assert torch.equal(pull[run], alone)


@BOTH
def test_pulls_keep_the_weights_type_and_leave_the_weights(kind: type[Penalty]) -> None:
    weights = [torch.randn(2, 3, 4)]
    before = weights[0].clone()
    (pull,) = kind.pull(weights, torch.tensor([0.5, 0.25], dtype=torch.float64))
    assert pull.dtype == torch.float32
    assert torch.equal(weights[0], before)


@pytest.mark.parametrize("seed", [0, 1])
def test_l1_ends_at_the_soft_threshold_and_l2_at_a_share(seed: int) -> None:
    """Of |w - a|^2 / 2 + penalty the minimum lies at sign(a) max(|a| - s, 0), and at a / (1 + s)."""
    s, lr = 0.5, 0.01
    wanted = torch.randn(50, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ends = {}
    for kind in (L1, L2):
        weight = wanted.clone().requires_grad_()
        optimizer = SGD([weight], lr=lr)
        for _ in range(3000):
            (pull,) = kind.pull([weight.detach()], s)
            weight.grad = weight.detach() - wanted + pull
            optimizer.step()
        ends[kind] = weight.detach()
    assert wanted.abs().min() < s < 2 * s < wanted.abs().max()
    soft = wanted.sign() * (wanted.abs() - s).clamp(min=0)
    # A weight that is held with |a| <= s crosses 0 by at most one step, lr (s + |a|); one that stays on its side comes
    # closer by 1 - lr a step: 0.99^3000 = 8e-14, from at most 5.
    assert ((ends[L1] - soft).abs() <= 2 * lr * s + 1e-12).all()
    far = wanted.abs() > s + 2 * lr * s
    torch.testing.assert_close(ends[L1][far], soft[far], rtol=0, atol=1e-12)
    torch.testing.assert_close(ends[L2], wanted / (1 + s), rtol=0, atol=1e-12)


@BOTH
@pytest.mark.parametrize("strength", [-1, math.nan, math.inf, True, "1"])
def test_bad_values_give_one_line(kind: type[Penalty], strength: object) -> None:
    with pytest.raises(OptionError) as caught:
        kind(strength=strength)  # type: ignore[arg-type]
    shown = "true" if strength is True else strength
    assert str(caught.value) == f"strength={shown}: must be a finite number >= 0"
