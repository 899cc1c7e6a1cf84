"""Cross-entropy and error against hand computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from fanin.losses import cross_entropy, error


@pytest.mark.parametrize("classes", [2, 10])
def test_equal_logits_lose_ln_k(classes: int) -> None:
    loss = cross_entropy(torch.full((4, classes), 3.0, dtype=torch.float64), torch.tensor([0, 1, 0, 1]))
    assert loss.item() == pytest.approx(math.log(classes), rel=1e-14)


def test_equals_the_log_softmax_of_scipy() -> None:
    rng = np.random.default_rng(3)
    logits, targets = rng.normal(0, 5, (50, 7)), rng.integers(0, 7, 50)
    expected = np.mean(logsumexp(logits, axis=1) - logits[np.arange(50), targets])
    loss = cross_entropy(torch.tensor(logits), torch.tensor(targets))
    assert loss.item() == pytest.approx(float(expected), rel=1e-13)


def test_gradient_is_softmax_minus_one_hot_over_the_batch_size() -> None:
    logits = torch.tensor([[1.0, 2.0, 4.0], [0.0, -1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    cross_entropy(logits, torch.tensor([2, 0])).backward()  # type: ignore[no-untyped-call]
    powers = np.exp(logits.detach().numpy())
    expected = (powers / powers.sum(axis=1, keepdims=True) - np.array([[0, 0, 1], [1, 0, 0]])) / 2
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=0, atol=1e-15)


def test_large_logits_stay_finite() -> None:
    loss = cross_entropy(torch.tensor([[1e4, 0.0]]), torch.tensor([1]))
    assert loss.item() == pytest.approx(1e4)


def test_error_counts_wrong_answers() -> None:
    logits = torch.tensor([[0.1, 0.2, 0.0], [5.0, 4.0, 3.0], [0.0, 0.0, 1.0], [-1.0, -3.0, -2.0]])
    assert error(logits, torch.tensor([1, 1, 2, 2])).item() == 0.5
    assert error(logits, torch.tensor([1, 0, 2, 0])).item() == 0.0


def test_vanished_logits_answer_class_zero() -> None:
    assert error(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])).item() == 0.5
