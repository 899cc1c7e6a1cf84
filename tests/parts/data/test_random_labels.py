"""Random and wrong labels: how many, of which part, how they are spread, and that nothing else changes."""

from __future__ import annotations

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from scipy.stats import binom, chisquare

from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.errors import OptionError
from fanin.parts.data import Dataset, Digits, Gaussian, Source
from fanin.run.build import check, load_data


def relabelled(source: Source) -> Dataset:
    return source.with_random_labels(source.load())


def gaussian(share: float, **keys: int) -> Gaussian:
    return Gaussian(examples=2000, features=3, classes=5, val_size=200, test_size=50, random_labels=share, **keys)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_share_of_the_training_labels_and_nothing_else(share: float) -> None:
    data, plain = relabelled(gaussian(share)), gaussian(0.0).load()
    for part in ("train_x", "val_x", "val_y", "test_x", "test_y"):
        assert torch.equal(getattr(data, part), getattr(plain, part))
    changed = int((data.train_y != plain.train_y).sum())
    # each of the chosen ones changes with probability 4/5
    low, high = binom.interval(1 - 1e-9, round(share * 1800), 0.8)
    assert low <= changed <= high


def test_random_labels_are_uniform_and_know_nothing_of_the_true_ones() -> None:
    data, plain = relabelled(gaussian(1.0)), gaussian(0.0).load()
    together = torch.bincount(5 * plain.train_y + data.train_y, minlength=25).double()
    expected = plain.train_y.bincount().double().repeat_interleave(5) / 5
    assert chisquare(together, expected, ddof=4).pvalue > 1e-6


def test_what_is_drawn_at_a_small_share_is_drawn_at_a_larger_one() -> None:
    plain = gaussian(0.0).load().train_y
    small, large = (relabelled(gaussian(share)).train_y for share in (0.2, 0.6))
    moved = small != plain
    assert torch.equal(small[moved], large[moved])
    assert (large != plain).sum() > moved.sum()


def test_folds_and_classes_and_limits_take_them() -> None:
    keys = {"image_size": 8, "classes": [3, 8], "folds": 4, "fold": 1, "limit": 100}
    plain, data = (Digits(random_labels=share, **keys) for share in (0.0, 1.0))  # type: ignore[arg-type]
    before, after = plain.load(), relabelled(data)
    assert torch.equal(before.val_y, after.val_y)
    assert set(after.train_y.tolist()) == {0, 1}
    assert 25 <= (before.train_y != after.train_y).sum() <= 75  # 5 standard deviations


def noisy(share: float) -> Gaussian:
    return Gaussian(examples=2000, features=3, classes=5, val_size=200, test_size=50, label_noise=share)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_noise_makes_exactly_a_share_of_the_labels_wrong(share: float) -> None:
    plain = noisy(0.0).load()
    data = noisy(share).with_label_noise(plain)
    for part in ("train_x", "val_x", "val_y", "test_x", "test_y"):
        assert torch.equal(getattr(data, part), getattr(plain, part))
    wrong = data.train_y != plain.train_y
    assert wrong.sum() == round(share * 1800)
    # of the wrong ones each of the four other classes has a quarter
    shift = (data.train_y - plain.train_y)[wrong] % 5
    assert chisquare(shift.bincount(minlength=5)[1:].double()).pvalue > 1e-6
    half = noisy(share / 2).with_label_noise(plain)
    moved = half.train_y != plain.train_y
    assert torch.equal(half.train_y[moved], data.train_y[moved])


def test_random_and_wrong_labels_at_once_are_refused() -> None:
    with pytest.raises(OptionError, match=r"^label_noise=0.2: must be 0 with random_labels=0.5; take one of them$"):
        Gaussian(random_labels=0.5, label_noise=0.2)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_lies_between_0_and_1(share: float) -> None:
    with pytest.raises(OptionError, match=f"^random_labels={share}: must be a finite number >= 0 and <= 1"):
        gaussian(share)


def test_a_configuration_trains_on_them_and_refuses_them_without_classes() -> None:
    register_resolvers()
    GlobalHydra.instance().clear()
    small = ["data=gaussian", "data.examples=70", "data.val_size=10", "data.test_size=10", "probe.batch_size=10"]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        plain = compose("config", small)
        drawn = compose("config", [*small, "data.random_labels=1"])
        refused = compose("config", ["model=vae", "loss=elbo", "data.random_labels=0.5"])
        wrong = compose("config", ["model=vae", "loss=elbo", "data.label_noise=0.5"])
        noised = compose("config", [*small, "data.label_noise=0.2"])
    one, other = (load_data(cfg, torch.device("cpu"), torch.float32) for cfg in (plain, drawn))
    noise = load_data(noised, torch.device("cpu"), torch.float32).train_y
    assert not torch.equal(one.train_y, other.train_y)
    assert torch.equal(one.val_y, other.val_y)
    (said,) = map(str, check(refused))
    assert said == "data.random_labels=0.5: must be 0 with loss=elbo, which asks for no classes; leave it out"
    assert (noise == one.train_y).double().mean() == pytest.approx(1 - 12 / 60)
    (said,) = map(str, check(wrong))
    assert said == "data.label_noise=0.5: must be 0 with loss=elbo, which asks for no classes; leave it out"
