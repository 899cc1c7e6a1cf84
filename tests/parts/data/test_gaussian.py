"""The Gaussian clouds against their formula: centres, noise, distances and the best possible error."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch

from fanin.errors import OptionError
from fanin.parts.data import Gaussian


@pytest.mark.parametrize("seed", [0, 1, 12])
@pytest.mark.parametrize("separation", [0.0, 3.0])
def test_noise_is_standard_normal_around_the_centres(separation: float, seed: int) -> None:
    source = Gaussian(examples=4000, features=20, separation=separation, val_size=0, test_size=2000, seed=seed)
    data, centres = source.load(), source.centres()
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(10))
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        noise = x - separation * centres[y]
        assert scipy.stats.kstest(noise.flatten().numpy(), "norm").pvalue > 1e-4
        covariance = noise.T @ noise / len(noise)
        # Standard errors: sqrt(2/n) on the diagonal, sqrt(1/n) off it; the largest of 210 stays under 5.
        assert (covariance - torch.eye(20)).abs().max() < 5 * math.sqrt(2 / len(noise))


@pytest.mark.parametrize("separation", [0.5, 2.0, 6.0])
def test_measured_distance_of_the_classes_is_separation_times_that_of_the_centres(separation: float) -> None:
    source = Gaussian(examples=6000, features=50, classes=3, separation=separation, val_size=0, seed=5)
    data, centres = source.load(), source.centres()
    means = torch.stack([data.train_x[data.train_y == label].mean(dim=0) for label in range(3)])
    spread = 2 / 2000  # variance of a difference of two means of 2000 examples each, a feature
    for a, b in ((0, 1), (0, 2), (1, 2)):
        expected = separation**2 * float((centres[a] - centres[b]).square().sum())
        # ||delta + e||^2 with e ~ N(0, spread I) has mean ||delta||^2 + d spread
        # and variance 4 spread ||delta||^2 + 2 d spread^2.
        measured = float((means[a] - means[b]).square().sum()) - 50 * spread
        deviation = math.sqrt(4 * spread * expected + 2 * 50 * spread**2)
        assert abs(measured - expected) < 5 * deviation


@pytest.mark.parametrize(("separation", "seed"), [(0.5, 0), (1.5, 1), (3.0, 2)])
def test_best_possible_error_of_two_classes(separation: float, seed: int) -> None:
    source = Gaussian(examples=2, features=30, classes=2, separation=separation, val_size=0, test_size=20000, seed=seed)
    data, (first, second) = source.load(), source.centres()
    # The likelihood ratio of two clouds with unit covariance is a hyperplane halfway between their centres.
    side = (data.test_x - separation * (first + second) / 2) @ (second - first) > 0
    error = float((side.long() != data.test_y).float().mean())
    expected = scipy.stats.norm.cdf(-separation * float((first - second).norm()) / 2)
    assert abs(error - expected) < 5 * math.sqrt(expected * (1 - expected) / 20000)


def test_shapes_types_and_balanced_labels() -> None:
    data = Gaussian(examples=103, features=7, classes=4, val_size=20, test_size=41).load()
    assert data.train_x.shape == (83, 7)
    assert data.val_x.shape == (20, 7)
    assert data.test_x.shape == (41, 7)
    assert data.input_shape == (7,)
    assert data.in_features == 7
    assert data.classes == 4
    assert (data.train_x.dtype, data.train_y.dtype) == (torch.float32, torch.int64)
    assert sorted(torch.bincount(torch.cat([data.train_y, data.val_y])).tolist()) == [25, 26, 26, 26]
    assert sorted(torch.bincount(data.test_y).tolist()) == [10, 10, 10, 11]


def test_its_own_seed_decides_and_nothing_else() -> None:
    torch.manual_seed(1)
    first = Gaussian(examples=100, val_size=10).load()
    torch.manual_seed(2)
    again, other = (
        Gaussian(examples=100, val_size=10).load(),
        Gaussian(examples=100, val_size=10, seed=1).load(),
    )
    for part in ("train_x", "train_y", "val_x", "val_y", "test_x", "test_y"):
        assert torch.equal(getattr(first, part), getattr(again, part))
    assert not torch.equal(first.train_x, other.train_x)
    assert not torch.equal(Gaussian().centres(), Gaussian(seed=1).centres())


def test_separation_moves_the_clouds_and_keeps_the_noise() -> None:
    near, far = (Gaussian(examples=100, val_size=10, separation=s) for s in (0.0, 5.0))
    moved = far.load().train_x - near.load().train_x
    torch.testing.assert_close(moved, 5 * far.centres()[far.load().train_y], atol=1e-5, rtol=0)  # float32


def test_training_and_test_noise_are_independent() -> None:
    data = Gaussian(examples=500, features=40, separation=0.0, val_size=0, test_size=500).load()
    overlap = (data.train_x.flatten() * data.test_x.flatten()).mean()
    assert abs(float(overlap)) < 5 / math.sqrt(500 * 40)  # a mean of products of independent normals


def test_split_and_limit() -> None:
    whole = Gaussian(examples=60, features=2, val_size=0).load()
    short = Gaussian(examples=60, features=2, val_size=20, limit=30).load()
    assert torch.equal(short.train_x, whole.train_x[:30])
    assert torch.equal(short.val_x, whole.train_x[40:])


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("examples", 9, "an integer >= 10"),  # one a class
        ("features", 0, "an integer >= 1"),
        ("classes", 1, "an integer >= 2"),
        ("separation", -0.1, "a finite number >= 0"),
        ("separation", float("nan"), "a finite number >= 0"),
        ("test_size", 0, "an integer >= 1"),
        ("seed", -1, "an integer >= 0"),
        ("seed", 1.5, "an integer >= 0"),
        ("val_size", 5000, "smaller than examples=5000"),
    ],
)
def test_settings_are_checked(key: str, value: object, allowed: str) -> None:
    with pytest.raises(OptionError) as caught:
        Gaussian(**{key: value})  # type: ignore[arg-type]
    assert str(caught.value) == f"{key}={value}: must be {allowed}"
