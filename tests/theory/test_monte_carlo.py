"""Random networks in plain numpy against the theory: nothing here shares a formula with it.

Every comparison allows 4 standard errors, as the sample itself shows them: a right theory would fail one in
16,000 comparisons, and the draws are fixed by their seeds. The standard error of a sample variance v over N
draws is sqrt((m4 - v^2) / N), with m4 the fourth central moment.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from closed_forms import IDENTITY, RELU, ActivationLaw, backward_moments, forward_theory, slope_moments
from fanin.theory.chain_layer import ChainLayer

DRAWS = 10_000
SIGMAS = 4.0
Array = NDArray[np.float64]


class Networks(NamedTuple):
    """Norms of DRAWS random networks, each [DRAWS, L]."""

    pre: Array
    post: Array
    gradient: Array
    delta: Array


@lru_cache
def draw(layers: tuple[ChainLayer, ...], law: ActivationLaw, seed: int) -> Networks:
    """One input of norm 3, a fixed gradient at the logits, weights drawn anew in every network."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(layers[0].fan_in)
    x = np.broadcast_to(3 * direction / np.linalg.norm(direction), (DRAWS, layers[0].fan_in))
    weights, inputs, gates, pre, post = [], [], [], [], []
    for layer in layers:
        weight = rng.standard_normal((DRAWS, layer.fan_out, layer.fan_in)) * math.sqrt(layer.variance / layer.fan_in)
        z = np.einsum("doi,di->do", weight, x)
        gate = z > 0 if law is RELU and layer is not layers[-1] else np.ones_like(z, dtype=bool)
        weights.append(weight)
        inputs.append(x)
        gates.append(gate)
        x = z * gate
        pre.append(np.linalg.norm(z, axis=1))
        post.append(np.linalg.norm(x, axis=1))
    delta = np.broadcast_to(rng.standard_normal(layers[-1].fan_out), (DRAWS, layers[-1].fan_out))
    gradient, deltas = [], []
    for index in reversed(range(len(layers))):
        delta = delta * gates[index]
        deltas.append(np.linalg.norm(delta, axis=1))
        gradient.append(np.linalg.norm(delta, axis=1) * np.linalg.norm(inputs[index], axis=1))
        delta = np.einsum("doi,do->di", weights[index], delta)
    return Networks(np.stack(pre, 1), np.stack(post, 1), np.stack(gradient[::-1], 1), np.stack(deltas[::-1], 1))


def chain(widths: list[int], cs: list[float]) -> tuple[ChainLayer, ...]:
    return tuple(
        ChainLayer(f"linear_{index}", fan_in, fan_out, c)
        for index, (fan_in, fan_out, c) in enumerate(zip(widths, widths[1:], cs, strict=False), 1)
    )


def assert_mean(sample: Array, expected: float) -> None:
    error = sample.std(ddof=1) / math.sqrt(sample.size)
    assert abs(sample.mean() - expected) <= SIGMAS * error


def assert_variance(sample: Array, expected: float) -> None:
    variance = sample.var(ddof=1)
    fourth = ((sample - sample.mean()) ** 4).mean()
    assert abs(variance - expected) <= SIGMAS * math.sqrt((fourth - variance**2) / sample.size)


EQUAL = chain([12] * 8, [2.0] * 7)
RECTANGULAR = chain([20, 8, 16, 5, 24, 6], [2.0, 1.0, 3.0, 2.5, 1.5])
NARROW = chain([6, 3, 4, 3, 2], [2.0] * 4)  # a layer of 3 dies once in 8 draws: the condition K >= 1 shows
NETWORKS = pytest.mark.parametrize("layers", [EQUAL, RECTANGULAR, NARROW], ids=["equal", "rectangular", "narrow"])
LAWS = pytest.mark.parametrize("law", [RELU, IDENTITY], ids=lambda law: law.name)
SEEDS = pytest.mark.parametrize("seed", [0, 1])


@NETWORKS
@LAWS
@SEEDS
def test_log_norms_over_depth(layers: tuple[ChainLayer, ...], law: ActivationLaw, seed: int) -> None:
    """Mean and variance of ln||.||^2, of the networks alive up to the layer below."""
    found = draw(layers, law, seed)
    theory = forward_theory(layers, 3.0, law)
    for index in range(len(layers)):
        for norms, line in ((found.pre, theory.pre[index]), (found.post, theory.post[index])):
            sample = 2 * np.log(norms[norms[:, index] > 0, index])
            assert_mean(sample, line.log_mean)
            assert_variance(sample, line.log_sd**2)


@NETWORKS
@LAWS
@SEEDS
def test_mean_square_over_depth(layers: tuple[ChainLayer, ...], law: ActivationLaw, seed: int) -> None:
    """E||.||^2 over all networks, the dead ones with 0."""
    found = draw(layers, law, seed)
    theory = forward_theory(layers, 3.0, law)
    for index in range(len(layers)):
        assert_mean(found.pre[:, index] ** 2, theory.pre[index].mean_square ** 2)
        assert_mean(found.post[:, index] ** 2, theory.post[index].mean_square ** 2)


@NETWORKS
@LAWS
@SEEDS
def test_gradient_of_the_pre_activations(layers: tuple[ChainLayer, ...], law: ActivationLaw, seed: int) -> None:
    """ln(||dL/dz_1||^2 / ||dL/dz_L||^2) of the networks that no dead layer cuts."""
    delta = draw(layers, law, seed).delta
    alive = delta[delta[:, 0] > 0]
    sample = 2 * np.log(alive[:, 0] / alive[:, -1])
    moments = backward_moments(layers, law)
    assert_mean(sample, moments.mean)
    assert_variance(sample, moments.variance)


@pytest.mark.parametrize("layers", [EQUAL, RECTANGULAR], ids=["equal", "rectangular"])
@LAWS
@SEEDS
def test_slope_over_the_hidden_layers(layers: tuple[ChainLayer, ...], law: ActivationLaw, seed: int) -> None:
    """Slope of ln norm per unit, by its definition, from layer 1 to layer L-1."""
    post = draw(layers, law, seed).post
    alive = post[post[:, -2] > 0]
    first = alive[:, 0] / math.sqrt(layers[0].fan_out)
    last = alive[:, -2] / math.sqrt(layers[-2].fan_out)
    sample = np.log(last / first) / (len(layers) - 2)
    moments = slope_moments(layers, law)
    assert_mean(sample, moments.mean)
    assert_variance(sample, moments.variance)


@pytest.mark.parametrize("seed", [0, 1])
def test_band_holds_two_thirds(seed: int) -> None:
    """Of a normal law 68.3 % lie within one standard deviation; ln norms of 10 layers of 16 are close to it.

    One layer's ln r has a skewness s of about -1, ten have s/sqrt(10) = -0.3. By Edgeworth's expansion the
    coverage of one standard deviation changes in second order, by less than 0.02, and the share below the
    mean by s/(6 sqrt(2 pi)) < 0.03. Beside these there are 4 standard errors of a share p, sqrt(p (1-p) / N).
    """
    layers = chain([16] * 12, [2.0] * 11)
    theory = forward_theory(layers, 3.0).post[-2]
    norms = draw(layers, RELU, seed).post[:, -2]
    inside = ((norms >= theory.low) & (norms <= theory.high)).mean()
    assert inside == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.02 + 4 * 0.466 / math.sqrt(DRAWS))
    assert (norms < theory.median).mean() == pytest.approx(0.5, abs=0.03 + 4 * 0.5 / math.sqrt(DRAWS))
