"""Value, gradients and curvature of an objective against formulas, finite differences and single examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizers.objective_problems import (
    Problem,
    cross_entropy,
    filled,
    half_squares,
    normal,
    softmax_regression,
    tanh_network,
)
from torch import Tensor, nn

from fanin.errors import UserError
from fanin.parts.optimizers.derivatives import dense, derivative
from fanin.parts.optimizers.objective import Objective
from fanin.parts.regularizers import DropoutModule

EACH_SEED = pytest.mark.parametrize("seed", [0, 1])


def softmax(logits: Tensor) -> Tensor:
    exp = torch.exp(logits - logits.max(1, keepdim=True).values)
    return exp / exp.sum(1, keepdim=True)


def hand_softmax_gradient(problem: Problem, rows: Tensor) -> Tensor:
    """(P - Y)^T X / B + strength W."""
    x, weight = problem.inputs[rows], problem.parameters[0].detach()
    onehot = torch.eye(len(weight), dtype=torch.float64)[problem.targets[rows]]
    return ((softmax(x @ weight.T) - onehot).T @ x / len(x) + problem.strength * weight).flatten()


def output_hessian(outputs: Tensor) -> Tensor:
    """Of mean cross-entropy by the logits, flat: blocks (diag(p) - p p^T)/B."""
    blocks = [torch.diag(p) - torch.outer(p, p) for p in softmax(outputs)]
    whole: Tensor = torch.block_diag(*blocks) / len(blocks)  # type: ignore[no-untyped-call]
    return whole


def jacobian(objective: Objective) -> Tensor:
    """Of all outputs by theta, one output after another."""
    outputs = objective.model(objective.inputs).flatten()
    return torch.stack([derivative(output, objective.parameters) for output in outputs])


def differences(objective: Objective, size: float = 1e-4) -> Tensor:
    """The Hessian by central differences of the gradient: error O(size^2)."""
    theta, columns = objective.vector(), []
    for index in range(len(theta)):
        ends = []
        for sign in (1, -1):
            objective.place(theta + sign * size * torch.eye(len(theta), dtype=theta.dtype)[index])
            ends.append(objective.gradient())
        columns.append((ends[0] - ends[1]) / (2 * size))
    objective.place(theta)
    return torch.stack(columns)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), examples=st.integers(2, 12), classes=st.integers(2, 4), features=st.integers(1, 5))
def test_softmax_regression_by_its_formulas(seed: int, examples: int, classes: int, features: int) -> None:
    problem = softmax_regression(seed, examples, features, classes, strength=0.3)
    rows = torch.randperm(examples, generator=torch.Generator().manual_seed(seed))[: examples // 2 + 1]
    objective = problem.run_pass(rows)
    expected = hand_softmax_gradient(problem, rows)
    for gradient in (objective.gradient(), objective.pass_gradient(), objective.value_and_gradient()[1]):
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)
    everything = hand_softmax_gradient(problem, torch.arange(examples))
    torch.testing.assert_close(objective.full_gradient(), everything, rtol=1e-10, atol=1e-12)

    x, weight = problem.inputs[rows], problem.parameters[0].detach()
    p = softmax(x @ weight.T)
    # H = sum_b (diag(p_b) - p_b p_b^T) kron x_b x_b^T / B + strength I: linear in theta, so J^T H_L J is all of it
    hessian = sum(torch.kron(torch.diag(q) - torch.outer(q, q), torch.outer(z, z)) for q, z in zip(p, x, strict=True))
    hessian = hessian / len(x) + 0.3 * torch.eye(classes * features, dtype=torch.float64)
    for product in (objective.hessian_product(), objective.gauss_newton_product()):
        torch.testing.assert_close(dense(product, expected), hessian, rtol=1e-9, atol=1e-11)
        v = normal(seed, classes * features)
        torch.testing.assert_close(product(v), hessian @ v, rtol=1e-9, atol=1e-11)


def test_the_value_is_loss_and_penalty() -> None:
    problem = softmax_regression(3, strength=0.3)
    x, w = problem.inputs.numpy(), problem.parameters[0].detach().numpy()
    logits = x @ w.T
    loss = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(x)), problem.targets.numpy()])
    objective = problem.run_pass()
    assert objective.value().item() == pytest.approx(loss + 0.15 * (w**2).sum(), rel=1e-12)
    assert objective.value_and_gradient()[0] == objective.value().item()


@EACH_SEED
def test_the_hessian_of_a_network_is_the_gradients_difference(seed: int) -> None:
    objective = tanh_network(seed, strength=0.2).run_pass()
    hessian = dense(objective.hessian_product(), objective.vector(), at_once=7)
    # size^2/6 times fourth derivatives of order 10, and rounding 1e-16/1e-4
    torch.testing.assert_close(hessian, differences(objective), rtol=0, atol=1e-6)
    assert torch.linalg.eigvalsh(hessian)[0] < -1e-3  # not convex: Gauss-Newton is something else


@EACH_SEED
def test_gauss_newton_of_a_network_is_the_product_of_its_factors(seed: int) -> None:
    problem = tanh_network(seed, strength=0.2)
    objective = problem.run_pass(torch.arange(3, 13))
    j = jacobian(objective)
    of_penalty = torch.cat([torch.full_like(p.detach().flatten(), 0.2 * (p.ndim == 2)) for p in problem.parameters])
    expected = j.T @ output_hessian(objective.outputs().detach()) @ j + torch.diag(of_penalty)
    matrix = dense(objective.gauss_newton_product(), objective.vector())
    torch.testing.assert_close(matrix, expected, rtol=1e-9, atol=1e-11)


def test_gauss_newton_of_squared_error_is_the_classical_one() -> None:
    model = filled(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)), 5)
    objective = Problem(model, half_squares, normal(1, 9, 2), normal(2, 9, 2)).run_pass()
    j = jacobian(objective)
    matrix = dense(objective.gauss_newton_product(), objective.vector())
    torch.testing.assert_close(matrix, j.T @ j / 9, rtol=1e-10, atol=1e-12)


def test_piecewise_linear_parts_have_no_curvature() -> None:
    """ReLU and a hinge loss: both Hessians are those of the penalty, whatever the first derivatives."""

    def hinge(outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        return (1 - outputs * targets).clamp_min(0).mean()

    model = filled(nn.Sequential(nn.Linear(3, 1)), 1)
    problem = Problem(model, hinge, normal(3, 8, 3), normal(4, 8, 1).sign(), strength=0.7)
    objective = problem.run_pass()
    expected = torch.diag(torch.tensor([0.7, 0.7, 0.7, 0.0], dtype=torch.float64))
    assert torch.equal(dense(objective.hessian_product(), objective.vector()), expected)
    assert torch.equal(dense(objective.gauss_newton_product(), objective.vector()), expected)
    assert (objective.gradient() - objective.penalty_gradient()).norm() > 0.1


@EACH_SEED
def test_examples_have_the_gradients_they_have_alone(seed: int) -> None:
    problem = tanh_network(seed, strength=0.2)
    objective = problem.run_pass()
    each = objective.example_gradients(problem.inputs[:6], problem.targets[:6])
    for row in range(6):
        x, y = problem.inputs[row : row + 1], problem.targets[row : row + 1]
        alone = derivative(cross_entropy(problem.model(x), y, x), problem.parameters)
        torch.testing.assert_close(each[row], alone, rtol=1e-10, atol=1e-12)


def test_examples_are_not_alone_with_batch_normalization() -> None:
    model = filled(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)), 0)
    data = softmax_regression(0)
    objective = Problem(model, cross_entropy, data.inputs, data.targets).run_pass()
    with pytest.raises(UserError, match="normalization=batch"):
        objective.example_gradients(data.inputs, data.targets)


def test_only_parameters_in_training_count() -> None:
    problem = tanh_network(0)
    full = problem.run_pass().gradient()
    hessian = dense(problem.run_pass().hessian_product(), full)
    for p in list(problem.model.parameters())[:2]:
        p.requires_grad_(False)
    objective = problem.run_pass()
    assert torch.equal(objective.vector(), torch.cat([p.detach().flatten() for p in problem.model[3].parameters()]))  # type: ignore[index]
    for gradient in (objective.gradient(), objective.pass_gradient(), objective.full_gradient()):
        torch.testing.assert_close(gradient, full[-18:], rtol=1e-10, atol=1e-12)
    rows = dense(objective.hessian_product(), objective.vector())
    torch.testing.assert_close(rows, hessian[-18:, -18:], rtol=1e-10, atol=1e-12)
    assert objective.example_gradients(problem.inputs, problem.targets).shape == (24, 18)


def test_an_unused_parameter_has_gradient_zero() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spare, self.layer = nn.Parameter(torch.ones(2)), nn.Linear(4, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)  # type: ignore[no-any-return]

    data = softmax_regression(0)
    objective = Problem(filled(Partly(), 0), cross_entropy, data.inputs, data.targets).run_pass()
    used = derivative(objective.value(), objective.parameters[1:])
    padded = torch.cat([torch.zeros(2, dtype=torch.float64), used])
    for gradient in (objective.gradient(), objective.pass_gradient(), objective.full_gradient()):
        torch.testing.assert_close(gradient, padded)
    matrix = dense(objective.hessian_product(), padded)
    assert not matrix[:2].any()
    assert not matrix[:, :2].any()
    assert matrix[2:, 2:].any()


@pytest.mark.parametrize("chunk", [1, 7, 24])
def test_the_full_gradient_is_the_mean_in_chunks_of_any_size(chunk: int) -> None:
    problem = tanh_network(2)
    objective = problem.run_pass(torch.arange(5))
    whole = problem.run_pass().pass_gradient()
    objective.chunk = chunk
    # sums of 24 terms in another order
    torch.testing.assert_close(objective.full_gradient(), whole, rtol=1e-12, atol=1e-14)


def test_a_replay_draws_the_masks_of_the_pass() -> None:
    problem = tanh_network(1, dropout=0.5)
    before = problem.random.get_state()
    objective = problem.run_pass()
    after = problem.random.get_state()
    assert not torch.equal(before, after)
    assert torch.equal(objective.gradient(), objective.pass_gradient())
    assert torch.equal(objective.full_gradient(), objective.pass_gradient())  # the batch is the training set
    assert torch.equal(objective.outputs(), objective.outputs())
    assert torch.equal(problem.random.get_state(), after)
    assert not torch.equal(problem.run_pass().gradient(), objective.gradient())  # the next pass draws others


def test_nothing_is_left_behind() -> None:
    layers = [nn.Linear(4, 5), nn.BatchNorm1d(5), DropoutModule(0.3), nn.Linear(5, 3)]
    data = softmax_regression(0)
    problem = Problem(filled(nn.Sequential(*layers), 0), cross_entropy, data.inputs, data.targets, 0.1)
    objective = problem.run_pass(torch.arange(10))
    state = {name: value.clone() for name, value in problem.model.state_dict().items()}
    gradient, random = objective.pass_gradient(), problem.random.get_state()
    hessian, gauss_newton = objective.hessian_product(), objective.gauss_newton_product()
    objective.full_gradient()  # passes that update their statistics must not disturb the products
    v = normal(0, len(gradient))
    product = hessian(v)
    assert gauss_newton(v) @ v > 0
    torch.testing.assert_close(product, differences(objective) @ v, rtol=0, atol=1e-5)  # fourth derivatives of 100s
    assert all(torch.equal(value, state[name]) for name, value in problem.model.state_dict().items())
    assert torch.equal(objective.pass_gradient(), gradient)
    assert torch.equal(problem.random.get_state(), random)


def test_a_lower_precision_is_that_of_the_forward_pass_alone() -> None:
    problem = tanh_network(0)
    problem.model.float()
    problem.inputs = problem.inputs.float()
    objective = problem.run_pass()
    single = objective.gradient()
    objective.autocast = torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        outputs = problem.model(problem.inputs)
    loss = cross_entropy(outputs.float(), problem.targets, problem.inputs) + problem.penalty()
    assert objective.outputs().dtype == objective.gradient().dtype == torch.float32
    assert torch.equal(objective.gradient(), derivative(loss, problem.parameters))
    # bfloat16 has 8 bits: a gradient of order 1 is off by some 1e-3
    assert 1e-5 < (objective.gradient() - single).norm() < 0.05


def test_a_vector_goes_where_it_came_from() -> None:
    problem = tanh_network(0)
    objective = problem.run_pass()
    storage = [p.data_ptr() for p in problem.parameters]
    objective.place(torch.arange(43.0))
    assert problem.model[0].weight.tolist()[1] == [4, 5, 6, 7]  # type: ignore[index]
    assert objective.vector().tolist() == list(range(43))
    assert [p.data_ptr() for p in problem.parameters] == storage
