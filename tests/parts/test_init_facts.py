"""The exact facts of the study at initialization, on real networks through fanin's own code.

The constants come from the study's definition, where they are sums over K computed apart from this package.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engine import EPSILON, batch, learner, network
from fanin.parts import activations
from fanin.probes.probe import Label, measure_profile
from oracles import by_hand

DEPTH, WIDTH = 50, 100
SEEDS = range(64)
MEAN_LOG_RATIO = {32: -0.082540, 100: -0.025421}  # E ln r at c = 2, study.md
VARIANCE_LOG_RATIO = {32: 0.177498, 100: 0.051940}  # Var ln r


@lru_cache
def profile(seed: int, c: float, *, examples: int = 20, width: int = WIDTH) -> dict[Label, float]:
    model = network(seed, c=c, in_features=40, depth=DEPTH, width=width)
    labels, values = measure_profile(learner(model).observe(batch(seed, examples, features=(40,))))
    return dict(zip(labels, values[0].tolist(), strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("c", [1.0, 1.7, 3.0])
def test_c_rescales_every_activation_norm(c: float, seed: int) -> None:
    """||z_k(c)|| = ||z_k(2)|| (c/2)^(k/2) after k weight layers: without biases the network is homogeneous."""
    ours, reference = profile(seed, c), profile(seed, 2.0)
    checked = 0
    for (axis, index, layer, quantity), norm in ours.items():
        if quantity != "activation_norm":
            continue
        k = index // 2 if axis == "module" else index
        expected = reference[axis, index, layer, quantity] * (c / 2) ** (k / 2)
        # Each layer rounds its weights once and sums of 100 products: sqrt(100) roundings of 2^-24 for one unit as
        # these are independent, in both networks; over k layers they add up, for a ReLU enlarges no difference.
        assert norm == pytest.approx(expected, rel=2 * 10 * max(k, 1) * EPSILON), (axis, index)
        checked += 1
    assert checked == 2 * DEPTH + DEPTH  # the input, 50 linear, 49 ReLU; and 50 on the weight axis


@pytest.mark.parametrize("seed", [0, 3])
def test_the_weights_of_one_seed_are_rescaled_copies(seed: int) -> None:
    one, two, three = (network(seed, c=c, depth=6, width=50) for c in (1.0, 2.0, 3.0))
    for name, weight in one.named_parameters():
        for model, c in ((two, 2), (three, 3)):
            other = model.get_parameter(name)
            # in both networks the standard deviation and the product are rounded
            torch.testing.assert_close(other.double(), weight.double() * math.sqrt(c), rtol=4.01 * EPSILON, atol=0)
    other_seed = network(seed + 1, c=1.0, depth=6, width=50)
    assert not any(torch.equal(weight, other_seed.get_parameter(name)) for name, weight in one.named_parameters())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("c", [1.0, 2.0, 3.0])
def test_fan_in_times_the_variance_is_c(c: float, seed: int) -> None:
    """A sample variance of n normal entries has the relative standard deviation sqrt(2 / (n - 1))."""
    measured = profile(seed, c)
    deviations = []
    for layer in range(1, DEPTH + 1):
        fan_in, fan_out = 40 if layer == 1 else WIDTH, 4 if layer == DEPTH else WIDTH
        error = math.sqrt(2 / (fan_in * fan_out - 1))
        deviations.append((measured["weight", layer, f"linear_{layer}", "weight_variance"] / c - 1) / error)
    # The largest of 50 standard normals stays below 4.5 with probability 0.9997, their mean within 4 / sqrt(50).
    assert np.abs(deviations).max() < 4.5
    assert abs(np.mean(deviations)) < 4 / math.sqrt(DEPTH)
    assert np.std(deviations) == pytest.approx(1, abs=4 / math.sqrt(2 * DEPTH)), "and no layer copies another"


@lru_cache
def hidden_log_norms(width: int) -> npt.NDArray[np.float64]:
    """ln||x_l|| for l = 1..49 [seeds, 49], c = 2: one example, for a batch averages and its law is another."""
    table = [profile(seed, 2.0, examples=1, width=width) for seed in SEEDS]
    norms = [[one["weight", l, f"linear_{l}", "activation_norm"] for l in range(1, DEPTH)] for one in table]  # noqa: E741
    return np.log(norms)


@pytest.mark.parametrize("width", [32, pytest.param(100, marks=pytest.mark.slow)])
def test_the_mean_slope_over_seeds(width: int) -> None:
    """Slope of ln||x_l|| per layer: (ln(c/2) + E ln r)/2, here at c = 2; the 48 increments are independent."""
    norms = hidden_log_norms(width)
    slopes = (norms[:, -1] - norms[:, 0]) / (DEPTH - 2)
    error = math.sqrt(VARIANCE_LOG_RATIO[width] / 4 / (DEPTH - 2) / len(SEEDS))
    assert abs(slopes.mean() - MEAN_LOG_RATIO[width] / 2) < 3 * error
    assert abs(MEAN_LOG_RATIO[width] / 2) > 5 * error, "the test sees the difference from the mean-square line"


@pytest.mark.slow
@pytest.mark.parametrize("width", [32, 100])
def test_the_variance_over_seeds_grows_with_every_layer(width: int) -> None:
    """Var ln||x_49||/||x_1|| is 48 Var ln r / 4: its sample variance is v chi2_63/63, of relative sd sqrt(2/63).

    The sum of 48 increments is close to normal: its excess kurtosis is a 48th of theirs.
    """
    norms = hidden_log_norms(width)
    expected = VARIANCE_LOG_RATIO[width] / 4 * (DEPTH - 2)
    sample = (norms[:, -1] - norms[:, 0]).var(ddof=1)
    assert abs(sample / expected - 1) < 3 * math.sqrt(2 / (len(SEEDS) - 1))


@pytest.mark.parametrize("width", [32, pytest.param(100, marks=pytest.mark.slow)])
def test_the_law_of_one_increment(width: int) -> None:
    """All 64 * 48 increments together: mean, variance and independence, eight times sharper than the sums."""
    increments = 2 * np.diff(hidden_log_norms(width), axis=1)
    count, variance = increments.size, VARIANCE_LOG_RATIO[width]
    assert abs(increments.mean() - MEAN_LOG_RATIO[width]) < 3 * math.sqrt(variance / count)
    centred = increments - MEAN_LOG_RATIO[width]
    # The standard error of a variance is v sqrt((kurtosis - 1) / count), with the sample's own kurtosis.
    kurtosis = (centred**4).mean() / variance**2
    assert abs((centred**2).mean() / variance - 1) < 3 * math.sqrt((kurtosis - 1) / count)
    neighbours = (centred[:, 1:] * centred[:, :-1]).mean() / variance
    assert abs(neighbours) < 3 / math.sqrt(centred[:, 1:].size)


def test_a_linear_network_keeps_its_variance_at_c_1() -> None:
    """Without a gate r = (c/n) chi2_n: E r = c, and gradients of the first layer are those of the last's size."""
    ratios = []
    for seed in range(40):
        model = network(seed, c=1.0, in_features=WIDTH, depth=10, width=WIDTH, activation=activations.identity)
        labels, values = measure_profile(learner(model).observe(batch(seed, 1, features=(WIDTH,))))
        found = dict(zip(labels, values[0].tolist(), strict=True))
        norms = [found["weight", layer, f"linear_{layer}", "activation_norm"] for layer in range(1, 10)]
        ratios += [(second / first) ** 2 for first, second in pairwise(norms)]
    # chi2_100 / 100 has the variance 2/100
    assert abs(np.mean(ratios) - 1) < 3 * math.sqrt(0.02 / len(ratios))


def test_the_norm_of_the_input_is_the_frobenius_norm_of_the_whole_batch() -> None:
    inputs, _ = batch(5, 20, features=(40,))
    assert profile(5, 2.0)["module", 1, "input", "activation_norm"] == pytest.approx(
        by_hand.norm(inputs.double().numpy()), rel=1e-14
    )
