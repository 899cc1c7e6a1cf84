"""The variational autoencoder: its pieces, and what its draw lets through."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from fanin import streams
from fanin.errors import OptionError
from fanin.parts import activations
from fanin.parts.losses.elbo import Elbo
from fanin.parts.models import Vae
from fanin.parts.models.vae import Noise
from fanin.parts.optimizers import Adam
from fanin.parts.per_run import is_stackable
from networks import drawn


def network(seed: int = 0, **changes: Any) -> Vae:
    made = {"in_features": 6, "latent": 2, "width": 5, "activation": activations.tanh, **changes}
    model = drawn(Vae(**made).double(), seed)
    assert isinstance(model, Vae)
    return model


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 1, 2, 3, generator=streams.generator(1, "images"), dtype=torch.float64)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_outputs_at_evaluation_by_hand(depth: int) -> None:
    model, x = network(depth=depth).eval(), images()

    def chain(part: str, h: Tensor) -> Tensor:
        for index in range(1, depth + 1):
            layer = model.get_submodule(f"{part}.linear_{index}")
            h = h @ layer.get_parameter("weight").T + layer.get_parameter("bias")
            h = torch.tanh(h) if index < depth else h
        return h

    code = chain("encoder", x.reshape(4, 6))
    outputs = model(x)
    assert outputs.shape == (4, 6 + 2 * 2)
    torch.testing.assert_close(outputs[:, 6:], code, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(outputs[:, :6], chain("decoder", code[:, :2]), rtol=1e-13, atol=1e-13)


def test_the_draw_has_the_law_it_is_given() -> None:
    noise = Noise()
    noise.generator = streams.generator(3)
    n = 100_000
    mu, log_variance = torch.tensor([1.5, -2.0]).double(), torch.tensor([0.0, 2 * math.log(3)]).double()
    z = noise(mu.expand(n, 2), log_variance.expand(n, 2))
    sigma = torch.tensor([1.0, 3.0]).double()
    # 5 standard errors: sigma / sqrt(n) of the mean, sigma / sqrt(2 n) of the deviation
    assert bool(((z.mean(0) - mu).abs() < 5 * sigma / math.sqrt(n)).all())
    assert bool(((z.std(0) - sigma).abs() < 5 * sigma / math.sqrt(2 * n)).all())
    assert torch.equal(noise.eval()(mu, log_variance), mu)


def test_the_generator_draws_and_not_torchs_own() -> None:
    model, x = network(), images()
    global_state = torch.random.get_rng_state()
    drawn_outputs = []
    for seed in (5, 5, 6):
        model.noise.generator = streams.generator(seed)
        drawn_outputs.append(model(x))
    assert torch.equal(torch.random.get_rng_state(), global_state)
    assert torch.equal(drawn_outputs[0], drawn_outputs[1])
    assert not torch.allclose(drawn_outputs[0], drawn_outputs[2])


def test_with_eps_fixed_the_gradient_reaches_mu_and_sigma() -> None:
    mu = torch.tensor([[0.5, -1.0]], dtype=torch.float64, requires_grad=True)
    log_variance = torch.tensor([[0.2, -0.6]], dtype=torch.float64, requires_grad=True)
    noise = Noise()
    noise.generator = streams.generator(0)
    z = noise(mu, log_variance)
    eps = (z - mu).detach() / (log_variance / 2).exp().detach()
    to_mu, to_log_variance = torch.autograd.grad((3 * z).sum(), [mu, log_variance])
    # dz/dmu = 1; dz/d(ln sigma^2) = sigma eps / 2
    torch.testing.assert_close(to_mu, torch.full((1, 2), 3.0, dtype=torch.float64))
    torch.testing.assert_close(to_log_variance, 3 * (log_variance / 2).exp().detach() * eps / 2, rtol=1e-12, atol=0)


def test_with_plain_sampling_the_gradient_reaches_neither() -> None:
    mu = torch.zeros(1, 2, requires_grad=True)
    log_variance = torch.zeros(1, 2, requires_grad=True)
    z = Normal(mu, (log_variance / 2).exp()).sample()  # type: ignore[no-untyped-call]
    assert not z.requires_grad
    assert Noise()(mu, log_variance).requires_grad


@pytest.mark.parametrize("entry", [0, 1])
def test_the_gradient_of_an_expectation_is_that_of_finite_differences(entry: int) -> None:
    """d/dmu E f(z) for f(z) = sum z^3 + sin z: by closed form, by differences of closed forms, and by the draw."""
    n, mu, sigma = 400_000, torch.tensor([0.7, -0.4], dtype=torch.float64), torch.tensor([0.5, 1.1]).double()

    def expected(mu: float, sigma: float) -> float:
        return mu**3 + 3 * mu * sigma**2 + math.exp(-(sigma**2) / 2) * math.sin(mu)

    m, s, step = mu[entry].item(), sigma[entry].item(), 1e-5
    differences = (expected(m + step, s) - expected(m - step, s)) / (2 * step)  # within 1e-9 of the derivative
    noise = Noise()
    noise.generator = streams.generator(entry)
    copies = mu.expand(n, 2).clone().requires_grad_()
    z = noise(copies, (2 * sigma.log()).expand(n, 2))
    (each,) = torch.autograd.grad((z**3 + z.sin()).sum(), copies)  # one gradient a draw
    of_entry = each[:, entry]
    assert abs(of_entry.mean().item() - differences) < 5 * of_entry.std().item() / math.sqrt(n)


def test_gradients_of_the_loss_reach_every_weight() -> None:
    model, x = network(), images()
    model.noise.generator = streams.generator(0)
    loss = Elbo()(model(x), torch.zeros(4, dtype=torch.int64), x)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert all(bool((gradient != 0).any()) for gradient in gradients)


def test_learns_one_batch() -> None:
    model, x = network(width=32), images(2)
    model.noise.generator = streams.generator(0)
    loss, y = Elbo(beta=0.0, reconstruction="gaussian"), torch.zeros(2, dtype=torch.int64)
    optimizer = Adam(model.parameters(), lr=0.01)
    with torch.no_grad():
        before = loss(model.eval()(x), y, x).item()
    model.train()
    for _ in range(150):
        model.zero_grad()
        loss(model(x), y, x).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        # Without a divergence two images can be told apart and learned by heart; the mean image leaves 0.2.
        assert loss(model.eval()(x), y, x).item() < min(0.02, before / 20)


def test_it_says_what_it_needs_and_is_not_stackable() -> None:
    assert (Vae.needs_loss, Elbo.needs_model) == ("elbo", "vae")
    assert not is_stackable(Vae)
    assert not Elbo().classification


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent": 0}, "latent=0: must be an integer >= 1"),
        ({"depth": 0}, "depth=0: must be an integer >= 1"),
        ({"bias": 1}, "bias=1: must be true or false"),
    ],
)
def test_bad_values_give_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        network(**changes)
    assert str(caught.value) == message
