"""Noise on the gradients: its law, its stream, and what it does to descent on known surfaces."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fanin.errors import OptionError
from fanin.parts.clipping import ClipNorm
from fanin.parts.gradient_noise import AnnealedNoise, NoiseStream
from fanin.parts.losses.value import Value
from fanin.parts.models import Surface
from fanin.parts.optimizers import SGD, Adam
from fanin.streams import generator
from fanin.theory.surfaces import CENTRE
from fanin.train.fused_learner import FusedLearner
from fanin.train.single_learner import SingleLearner
from fanin.train.step import Method, Update
from fanin.train.trained_model import TrainedModel
from together import close, different, pair, train


def test_the_entries_have_the_variance_of_the_formula() -> None:
    noise = AnnealedNoise(eta=0.3, gamma=0.55)
    for step in (0, 7):
        drawn = noise.drawn(step, 100_000, 4, torch.device("cpu")).double()
        expected = 0.3 / (1 + step) ** 0.55
        # Of n normal entries the mean has a standard error sqrt(v/n), the mean square one of v sqrt(2/n).
        assert abs(drawn.mean().item()) < 5 * (expected / 1e5) ** 0.5
        assert drawn.square().mean().item() == pytest.approx(expected, rel=5 * (2 / 1e5) ** 0.5)
        again = torch.randn(100_000, generator=generator(4, "noise", step)) * expected**0.5
        torch.testing.assert_close(drawn.float(), again, rtol=1e-6, atol=0)


def test_it_is_added_after_clipping_in_the_order_of_the_parameters() -> None:
    parameters = [torch.zeros(2, 3, requires_grad=True), torch.zeros(3, requires_grad=True)]
    for one in parameters:
        one.grad = torch.full_like(one, 10.0)
    noise = AnnealedNoise(eta=0.5, gamma=0)
    update = Update([Method(clipping=ClipNorm(bound=1.0), noise=noise)], "cpu", [NoiseStream(noise, 7)])
    update(parameters, parameters[:1], lambda: None)
    drawn = torch.randn(9, generator=generator(7, "noise", 0)) * 0.5**0.5
    for one, expected in zip(parameters, (drawn[:6].view(2, 3), drawn[6:]), strict=True):
        torch.testing.assert_close(one.grad, 1 / 3 + expected)  # nine entries of 10: norm 30


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_fused_equals_alone_and_goes_on_where_it_was(optimizer: Any) -> None:
    runs = different(optimizer, 4, dtype=torch.float64)
    for number, run in enumerate(runs):
        run["method"] = {"noise": AnnealedNoise(eta=0.01 * number, gamma=0.2 * number), "clipping": ClipNorm(bound=1.0)}
        run["learning"] = {"seed": number}
    alone, fused = pair(runs)
    train(alone, fused, range(6), dtype=torch.float64)
    states = [fused.state(run) for run in range(4)]
    assert [state["noise"] for state in states] == [6] * 4
    assert all(close(fused.state(run)["model"], one.state(0)["model"], 1e-9, 1e-12) for run, one in enumerate(alone))
    resumed = pair(runs)[1]
    for run, state in enumerate(states):
        resumed.load_state(run, state)
    train(alone, resumed, range(6, 10), dtype=torch.float64)
    assert all(close(resumed.state(run)["model"], one.state(0)["model"], 1e-9, 1e-12) for run, one in enumerate(alone))


def points_of(runs: int, steps: int, lr: float, eta: float, **surface: Any) -> Tensor:
    """Where gradient descent with noise of a constant variance is at first and after some steps: [2, runs, 2]."""
    members = [
        TrainedModel(
            Surface(**surface).double(), None, Method(loss=Value(), noise=AnnealedNoise(eta=eta, gamma=0)), seed=seed
        )
        for seed in range(runs)
    ]
    for one in members:
        one.optimizer = SGD(one.parameters, lr=lr)
    learner = FusedLearner(members) if runs > 1 else SingleLearner(members[0])
    nothing = torch.zeros(runs, 1, 1, dtype=torch.float64), torch.zeros(runs, 1, dtype=torch.int64)
    first = torch.stack([learner.point(run) for run in range(runs)])
    for _ in range(steps):
        learner.step(nothing, [lr] * runs)
    return torch.stack([first, torch.stack([learner.point(run) for run in range(runs)])])


def test_the_cloud_on_the_quadratic_is_that_of_the_closed_form() -> None:
    """Along a curvature h a step multiplies the variance by (1 - ah)^2 and adds a^2 eta."""
    lr, eta, condition, steps, runs = 0.1, 0.5, 10.0, 25, 128
    places = points_of(runs, steps, lr, eta, kind="quadratic", condition=condition, rotation=0.0)
    for axis, curvature in ((0, 1.0), (1, condition)):
        shrink = 1 - lr * curvature
        start = places[0, 0, axis] - CENTRE[axis]
        variance = lr**2 * eta * sum(shrink ** (2 * t) for t in range(steps))
        limit = lr * eta / (curvature * (2 - lr * curvature))
        assert variance == pytest.approx(limit * (1 - shrink ** (2 * steps)), rel=1e-12)
        found = places[-1, :, axis] - CENTRE[axis]
        assert abs(found.mean().item() - start * shrink**steps) < 5 * (variance / runs) ** 0.5
        assert found.var().item() == pytest.approx(variance, rel=5 * (2 / (runs - 1)) ** 0.5)


def test_noise_leaves_the_saddle_at_which_descent_stays() -> None:
    calm = points_of(1, 150, 0.1, 0.0, kind="saddle", start=[1.5, 0.0])[-1, 0]
    assert calm.tolist() == pytest.approx([1.5 * 0.9**150, 0.0], abs=1e-12)
    # From a kick of a sigma at y = 0 the unstable direction grows by 1.1 a step; 150 steps are a factor of 10^6.
    ends = points_of(4, 150, 0.1, 1e-6, kind="saddle", start=[1.5, 0.0])[-1]
    assert ((ends[:, 1].abs() - 1).abs() < 0.01).all()
    assert (ends[:, 0].abs() < 0.01).all()


@pytest.mark.parametrize("keys", [{"eta": -1}, {"gamma": -0.1}, {"eta": float("inf")}])
def test_what_is_out_of_range_is_told(keys: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        AnnealedNoise(**keys)
