"""The measures of estimates against scikit-learn's."""

from __future__ import annotations

import pytest
import torch
from sklearn import metrics

from fanin.errors import UserError
from fanin.parts.losses import CrossEntropy, Squared
from fanin.train.residuals import evaluate_estimates


def test_measures_are_those_of_scikit_learn() -> None:
    true = torch.randn(50, dtype=torch.float64)
    said = true + 0.3 * torch.randn(50, dtype=torch.float64) + 0.1
    found = evaluate_estimates(said, true)
    assert found["r2"] == pytest.approx(metrics.r2_score(true, said), rel=1e-12)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(true, said), rel=1e-12)
    assert found["absolute_error"] == pytest.approx(metrics.mean_absolute_error(true, said), rel=1e-12)
    assert found["bias"] == pytest.approx(float((said - true).mean()), rel=1e-12)


def test_edges() -> None:
    assert evaluate_estimates(torch.tensor([1.0]), torch.tensor([2.0]))["r2"] is None  # no variance to explain
    assert {*evaluate_estimates(torch.tensor([]), torch.tensor([])).values()} == {None}


def test_the_squared_loss_of_numbers_is_torchs_for_one_run_and_for_many() -> None:
    loss = Squared().of_numbers()
    outputs, targets, inputs = torch.randn(3, 8, 1), torch.randn(3, 8), torch.randn(3, 8, 2)
    each = torch.stack([torch.nn.functional.mse_loss(s[:, 0], t) for s, t in zip(outputs, targets, strict=True)])
    torch.testing.assert_close(loss(outputs, targets, inputs), each)
    absolute = torch.stack([torch.nn.functional.l1_loss(s[:, 0], t) for s, t in zip(outputs, targets, strict=True)])
    torch.testing.assert_close(loss.error(outputs, targets, inputs).float(), absolute)
    assert (loss.task, loss.classification, Squared().task) == ("regression", False, "classification")
    with pytest.raises(UserError, match="loss=cross_entropy: compares with classes"):
        CrossEntropy().of_numbers()
