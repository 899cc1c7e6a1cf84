"""Optimizers that ask for more than the gradient, handed what they ask for by the learner."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from optimizers.objective_problems import cross_entropy, tanh_network
from torch import Tensor

from engine import batch, learner
from fanin.parts.initializers import TorchDefault
from fanin.parts.losses import CrossEntropy, Squared
from fanin.parts.models.linear import LinearModel
from fanin.parts.optimizers.newton import Newton
from fanin.parts.optimizers.saga import SAGA
from fanin.parts.optimizers.svrg import SVRG
from fanin.parts.regularizers import L2
from fanin.streams import generator
from fanin.train.batches import Batches
from fanin.train.step import Method
from oracles import by_hand
from steps_by_hand import EXACT


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_newton_solves_least_squares_in_one_step(seed: int, strength: float) -> None:
    """1/N sum ||W x + b - t||^2 + s/2 ||W||^2: (2/N Z^T Z + s D) (W, b)^T = 2/N Z^T T, Z = (X, 1), D = 1 but for b."""
    inputs, targets = (part[0] for part in batch(seed, 50, features=(5,), dtype=torch.float64))
    model = LinearModel(in_features=5, out_features=4).double()
    TorchDefault()(model, lambda name: generator(seed, "init", name))
    batches = Batches(inputs, targets, 50, [seed])
    method = Method(loss=Squared(), penalties=[L2(strength=strength)] if strength else [])
    one = learner(model, partial(Newton, damping=0.0), method=method, batches=batches)
    one.step(batches(0), [1.0])
    z = np.column_stack([inputs.numpy(), np.ones(50)])
    onehot = np.eye(4)[targets.numpy()]
    matrix = 2 / 50 * z.T @ z + strength * np.diag([1.0] * 5 + [0.0])
    solution = np.linalg.solve(matrix, 2 / 50 * z.T @ onehot)
    # condition numbers of some tens
    np.testing.assert_allclose(by_hand.array(model.linear_1.weight), solution[:5].T, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(by_hand.array(model.linear_1.bias), solution[5], rtol=1e-9, atol=1e-11)
    minimum = one.best_weights(0)
    one.step(batches(1), [1.0])
    for name, value in one.best_weights(0).items():
        torch.testing.assert_close(value, minimum[name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", [SVRG, SAGA])
@pytest.mark.parametrize("drop", [0.0, 0.3])
@pytest.mark.parametrize("seed", [0, 4])
def test_variance_reduction_gets_the_rows_of_its_batch(kind: Any, drop: float, seed: int) -> None:
    """Against the optimizers' own test harness, which is handed the rows of the data order over three epochs."""
    problem, twin = (tanh_network(seed, strength=0.02, dropout=drop) for _ in range(2))

    class Plain(CrossEntropy):
        def __call__(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
            return cross_entropy(outputs, targets, inputs)

    batches = Batches(twin.inputs, twin.targets, 5, [seed])  # 24 examples: 4 steps an epoch
    method = Method(loss=Plain(), penalties=[L2(strength=0.02)])
    dropout = torch.Generator().manual_seed(11) if drop else None  # as Problem has it
    one = learner(twin.model, kind, method=method, dropout=dropout, batches=batches)
    expected = kind(problem.parameters, lr=0.0)
    for step in range(12):
        epoch, place = divmod(step, 4)
        order = torch.randperm(24, generator=generator(seed, "data", epoch))
        expected.param_groups[0]["lr"] = 0.2
        problem.step(expected, order[5 * place : 5 * place + 5])
        one.step(batches(step), [0.2])
        # the same sums in float64, up to the order of the penalty's
        torch.testing.assert_close(twin.theta, problem.theta, **EXACT)
