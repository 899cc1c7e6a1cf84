"""Margins, spectral norms and losses of single examples: by hand, and against numpy's and torch's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from fanin.parts.losses import BinaryCrossEntropy, CrossEntropy, Loss, Squared
from fanin.train.generalization import losses_of_examples, margins_of, quantile, spectral_norm, spectral_norm_product
from fanin.train.trained_model import TrainedModel


def network(*layers: nn.Module) -> TrainedModel:
    model = nn.Sequential(*layers)
    return TrainedModel(model, torch.optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize("shape", [(7, 7), (3, 11), (11, 3), (4, 2, 3, 3), (1, 5)])
def test_a_spectral_norm_is_numpys_largest_singular_value(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    expected = np.linalg.svd(weight.double().flatten(1).numpy(), compute_uv=False)[0]
    assert spectral_norm(weight) == pytest.approx(expected, rel=1e-12)


def test_the_product_bounds_what_a_relu_network_does_to_a_difference() -> None:
    own = network(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3, bias=False))
    product = spectral_norm_product(own)
    assert product is not None
    expected = [np.linalg.svd(w.detach().double().numpy(), compute_uv=False)[0] for w in own.weights.values()]
    assert product == pytest.approx(math.prod(expected), rel=1e-12)
    one, other = torch.randn(2, 100, 6)
    with torch.no_grad():
        ratios = (own.model(one) - own.model(other)).norm(dim=1) / (one - other).norm(dim=1)
    assert ratios.max() <= product * (1 + 1e-5)


def test_a_convolution_is_at_most_root_of_its_window_times_its_kernels_norm() -> None:
    own = network(nn.Conv2d(2, 3, 3, padding=1, bias=False))
    kernel = spectral_norm_product(own)
    assert kernel is not None
    operator = torch.autograd.functional.jacobian(own.model, torch.zeros(1, 2, 8, 8)).view(3 * 64, 2 * 64)
    norm = np.linalg.svd(operator.numpy(), compute_uv=False)[0]
    assert kernel / 1.001 <= norm <= 3 * kernel


def test_weights_that_are_not_finite_have_no_norm() -> None:
    own = network(nn.Linear(2, 2))
    with torch.no_grad():
        own.weights["0"][0, 0] = math.inf
    product = spectral_norm_product(own)
    assert product is not None
    assert math.isnan(product)


def test_margins_by_hand() -> None:
    scores = torch.tensor([[2.0, 0.5, 1.5], [0.0, -1.0, 4.0], [1.0, 1.0, 0.0]])
    assert margins_of(scores, torch.tensor([0, 0, 1])).tolist() == [0.5, -4.0, 0.0]
    logits = torch.tensor([[2.0], [2.0], [-0.5]])  # of class 1, against 0 for class 0
    assert margins_of(logits, torch.tensor([1, 0, 0])).tolist() == [2.0, -2.0, 0.5]


@pytest.mark.parametrize("count", [1, 2, 10, 97])
def test_the_quantile_is_numpys(count: int) -> None:
    values = torch.randn(count, dtype=torch.float64)
    assert float(quantile(values, 0.1)) == pytest.approx(np.quantile(values.numpy(), 0.1), abs=1e-12)


@pytest.mark.parametrize("loss", [CrossEntropy(), Squared(), BinaryCrossEntropy()])
def test_losses_of_examples_are_those_of_batches_of_one(loss: Loss) -> None:
    classes = 2 if isinstance(loss, BinaryCrossEntropy) else 4
    outputs, targets, inputs = torch.randn(9, loss.out_features(classes)), torch.arange(9) % classes, torch.randn(9, 5)
    each = losses_of_examples(loss, outputs, targets, inputs)
    assert each is not None
    alone = [float(loss(outputs[i : i + 1], targets[i : i + 1], inputs[i : i + 1])) for i in range(9)]
    np.testing.assert_allclose(each.numpy(), alone, rtol=1e-6)
    assert float(each.mean()) == pytest.approx(float(loss(outputs, targets, inputs)), rel=1e-6)


def test_a_loss_of_ones_own_has_no_losses_of_examples() -> None:
    class Own(Loss):
        def __call__(self, outputs: torch.Tensor, targets: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
            return outputs.square().mean()

        def guess(self, classes: int) -> None:
            return None

    assert losses_of_examples(Own(), torch.zeros(2, 3), torch.tensor([0, 1]), torch.zeros(2, 1)) is None
