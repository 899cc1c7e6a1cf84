"""The evidence lower bound against torch's distributions, by hand and by sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from fanin.errors import OptionError
from fanin.parts.losses.elbo import Elbo, divergence

drawn = settings(max_examples=20, deadline=None)


def batch(seed: int, count: int, shape: tuple[int, ...], latent: int, *leading: int) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs [*leading, B, D + 2 Z], labels and examples in [0, 1]."""
    stream = torch.Generator().manual_seed(seed)
    images = torch.rand(*leading, count, *shape, generator=stream, dtype=torch.float64)
    features = math.prod(shape) + 2 * latent
    outputs = torch.randn(*leading, count, features, generator=stream, dtype=torch.float64)
    return outputs, torch.zeros(*leading, count, dtype=torch.int64), images


@drawn
@given(
    st.integers(0, 10**6),
    st.sampled_from([(5,), (1, 2, 3), (2, 1, 2)]),
    st.integers(1, 4),
    st.floats(0, 3),
    st.sampled_from(["bernoulli", "gaussian"]),
)
def test_equals_torchs_distributions(
    seed: int, shape: tuple[int, ...], latent: int, beta: float, reconstruction: str
) -> None:
    outputs, y, images = batch(seed, 4, shape, latent)
    x = images.flatten(1)
    r, mu, log_variance = outputs[:, : -2 * latent], outputs[:, -2 * latent : -latent], outputs[:, -latent:]
    if reconstruction == "bernoulli":
        lost = -Bernoulli(logits=r, validate_args=False).log_prob(x)  # type: ignore[no-untyped-call]
    else:
        lost = -Normal(r, 1.0).log_prob(x) - 0.5 * math.log(2 * math.pi)  # type: ignore[no-untyped-call]
    prior = Normal(torch.zeros_like(mu), 1.0)
    kl = kl_divergence(Normal(mu, (log_variance / 2).exp()), prior)
    expected = (lost.sum(1) + beta * kl.sum(1)).mean()
    ours = Elbo(beta=beta, reconstruction=reconstruction)(outputs, y, images)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)  # some ten roundings of 1e-16 on terms up to 10


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_divergence_is_the_mean_log_ratio_of_samples(seed: int) -> None:
    stream = torch.Generator().manual_seed(seed)
    mu, log_variance = torch.randn(2, 3, generator=stream, dtype=torch.float64)
    sigma = (log_variance / 2).exp()
    eps = torch.randn(100_000, 3, generator=stream, dtype=torch.float64)
    z = mu + sigma * eps
    # ln q(z) - ln p(z); what both have of ln(2 pi) cancels
    ratio = (-eps.square() / 2 - sigma.log() + z.square() / 2).sum(1)
    standard_error = ratio.std().item() / math.sqrt(len(ratio))
    assert abs(ratio.mean().item() - divergence(mu, log_variance).item()) < 5 * standard_error


def test_by_hand() -> None:
    # two pixels of log-odds 0 lose ln 2 each whatever they are; mu = 2, sigma = 1 diverges by 2
    outputs = torch.tensor([[0.0, 0.0, 2.0, 0.0]], dtype=torch.float64)
    images, y = torch.tensor([[0.25, 1.0]], dtype=torch.float64), torch.tensor([7])
    assert Elbo(beta=0.5)(outputs, y, images).item() == pytest.approx(2 * math.log(2) + 1, rel=1e-14)
    assert Elbo().error(outputs, y, images).item() == (0.25 + 0.5) / 2
    assert Elbo(reconstruction="gaussian")(outputs, y, images).item() == pytest.approx((0.0625 + 1) / 2 + 2, rel=1e-14)
    assert Elbo(reconstruction="gaussian").error(outputs, y, images).item() == (0.25 + 1) / 2


def test_the_posterior_that_is_the_prior_diverges_by_nothing() -> None:
    assert divergence(torch.zeros(4, 3), torch.zeros(4, 3)).tolist() == [0, 0, 0, 0]


@drawn
@given(st.lists(st.integers(1, 3), min_size=1, max_size=2), st.integers(0, 10**6))
def test_leading_axes_are_separate_calls(leading: list[int], seed: int) -> None:
    outputs, y, images = batch(seed, 3, (1, 2, 2), 2, *leading)
    loss = Elbo(beta=0.3)
    together, off = loss(outputs, y, images), loss.error(outputs, y, images)
    assert together.shape == off.shape == tuple(leading)
    for run in np.ndindex(*leading):
        torch.testing.assert_close(together[run], loss(outputs[run], y[run], images[run]), rtol=1e-14, atol=0)
        torch.testing.assert_close(off[run], loss.error(outputs[run], y[run], images[run]), rtol=1e-14, atol=0)


@pytest.mark.parametrize("reconstruction", ["bernoulli", "gaussian"])
def test_gradients_are_those_of_finite_differences(reconstruction: str) -> None:
    outputs, y, images = batch(3, 2, (3,), 2)
    loss = Elbo(beta=0.7, reconstruction=reconstruction)
    outputs.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(outputs, y, images), outputs)
    step = 1e-6  # central: errors of 1e-12 by the third derivative and 1e-9 by rounding
    for place in np.ndindex(*outputs.shape):
        shift = torch.zeros_like(outputs)
        shift[place] = step
        ahead, behind = (loss(outputs.detach() + sign * shift, y, images) for sign in (1, -1))
        assert gradient[place].item() == pytest.approx((ahead - behind).item() / (2 * step), abs=1e-7)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_bernoulli_refuses_inputs_that_are_no_probabilities(value: float) -> None:
    images = torch.rand(4, 1, 2, 2)
    Elbo().check(images)
    images[2, 0, 1, 0] = value
    with pytest.raises(OptionError) as caught:
        Elbo().check(images)
    expected = "reconstruction=bernoulli: must be gaussian for inputs outside of [0, 1]; or choose preprocess=none"
    assert str(caught.value).startswith(expected)
    Elbo(reconstruction="gaussian").check(images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": -1}, "beta=-1: must be a finite number >= 0"),
        ({"reconstruction": "gausian"}, "reconstruction=gausian: must be one of bernoulli, gaussian; did you mean "
         "gaussian?"),
    ],
)  # fmt: skip
def test_bad_values_give_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Elbo(**changes)  # type: ignore[arg-type]
    assert str(caught.value) == message
