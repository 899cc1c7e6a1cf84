"""l1 by soft thresholds: exact zeros, against ISTA, scikit-learn's lasso, and the conditions of its optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from torch import Tensor

from fanin.parts.losses import Squared
from fanin.parts.models import LinearModel
from fanin.parts.optimizers import SGD, Adam, AdamW, EmaMomentum, Momentum, Nesterov, UnbiasedMomentum
from fanin.parts.optimizers.coordinate_descent import CoordinateDescent
from fanin.parts.optimizers.parameter_groups import Factors
from fanin.parts.regularizers import L1
from fanin.train.batches import Batches
from fanin.train.single_learner import SingleLearner
from fanin.train.step import Method
from fanin.train.trained_model import TrainedModel
from together import close, different, pair, train

STRENGTH = 0.15


def problem() -> tuple[Tensor, Tensor]:
    """40 examples of 5 features, of which two say the class."""
    random = torch.Generator().manual_seed(3)
    x = torch.randn(40, 5, generator=random, dtype=torch.float64)
    return x, (x[:, 0] + 0.5 * x[:, 1] + 0.3 * torch.randn(40, generator=random, dtype=torch.float64) > 0).long()


def learner(optimizer: Any, **numbers: Any) -> SingleLearner:
    """A linear model with squared loss on the two classes, all of the problem in each step."""
    x, y = problem()
    model = LinearModel(in_features=5, out_features=2).double()
    with torch.no_grad():
        for one in model.parameters():
            one.copy_(torch.linspace(-1, 1, one.numel()).view_as(one))
    own = TrainedModel(
        model,
        optimizer(list(model.parameters()), **numbers),
        Method.of(Squared(), [L1(strength=STRENGTH, proximal=True)], *parts()),
        batches=Batches(x, y, 40, [0]),
    )
    return SingleLearner(own)


def parts() -> Any:
    method = Method()
    return method.clipping, method.averaging, method.noise


def fit(one: SingleLearner, steps: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases after some steps."""
    assert one.own.batches is not None
    for step in range(steps):
        one.step(one.own.batches(step), [rate])
    return tuple(value.detach().numpy() for value in one.model.parameters())  # type: ignore[return-value]


def lasso() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's optimum: its loss is half of ours."""
    x, y = (part.numpy() for part in problem())
    found = [Lasso(alpha=STRENGTH / 2, tol=1e-14, max_iter=100_000).fit(x, y == label) for label in (0, 1)]
    return np.stack([one.coef_ for one in found]), np.array([one.intercept_ for one in found])


@pytest.mark.parametrize("block_size", [pytest.param(1, marks=pytest.mark.slow), 4, 12])
def test_coordinate_descent_reaches_the_lassos_optimum(block_size: int) -> None:
    blocks = -(-12 // block_size)
    weight, bias = fit(learner(CoordinateDescent, block_size=block_size), 60 * blocks, 1.0)
    expected = lasso()
    assert 0 < (expected[0] == 0).sum() < 10
    np.testing.assert_array_equal(weight == 0, expected[0] == 0)
    np.testing.assert_allclose(weight, expected[0], atol=1e-9)
    np.testing.assert_allclose(bias, expected[1], atol=1e-9)


@pytest.mark.parametrize(
    ("optimizer", "numbers", "rate"),
    [
        (SGD, {}, 0.1),
        (Momentum, {"momentum": 0.5}, 0.05),
        (Nesterov, {"momentum": 0.5}, 0.05),
        (EmaMomentum, {"beta": 0.5}, 0.1),
        (UnbiasedMomentum, {"beta": 0.5}, 0.1),
        (Adam, {"beta1": 0.5, "beta2": 0.9, "eps": 1.0}, 0.1),
    ],
)
def test_methods_end_in_the_lassos_optimum(optimizer: Any, numbers: dict[str, float], rate: float) -> None:
    """Adam's eps keeps its metric away from 0 where the gradients of the unpenalized biases vanish."""
    weight, bias = fit(learner(optimizer, lr=rate, **numbers), 300, rate)
    expected = lasso()
    np.testing.assert_array_equal(weight == 0, expected[0] == 0)
    np.testing.assert_allclose(weight, expected[0], atol=1e-6)
    np.testing.assert_allclose(bias, expected[1], atol=1e-6)


@pytest.mark.parametrize("corrected", [True, False])
def test_one_step_of_adam_in_its_metric_by_hand(corrected: bool) -> None:
    one = learner(Adam, lr=0.1, bias_correction=corrected)
    x, y = problem()
    model = one.model
    (gradient,) = torch.autograd.grad(Squared()(model(x), y, x), [model.get_parameter("linear_1.weight")])
    before = model.get_parameter("linear_1.weight").detach().clone()
    weight, _ = fit(one, 1, 0.1)
    mean, square = 0.1 * gradient, 0.001 * gradient**2
    if corrected:
        mean, square = gradient, gradient**2
    length = 0.1 / (square.sqrt() + 1e-8)
    moved = before - length * mean
    expected = moved.sign() * (moved.abs() - length * STRENGTH).clamp(min=0)
    np.testing.assert_allclose(weight, expected.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("optimizer", [SGD, Momentum, AdamW])
def test_fused_equals_alone_with_strengths_and_factors_of_their_own(optimizer: Any) -> None:
    runs = different(optimizer, 3, dtype=torch.float64, bias=True)
    for number, run in enumerate(runs):
        run["method"] = {"proximals": [L1(strength=0.02 * (1 + number), proximal=True)]}
        kind = run["optimizer"]
        run["optimizer"] = lambda params, kind=kind, **keys: kind(
            Factors({"1": 0.5}).groups((str(place // 2), one) for place, one in enumerate(params)), **keys
        )
    alone, fused = pair(runs)
    train(alone, fused, range(6), dtype=torch.float64)
    states = [fused.state(run)["model"] for run in range(3)]
    assert all(close(state, one.state(0)["model"], 1e-9, 1e-12) for state, one in zip(states, alone, strict=True))
    zeros = [sum(int((value == 0).sum()) for name, value in state.items() if "weight" in name) for state in states]
    assert 0 < zeros[0] < zeros[2]
    assert all(state["linear_1.bias"].count_nonzero() > 0 for state in states)
