"""Batch normalization: by how much gradients grow a layer, at widths that are large against the batch.

Source: Yang, Pennington, Rao, Sohl-Dickstein & Schoenholz 2019, A Mean Field Theory of Batch Normalization.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from fanin.theory.batch import Batch
from fanin.theory.composition import Step, compose
from fanin.theory.gaussian_maps import Activation
from fanin.theory.stages import Activated, BatchNormalized, Data, Linear
from fanin.theory.weights import Weights

WIDTH, CLASSES, DEPTH = 2000, 10, 10
RELU = Activation(lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float))


def growth(batch: int, activation: Activation | None) -> tuple[float, float]:
    """The factor of the gradient's square a layer towards the input, and the standard error of its logarithm."""
    rng = np.random.default_rng(batch)
    x = rng.standard_normal((batch, 50))
    steps = [Step("data", Data((x @ x.T / 50)[None], WIDTH, np.full(batch, 3.0)), ())]
    for layer in range(DEPTH):
        block = [Linear(WIDTH, WIDTH, Weights(1.0)), BatchNormalized(0.0)]
        for stage in [*block, *([Activated(activation)] if activation else [])]:
            steps.append(Step(f"{type(stage).__name__} {layer}", stage, (len(steps) - 1,)))
    steps.append(Step("outputs", Linear(WIDTH, CLASSES, Weights(1.0)), (len(steps) - 1,)))
    answer = rng.standard_normal((batch, CLASSES))
    found = compose(steps, Batch(np.ones(batch), batch), lambda o: np.broadcast_to(answer, o.shape), CLASSES)
    assert not found.why
    assert not found.flows_why
    flows = [found.flows[place] for place, step in enumerate(steps) if isinstance(step.stage, BatchNormalized)]
    logs = np.log([float(np.trace(flow.gram[0])) for flow in flows if flow is not None])
    grown = (logs[:-1] - logs[1:])[3:-1]  # where the batch has become like that of any deep layer
    return math.exp(float(grown.mean())), float(grown.std()) / math.sqrt(len(grown))


@pytest.mark.parametrize("batch", [8, 16])
def test_linear_layers_have_a_closed_form(batch: int) -> None:
    grown, error = growth(batch, None)
    assert math.log(grown) == pytest.approx(math.log((batch - 2) / (batch - 3)), abs=4 * error)


def test_relu_at_a_batch_of_8() -> None:
    grown, error = growth(8, RELU)
    assert grown == pytest.approx(1.783, abs=4 * (0.023 + 1.783 * error))  # networks of width 400, drawn


def test_relu_comes_to_pi_over_pi_minus_one() -> None:
    """1.480 at a batch of 128, of which 1.467 is that of any large one."""
    grown, error = growth(128, RELU)
    assert grown == pytest.approx(math.pi / (math.pi - 1), abs=0.02 + 4 * 1.48 * error)
    assert error < 0.01
