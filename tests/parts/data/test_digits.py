"""The bundled digits against scikit-learn's own loader, numpy's interpolation and counting."""

from __future__ import annotations

import importlib.util
from collections import Counter

import numpy as np
import pytest
import sklearn.datasets
import torch

from fanin.errors import OptionError
from fanin.parts.data import Digits
from fanin.parts.data.digits import enlarge, read_table, stratified

COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # of the 1797, in scikit-learn's description


def rows(*parts: tuple[torch.Tensor, torch.Tensor]) -> Counter[bytes]:
    """The (image, label) pairs of the parts as a multiset."""
    return Counter(
        x.numpy().tobytes() + bytes([label])
        for images, labels in parts
        for x, label in zip(images, labels.tolist(), strict=True)
    )


def test_both_ways_of_reading_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        pytest.fail("the file that scikit-learn bundles was not found")

    with monkeypatch.context() as patch:
        patch.setattr(sklearn.datasets, "load_digits", refuse)
        table = read_table()
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        fallback = read_table()
    assert table.shape == (1797, 65)
    np.testing.assert_array_equal(table, fallback)


def test_parts_are_disjoint_and_together_scikit_learns_set() -> None:
    data = Digits(image_size=8, val_size=200).load()
    assert [len(y) for y in (data.train_y, data.val_y, data.test_y)] == [1300, 200, 297]
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    expected = (torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(labels))
    assert max(rows(expected).values()) == 1  # no image occurs twice, so equal multisets mean disjoint parts
    parts = (data.train_x, data.train_y), (data.val_x, data.val_y), (data.test_x, data.test_y)
    assert rows(*parts) == rows(expected)


def test_classes_and_the_stratified_test_part() -> None:
    data = Digits().load()
    everything = torch.cat([data.train_y, data.val_y, data.test_y])
    assert torch.bincount(everything).tolist() == COUNTS
    assert data.classes == 10
    for count, whole in zip(torch.bincount(data.test_y).tolist(), COUNTS, strict=True):
        assert abs(count - 297 * whole / 1797) < 1


@pytest.mark.parametrize("seed", range(5))
def test_stratified_is_within_one_of_every_share(seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels = torch.tensor(draw.choice(4, 200, p=[0.55, 0.3, 0.14, 0.01]))
    order = torch.tensor(draw.permutation(200))
    size = int(draw.integers(1, 200))
    rest, chosen = stratified(order, labels, size)
    assert sorted([*rest.tolist(), *chosen.tolist()]) == list(range(200))
    assert len(chosen) == size
    taken = torch.bincount(labels[chosen], minlength=4)
    share = size * torch.bincount(labels, minlength=4) / 200
    assert (taken - share).abs().max() < 1


@pytest.mark.parametrize(("image_size", "features"), [(28, 784), (8, 64), (13, 169)])
def test_shape_and_pixel_range(image_size: int, features: int) -> None:
    data = Digits(image_size=image_size).load()
    assert data.input_shape == (1, image_size, image_size)
    assert data.in_features == features
    for x in (data.train_x, data.val_x, data.test_x):
        assert x.dtype == torch.float32
        assert x.min() == 0
        assert x.max() <= 1
    # Full ink (16) appears in the originals; a mean of four neighbours that are all 16 appears as well.
    assert data.train_x.max() > 1 - 1e-6


@pytest.mark.parametrize("size", [28, 11])
def test_enlarging_is_bilinear_interpolation_between_pixel_centres(size: int) -> None:
    pixels = np.random.default_rng(size).random((3, 8, 8))
    places = (np.arange(size) + 0.5) * 8 / size - 0.5  # of the new centres, in old pixels; np.interp holds the ends
    along = np.apply_along_axis(lambda line: np.interp(places, np.arange(8), line), 2, pixels)
    expected = np.apply_along_axis(lambda line: np.interp(places, np.arange(8), line), 1, along)
    found = enlarge(torch.tensor(pixels).reshape(3, 64), size)
    np.testing.assert_allclose(found[:, 0].numpy(), expected, atol=1e-12)  # float64: some units of 2e-16


def test_size_8_is_the_original_and_size_4_the_mean_of_2_by_2() -> None:
    pixels = torch.arange(64.0).reshape(1, 64) / 64
    assert torch.equal(enlarge(pixels, 8).flatten(), pixels.flatten())
    means = pixels.reshape(4, 2, 4, 2).mean(dim=(1, 3))
    torch.testing.assert_close(enlarge(pixels, 4)[0, 0], means)


def test_the_split_is_the_same_every_time_and_the_test_part_for_every_val_size() -> None:
    torch.manual_seed(3)
    first = Digits(image_size=8, val_size=200).load()
    torch.manual_seed(4)
    again, other = Digits(image_size=8, val_size=200).load(), Digits(image_size=8, val_size=0).load()
    for part in ("train_x", "train_y", "val_x", "val_y", "test_x", "test_y"):
        assert torch.equal(getattr(first, part), getattr(again, part))
    assert torch.equal(first.test_x, other.test_x)
    assert torch.equal(first.train_x, other.train_x[:1300])
    assert other.val_x.shape == (0, 1, 8, 8)
    assert other.val_y.shape == (0,)


def test_limit_shortens_training_only() -> None:
    whole, short = Digits(image_size=8).load(), Digits(image_size=8, limit=50).load()
    assert torch.equal(short.train_x, whole.train_x[:50])
    assert torch.equal(short.train_y, whole.train_y[:50])
    assert torch.equal(short.val_x, whole.val_x)
    assert torch.equal(short.test_x, whole.test_x)


def test_val_size_1500_is_too_many() -> None:
    assert len(Digits(image_size=8, val_size=1499).load().train_y) == 1
    with pytest.raises(OptionError, match=r"val_size=1500: must be smaller than digits's 1500 training examples"):
        Digits(val_size=1500).load()


@pytest.mark.parametrize("image_size", [0, -8, 28.0, 257, "28", None])
def test_image_size_is_checked(image_size: object) -> None:
    with pytest.raises(OptionError, match=r"image_size=.*: must be an integer >= 1 and <= 256"):
        Digits(image_size=image_size)  # type: ignore[arg-type]
