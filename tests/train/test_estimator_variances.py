"""Both estimates of an encoder's gradient against the closed form of a normal code and a quadratic reconstruction."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from fanin import streams
from fanin.parts import activations
from fanin.parts.losses.elbo import Elbo
from fanin.parts.models import Vae
from fanin.parts.models.vae import ESTIMATORS
from fanin.parts.optimizers import SGD
from fanin.train.estimator_variances import estimator_variances
from fanin.train.step import Method
from fanin.train.trained_model import TrainedModel

X, MU, SIGMA = 0.5, 1.1, 0.7
APART = MU - X


def network(estimator: str) -> Vae:
    """Code N(MU, SIGMA^2) whatever the example, which is reconstructed by the code itself."""
    made = Vae(in_features=1, latent=1, depth=1, estimator=estimator, activation=activations.tanh).double()
    with torch.no_grad():
        made.get_parameter("encoder.linear_1.weight").zero_()
        made.get_parameter("encoder.linear_1.bias").copy_(torch.tensor([MU, 2 * math.log(SIGMA)]))
        made.get_parameter("decoder.linear_1.weight").fill_(1)
        made.get_parameter("decoder.linear_1.bias").zero_()
    return made


def gradients(estimator: str, seed: int, count: int) -> Tensor:
    """By mu and ln sigma^2 of each of many draws, [count, 2]: of the expected 1/2 (x - z)^2."""
    model, kept = network(estimator), []
    model.noise.generator = streams.generator(seed)
    model.encoder.register_forward_hook(lambda module, given, code: kept.append(code))
    inputs = torch.full((count, 1), X, dtype=torch.float64)
    loss = Elbo(beta=0, reconstruction="gaussian")(model(inputs), torch.zeros(count, dtype=torch.int64), inputs)
    (found,) = torch.autograd.grad(loss * count, kept)
    return found


# E[1/2 (x - z)^2] = (d^2 + s^2) / 2 with d = mu - x, so its gradient by mu is d and by ln sigma^2 is s^2 / 2.
EXPECTED = torch.tensor([APART, SIGMA**2 / 2]).double()

# By mu: z - x = d + s e varies by s^2; R e / s with R = 1/2 (d + s e)^2 by E[R^2 e^2] / s^2 - d^2, where of the fourth
# power's even terms E e^2, E e^4 and E e^6 are 1, 3 and 15.
VARIANCES = {
    "reparameterization": SIGMA**2,
    "score_function": (APART**4 + 18 * APART**2 * SIGMA**2 + 15 * SIGMA**4) / (4 * SIGMA**2) - APART**2,
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_both_are_right_in_the_mean(estimator: str, seed: int) -> None:
    found = gradients(estimator, seed, 200_000)
    standard_error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - EXPECTED).abs() < 5 * standard_error).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_variances_are_those_of_the_closed_form(estimator: str) -> None:
    found = gradients(estimator, 2, 200_000)[:, 0]
    squares = (found - found.mean()).square()
    standard_error = squares.std() / math.sqrt(len(found))
    assert abs(squares.mean() - VARIANCES[estimator]) < 5 * standard_error
    assert VARIANCES["score_function"] > 3 * VARIANCES["reparameterization"]


def test_a_network_in_training_has_both_and_stays_as_it_was() -> None:
    model = network("score_function").eval()
    own = TrainedModel(
        model=model,
        optimizer=SGD(model.parameters(), lr=0.1),
        method=Method(loss=Elbo(beta=0, reconstruction="gaussian")),
        dropout=streams.generator(4),
        probe_dropout=partial(streams.generator, 5),
    )
    count, draws = 100, 400
    inputs = torch.full((count, 1), X, dtype=torch.float64)
    model.decoder.requires_grad_(False)
    model.get_parameter("encoder.linear_1.weight").requires_grad_(False)
    state = own.dropout.get_state() if own.dropout is not None else None
    found = estimator_variances(own, inputs, torch.zeros(count, dtype=torch.int64), draws)
    assert list(found) == ["reparameterization_variance", "score_function_variance"]
    # By mu it is the closed form over the batch; by ln sigma^2 the path's is (d + s e) s e / 2: (d^2 s^2 + 2 s^4) / 4.
    by_path = SIGMA**2 + (APART**2 * SIGMA**2 + 2 * SIGMA**4) / 4
    # An estimated variance of nearly normal means over the batch varies by sqrt(2 / draws) of itself.
    assert found["reparameterization_variance"] == pytest.approx(by_path / count, rel=5 * math.sqrt(2 / draws))
    assert found["score_function_variance"] > 3 * found["reparameterization_variance"]
    assert (model.estimator, model.training, model.noise.generator) == ("score_function", False, own.dropout)
    assert torch.equal(own.dropout.get_state(), state)  # type: ignore[union-attr, arg-type]
