"""How long the first steps are: facts that the definitions imply, for drawn gradients and numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fanin.parts.optimizers import Adagrad, Adam, AdamW, EmaMomentum, Lion, RAdam, Rmsprop, UnbiasedMomentum

quick = settings(max_examples=20, deadline=None)
rates = st.floats(1e-4, 10)
shares = st.floats(0, 0.99)
sizes = st.floats(1e-3, 1e3).flatmap(lambda size: st.sampled_from([size, -size]))


def steps(optimizer: torch.optim.Optimizer, theta: Tensor, gradients: list[float]) -> list[float]:
    """How far theta moves at each step."""
    moves = []
    for gradient in gradients:
        before = theta.item()
        theta.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        moves.append(theta.item() - before)
    return moves


def at(place: float) -> Tensor:
    return torch.tensor(place, dtype=torch.float64)


def close(values: list[float], lr: float, size: float = 1) -> Any:
    """Differences of theta, whose own size is at most 30 steps: roundings of 1e-16 of that."""
    return pytest.approx(values, rel=1e-11, abs=1e-13 * lr * abs(size))


@quick
@given(lr=rates, beta=shares, gradient=sizes)
def test_unbiased_momentum_steps_by_a_g_from_the_start(lr: float, beta: float, gradient: float) -> None:
    theta = at(0)
    moves = steps(UnbiasedMomentum([theta], lr=lr, beta=beta), theta, [gradient] * 20)
    assert moves == close([-lr * gradient] * 20, lr, gradient)


@quick
@given(lr=rates, beta=shares, gradient=sizes)
def test_ema_momentum_grows_to_it(lr: float, beta: float, gradient: float) -> None:
    theta = at(0)
    moves = steps(EmaMomentum([theta], lr=lr, beta=beta), theta, [gradient] * 20)
    assert moves == close([-lr * gradient * (1 - beta ** (t + 1)) for t in range(20)], lr, gradient)


def test_unbiased_momentum_has_the_gradients_mean_when_it_is_random() -> None:
    """Over many independent gradients of mean 2 the mean step is 2a at every t; without the correction it is not."""
    many = 40_000
    random = torch.Generator().manual_seed(11)
    ema, unbiased = (torch.zeros(many, dtype=torch.float64) for _ in range(2))
    optimizers = [EmaMomentum([ema], lr=1.0), UnbiasedMomentum([unbiased], lr=1.0)]
    for t in range(6):
        gradient = 2 + torch.randn(many, generator=random, dtype=torch.float64)
        before = [ema.mean().item(), unbiased.mean().item()]
        for theta, optimizer in zip((ema, unbiased), optimizers, strict=True):
            theta.grad = gradient
            optimizer.step()
        # a weighted mean has a standard deviation of at most 1; 5 standard errors
        assert before[1] - unbiased.mean().item() == pytest.approx(2, abs=5 / many**0.5)
        assert before[0] - ema.mean().item() == pytest.approx(2 * (1 - 0.9 ** (t + 1)), abs=5 / many**0.5)


@quick
@given(lr=rates, beta1=shares, beta2=shares, gradient=sizes)
def test_adams_first_step_is_a_sign(lr: float, beta1: float, beta2: float, gradient: float) -> None:
    """As eps goes to 0: m = g and v = g^2 exactly, whatever the memories."""
    theta = at(0)
    (move,) = steps(Adam([theta], lr=lr, beta1=beta1, beta2=beta2, eps=1e-300), theta, [gradient])
    assert move == pytest.approx(-lr if gradient > 0 else lr, rel=1e-12)


@quick
@given(lr=rates, gradient=sizes)
def test_adagrads_steps_shrink_as_one_over_root_t(lr: float, gradient: float) -> None:
    theta = at(0)
    moves = steps(Adagrad([theta], lr=lr, eps=1e-300), theta, [gradient] * 20)
    sign = 1 if gradient > 0 else -1
    assert moves == close([-sign * lr / t**0.5 for t in range(1, 21)], lr)


@quick
@given(lr=rates, rho=shares, gradient=sizes)
def test_rmsprops_first_step_is_longer(lr: float, rho: float, gradient: float) -> None:
    """v = (1 - rho^t) g^2: nothing divides the zero at the start out."""
    theta = at(0)
    moves = steps(Rmsprop([theta], lr=lr, rho=rho, eps=1e-300), theta, [gradient] * 10)
    sign = 1 if gradient > 0 else -1
    assert moves == close([-sign * lr / (1 - rho**t) ** 0.5 for t in range(1, 11)], lr)


def test_centered_rmsprop_stays_finite_where_the_variance_rounds_below_0() -> None:
    """A constant gradient has variance 0: the step is g/eps, never NaN."""
    theta = at(0)
    # 0.1 has no exact square; after 3000 steps at rho = 0.9 both moments stand still
    moves = steps(Rmsprop([theta], lr=1e-9, rho=0.9, eps=1e-3, centered=True), theta, [0.1] * 3000)
    # the variance is some 1e-18 at most, its root 1e-9, against eps
    assert moves[-1] == pytest.approx(-1e-9 * 0.1 / 1e-3, rel=1e-5)


@quick
@given(lr=rates, beta1=shares, beta2=shares, gradients=st.lists(sizes, min_size=1, max_size=15))
def test_lions_steps_have_one_size(lr: float, beta1: float, beta2: float, gradients: list[float]) -> None:
    theta = at(0)
    moves = steps(Lion([theta], lr=lr, beta1=beta1, beta2=beta2), theta, gradients)
    assert [abs(move) for move in moves] == close([lr] * len(moves), lr)
    assert moves[0] * gradients[0] < 0


def test_lion_stays_where_nothing_pulls() -> None:
    theta = at(0.5)
    assert steps(Lion([theta], lr=0.1), theta, [0.0, 0.0]) == [0, 0]


@quick
@given(lr=st.floats(1e-4, 0.5), decay=st.floats(0, 1), place=sizes, gradients=st.lists(sizes, min_size=1, max_size=5))
def test_adamws_decay_knows_no_gradient(lr: float, decay: float, place: float, gradients: list[float]) -> None:
    """Decoupled: AdamW moves as Adam does and by -a lambda theta besides; without decay it is Adam."""
    decayed, plain = at(place), at(place)
    adamw, adam = AdamW([decayed], lr=lr, weight_decay=decay), Adam([plain], lr=lr)
    for gradient in gradients:
        before = decayed.item()
        (ours,), (theirs,) = steps(adamw, decayed, [gradient]), steps(adam, plain, [gradient])
        # differences of numbers of the size of theta
        assert ours == pytest.approx(theirs - lr * decay * before, abs=1e-13 * (abs(before) + 10))


def test_adam_with_l2_in_its_gradient_is_not_adamw() -> None:
    """Under a gradient of 0 the penalty's gradient is scaled to a step of a; decay takes its share of theta."""
    decayed, penalized = at(4.0), at(4.0)
    (share,) = steps(AdamW([decayed], lr=0.1, weight_decay=0.01), decayed, [0.0])
    (step,) = steps(Adam([penalized], lr=0.1), penalized, [0.01 * 4.0])
    assert share == pytest.approx(-0.1 * 0.01 * 4)
    assert step == pytest.approx(-0.1, rel=1e-6)


@quick
@given(lr=rates, beta1=shares, gradient=sizes)
def test_radam_waits_for_six_gradients(lr: float, beta1: float, gradient: float) -> None:
    """At beta2 = 0.999 L_t is about t for few t (L_5 = 4.99, L_6 = 5.99): steps of a g until then, of r a after."""
    theta = at(0)
    moves = steps(RAdam([theta], lr=lr, beta1=beta1, eps=1e-300), theta, [gradient] * 6)
    assert moves[:5] == close([-lr * gradient] * 5, lr, gradient)
    length, limit = 1999 - 12 * 0.999**6 / (1 - 0.999**6), 1999
    r = ((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)) ** 0.5
    # the difference of places some 5 lr |g| away; 1 - 0.999^6 = 0.006 costs two digits in L_6, and L_6 - 4 none
    assert abs(moves[5]) == pytest.approx(r * lr, rel=1e-10, abs=1e-14 * lr * abs(gradient))
