"""Which compositions are plain chains, and what the critical variance would have made of their norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch.nn.functional as F
from torch import Tensor

from closed_forms import IDENTITY, RELU, ActivationLaw, backward_moments, forward_theory
from fanin.theory.chain_layer import ChainLayer
from fanin.theory.composition import Step
from fanin.theory.plain_chain import chain_of
from fanin.theory.stages import Activated, Data, Dropped, Linear, Passed, Stage
from fanin.theory.weights import Weights
from of_torch import activation

DATA = Data(np.ones((1, 1, 1)), 20, np.ones(1))


def line(*stages: Stage) -> list[Step]:
    return [Step(f"part_{at}", one, (at - 1,) if at else ()) for at, one in enumerate((DATA, *stages))]


def layers(widths: Sequence[int], variance: float = 1.3, **more: object) -> list[Linear]:
    return [Linear(*pair, Weights(variance, **more)) for pair in pairwise(widths)]  # type: ignore[arg-type]


def leaky(z: Tensor) -> Tensor:
    return F.leaky_relu(z, 0.3)


@pytest.mark.parametrize(("function", "law"), [(F.relu, RELU), (lambda z: z, IDENTITY)], ids=["relu", "identity"])
def test_the_critical_variance_has_the_closed_forms(function: Callable[[Tensor], Tensor], law: ActivationLaw) -> None:
    """Hidden widths 7, 100, 30, 64: the moments of narrow layers and of wide ones, widths that grow and shrink."""
    act = Activated(activation(function))
    one, two, three, four, five = layers([20, 7, 100, 30, 64, 10])
    chain = chain_of(line(one, act, two, act, three, act, four, act, five))
    assert chain is not None
    assert chain.critical is not None
    assert chain.critical.law == law.name
    ideal = [ChainLayer(layer.name, layer.fan_in, layer.fan_out, law.critical_c) for layer in chain.layers]
    first, *_, last, _ = forward_theory(ideal, 1.0, law).post
    expected = (last.log_mean - first.log_mean, last.log_sd**2 - first.log_sd**2)
    assert chain.critical.rise == pytest.approx(expected, abs=2e-6)
    assert chain.critical.flow == pytest.approx(backward_moments(ideal, law), abs=2e-6)
    assert chain.critical.log_changes == pytest.approx(np.log(law.critical_c / 1.3) * np.arange(1, 6))


def test_two_slopes_have_a_critical_variance_of_their_own() -> None:
    """2 / (1 + .3^2); against 20,000 drawn layers, within 4 standard errors."""
    act, rng, n = Activated(activation(leaky)), np.random.default_rng(7), 12
    one, two, three = layers([20, n, n, n])
    chain = chain_of(line(one, act, two, act, three))
    assert chain is not None
    assert chain.critical is not None
    assert chain.critical.law == "slopes 0.3 and 1"
    v = 2 / 1.09
    assert chain.critical.log_changes == pytest.approx(np.log(v / 1.3) * np.arange(1, 4))
    z = rng.normal(size=(20_000, n))
    drawn = np.log(v * (np.where(z > 0, z, 0.3 * z) ** 2).mean(1))
    assert chain.critical.rise is not None
    assert abs(chain.critical.rise.mean - drawn.mean()) < 4 * drawn.std() / np.sqrt(len(drawn))
    assert chain.critical.rise.variance == pytest.approx(drawn.var(), rel=0.05)


@pytest.mark.parametrize("function", [F.silu, F.tanh])
def test_no_variance_scales_the_norms_of_a_curved_activation(function: Callable[[Tensor], Tensor]) -> None:
    act = Activated(activation(function))
    one, two = layers([20, 8, 4])
    chain = chain_of(line(one, act, two))
    assert chain is not None
    assert chain.critical is None


def test_layers_that_follow_each_other_are_a_chain_without_an_activation() -> None:
    one, two, three = layers([20, 8, 8, 4])
    for steps, activated in ((line(one, two, three), (1, 2)), (line(one, Passed(), two, Passed(), three), (2, 4))):
        chain = chain_of(steps)
        assert chain is not None
        assert chain.activated == activated
        assert chain.activation.slopes == (1.0, 1.0)


@pytest.mark.parametrize(
    "stages",
    [
        lambda act: layers([20, 4]),  # one layer has no depth
        lambda act: [*layers([20, 8]), act, *layers([8, 8, 4])],  # an activation here, and none there
        lambda act: [*layers([20, 8]), act, Dropped(0.5), *layers([8, 4])],
        lambda act: [*layers([20, 8]), act, *layers([8, 4], kind="orthogonal")],
        lambda act: [*layers([20, 8]), act, *layers([8, 4], calibrated=0.1)],
        lambda act: [*layers([20, 8]), act, *layers([9, 4])],
        lambda act: [*layers([20, 8]), act, *layers([8, 4]), act],  # something behind the last layer
        lambda act: [*layers([20, 8]), act, act, *layers([8, 4])],
    ],
)
def test_what_is_no_plain_chain(stages: Callable[[Stage], list[Stage]]) -> None:
    assert chain_of(line(*stages(Activated(activation(F.relu))))) is None
