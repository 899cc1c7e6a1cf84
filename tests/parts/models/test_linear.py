"""Softmax regression and the logistic neuron reach the loss that scikit-learn reaches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from fanin.errors import OptionError
from fanin.parts.models import LinearModel
from networks import build, drawn, names, normal


def minimum(model: LinearModel, x: Tensor, loss_of: object) -> float:
    """The loss at which full-batch LBFGS ends."""
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=500, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimizer.zero_grad()
        loss = loss_of(model(x))  # type: ignore[operator]
        loss.backward()
        return loss.item()

    optimizer.step(closure)
    gradients = [parameter.grad.abs().max().item() for parameter in model.parameters() if parameter.grad is not None]
    assert max(gradients) < 1e-8  # the loss is then within some 1e-16 / curvature of its minimum
    return closure()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_softmax_regression(bias: bool, seed: int) -> None:
    x, y = normal(seed, 80, 2, 2), torch.randint(3, (80,), generator=torch.Generator().manual_seed(seed))
    x[:, 0, 0] += y  # something to learn, but no classes apart: the minimum is finite
    model = drawn(build(LinearModel, in_features=4, bias=bias), seed)
    ours = minimum(model, x, lambda logits: F.cross_entropy(logits, y))
    inputs, labels = x.flatten(1).numpy(), y.numpy()
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000, fit_intercept=bias).fit(inputs, labels)
    logs = theirs.predict_log_proba(inputs)
    assert ours == pytest.approx(-logs[range(80), labels].mean(), abs=1e-10)
    probabilities = torch.softmax(model(x), 1).detach().numpy()
    # gradients of 1e-8 and curvatures of 1e-2
    np.testing.assert_allclose(probabilities, theirs.predict_proba(inputs), atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_logistic_neuron(seed: int) -> None:
    x, y = normal(seed, 60, 3), torch.randint(2, (60,), generator=torch.Generator().manual_seed(seed))
    x[:, 0] += y
    model = drawn(build(LinearModel, in_features=3, out_features=1), seed)
    ours = minimum(model, x, lambda logits: F.binary_cross_entropy_with_logits(logits.squeeze(1), y.double()))
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x.numpy(), y.numpy())
    logs = theirs.predict_log_proba(x.numpy())
    assert ours == pytest.approx(-logs[range(60), y.numpy()].mean(), abs=1e-10)
    np.testing.assert_allclose(model.get_parameter("linear_1.weight").detach(), theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(model.get_parameter("linear_1.bias").detach(), theirs.intercept_, atol=1e-5)


def test_is_one_matrix_of_the_flattened_image() -> None:
    model = drawn(build(LinearModel, in_features=12))
    images = normal(0, 4, 3, 2, 2)
    assert names(model) == ["linear_1"]
    expected = images.reshape(4, 12) @ model.get_parameter("linear_1.weight").T + model.get_parameter("linear_1.bias")
    torch.testing.assert_close(model(images), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_features": 0}, "in_features=0: must be an integer >= 1"),
        ({"out_features": 1.5}, "out_features=1.5: must be an integer >= 1"),
        ({"bias": "no"}, "bias=no: must be true or false"),
    ],
)
def test_bad_values_give_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        build(LinearModel, **changes)
    assert str(caught.value) == message
