"""Batches of nearly orthogonal examples: how far their norms stray follows how their correlations do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fanin.theory.batch import Batch
from fanin.theory.composition import Step, compose
from fanin.theory.stages import Data, Linear
from fanin.theory.weights import Weights

FEATURES, WIDTH, DEPTH, EXAMPLES, KNOWN, NETWORKS = 200, 60, 8, 100, 40, 500


@pytest.mark.parametrize("seed", [3, 4])
def test_a_deep_linear_network_on_a_batch_of_which_some_examples_are_known(seed: int) -> None:
    """Correlations add up 1/n a layer; an example's own noise is one of a hundred, not one of the forty."""
    rng = np.random.default_rng(seed)
    batch = rng.standard_normal((EXAMPLES, FEATURES))
    batch *= math.sqrt(FEATURES) / np.linalg.norm(batch, axis=1, keepdims=True)
    known = batch[:KNOWN]
    steps = [Step("", Data((known @ known.T / FEATURES)[None], FEATURES, np.full(KNOWN, 3.0)), ())]
    steps += [
        Step(str(layer), Linear(WIDTH if layer else FEATURES, WIDTH, Weights(1.0)), (layer,)) for layer in range(DEPTH)
    ]
    found = compose(steps, Batch(np.ones(KNOWN), EXAMPLES), None, 0).outputs[1:]
    logs = np.zeros((NETWORKS, DEPTH))
    for network in range(NETWORKS):
        signals = batch
        for layer in range(DEPTH):
            fan_in = signals.shape[1]
            signals = signals @ rng.standard_normal((fan_in, WIDTH)) / math.sqrt(fan_in)
            logs[network, layer] = math.log(float((signals**2).sum()))
    for law, drawn in zip(found, logs.T, strict=True):
        assert law is not None
        # 4 standard errors of a variance of normal logarithms, and of the squares that 40 examples show of 100
        allowed = 4 * math.sqrt(2 / NETWORKS) + 4 * math.sqrt(2) / KNOWN
        assert abs(float(drawn.var()) / law.variance - 1) < allowed
