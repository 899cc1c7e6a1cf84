"""Weight decay against L2 under two optimizers, and the max-norm projection against torch's and its closed form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fanin.errors import OptionError
from fanin.parts.optimizers import SGD, Adam
from fanin.parts.regularizers import L2, MaxNorm, WeightDecay

SEEDS = st.integers(0, 2**31)
ROWS = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)  # [out, ...]: matrices and kernels


def network(seed: int) -> torch.nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3)).double()


def train(
    seed: int,
    make: Callable[[list[Tensor]], torch.optim.Optimizer],
    steps: int,
    *,
    strength: float = 0.0,
    rate: float = 0.0,
) -> list[Tensor]:
    """A small network's weights and biases after some steps on batches of its own."""
    model, random = network(seed), torch.Generator().manual_seed(seed)
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    optimizer = make(list(model.parameters()))
    for _ in range(steps):
        x = torch.randn(8, 5, generator=random, dtype=torch.float64)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), x[:, :3].argmax(1)).backward()  # type: ignore[no-untyped-call]
        if strength:
            for weight, pull in zip(weights, L2.pull([weight.detach() for weight in weights], strength), strict=True):
                assert weight.grad is not None
                weight.grad += pull
        WeightDecay.before_step(weights, rate)
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, lr=st.floats(0.01, 0.5), strength=st.floats(0.01, 0.5))
def test_decay_is_l2_under_plain_sgd(seed: int, lr: float, strength: float) -> None:
    def sgd(params: list[Tensor]) -> SGD:
        return SGD(params, lr=lr)

    penalized = train(seed, sgd, 10, strength=strength)
    decayed = train(seed, sgd, 10, rate=lr * strength)
    plain = train(seed, sgd, 10)
    for one, other in zip(penalized, decayed, strict=True):
        # 10 steps that differ by some roundings of values about 1, each carried on by a factor of at most 1 + lr * a
        # curvature of a few units: below 2^-53 * 10 * 4 * 3^10
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
    assert max(float((one - other).abs().max()) for one, other in zip(plain, decayed, strict=True)) > 1e-4


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, lr=st.floats(0.001, 0.1), strength=st.floats(0.01, 1))
def test_under_adams_first_step_l2_shrinks_nothing_where_decay_does(seed: int, lr: float, strength: float) -> None:
    """Its length is a whatever the gradient, so what decay does alone, a * strength * theta, is all they differ by."""
    random = torch.Generator().manual_seed(seed)
    theta = torch.randn(6, 5, generator=random, dtype=torch.float64)
    gradient = torch.rand(6, 5, generator=random, dtype=torch.float64) + 0.5
    gradient += 2 * strength * theta.abs()  # the penalty turns no gradient round
    gradient *= theta.sign() * (1 - 2 * (torch.rand(6, 5, generator=random) < 0.5).double())
    penalized, decayed = theta.clone(), theta.clone()
    (pull,) = L2.pull([theta], strength)
    penalized.grad, decayed.grad = gradient + pull, gradient.clone()
    WeightDecay.before_step([decayed], lr * strength)
    for weight in (penalized, decayed):
        Adam([weight], lr=lr, eps=1e-12).step()
    # a g / (|g| + eps) is a sign(g) up to a eps / |g|, and |g| >= 0.5; besides, roundings of values up to 5
    torch.testing.assert_close(penalized - decayed, lr * strength * theta, rtol=0, atol=1e-11)
    torch.testing.assert_close(penalized, theta - lr * gradient.sign(), rtol=0, atol=1e-11)


def test_decay_and_l2_part_under_adam() -> None:
    def adam(params: list[Tensor]) -> Adam:
        return Adam(params, lr=0.01)

    penalized, decayed = train(3, adam, 50, strength=0.1), train(3, adam, 50, rate=0.01 * 0.1)
    assert float((penalized[0] - decayed[0]).abs().max()) > 0.01


@settings(max_examples=15, deadline=None)
@given(shape=ROWS, rates=st.lists(st.floats(0, 0.999), min_size=1, max_size=4), seed=SEEDS)
def test_stacked_runs_decay_by_their_own_rates(shape: tuple[int, ...], rates: list[float], seed: int) -> None:
    weight = torch.randn(len(rates), *shape, generator=torch.Generator().manual_seed(seed))
    expected = torch.stack([(1 - rate) * one for rate, one in zip(rates, weight, strict=True)])
    WeightDecay.before_step([weight], torch.tensor(rates, dtype=torch.float64))
    assert torch.equal(weight, expected)


@settings(max_examples=25, deadline=None)
@given(shape=ROWS, bounds=st.lists(st.floats(0.1, 5), min_size=1, max_size=3), seed=SEEDS, turned=st.booleans())
def test_projection_is_torchs_and_the_closed_form(
    shape: tuple[int, ...], bounds: list[float], seed: int, turned: bool
) -> None:
    weight = torch.randn(len(bounds), *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if turned:  # how fused runs may lie in memory
        weight = weight.mT.contiguous().mT
    before = weight.clone()
    MaxNorm.after_step([weight], torch.tensor(bounds, dtype=torch.float64) if len(bounds) > 1 else bounds[0])
    for new, old, bound in zip(weight, before, bounds, strict=True):
        # torch.renorm divides by norm + 1e-7 where it projects at all, and norms there are >= 0.1
        torch.testing.assert_close(new, torch.renorm(old, 2, 0, bound), rtol=2e-6, atol=0)
        for row, was in zip(new.flatten(1), old.flatten(1), strict=True):
            if was.norm() <= bound:
                assert torch.equal(row, was)
            else:
                assert row.norm().item() == pytest.approx(bound, rel=1e-14)
                assert torch.dot(row, was).item() == pytest.approx(bound * was.norm().item(), rel=1e-14)


@pytest.mark.parametrize("size", [1e30, 1e-30])
def test_projection_of_what_leaves_float32_when_squared(size: float) -> None:
    weight = torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]) * size
    MaxNorm.after_step([weight], bound := size / 2)
    torch.testing.assert_close(weight[0, 0].double(), torch.tensor([0.6, 0.8]).double() * bound, rtol=1e-6, atol=0)
    assert torch.equal(weight[0, 1], torch.zeros(2))


def test_a_broken_run_leaves_the_others_alone() -> None:
    weight = torch.randn(3, 4, 5)
    weight[1, 2, 3] = torch.nan
    alone = weight[2:].clone()
    MaxNorm.after_step([weight], 1.0)
    MaxNorm.after_step([alone], 1.0)
    assert torch.equal(weight[2:], alone)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightDecay(rate=1), "rate=1: must be a finite number >= 0 and < 1"),
        (lambda: WeightDecay(rate=-0.1), "rate=-0.1: must be a finite number >= 0 and < 1"),
        (lambda: MaxNorm(bound=0), "bound=0: must be a finite number > 0"),
    ],
)
def test_bad_values_give_one_line(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message
