"""Published facts of the real MNIST and Fashion-MNIST, from FANIN_DATA; nothing is written there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torchvision.datasets.mnist import read_image_file, read_label_file

from fanin.parts.data import Dataset, FashionMnist, Mnist

FOLDER = os.environ.get("FANIN_DATA")

pytestmark = pytest.mark.skipif(not FOLDER, reason="FANIN_DATA is not set: the real MNIST was not tested")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A read-only root of links to the files under FANIN_DATA, and the cache folder that goes with it."""
    root, cache = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("cache")
    for name in ("MNIST", "FashionMNIST"):
        (root / name / "raw").mkdir(parents=True)
        for file in (Path(str(FOLDER)) / name / "raw").glob("*-ubyte*"):
            (root / name / "raw" / file.name).symlink_to(file.resolve())
        (root / name / "raw").chmod(0o555)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield root, cache


@pytest.fixture(scope="module")
def mnist(places: tuple[Path, Path]) -> Dataset:
    return Mnist(root=str(places[0])).load()


@pytest.fixture(scope="module")
def fashion(places: tuple[Path, Path]) -> Dataset:
    if not (Path(str(FOLDER)) / "FashionMNIST").is_dir():
        pytest.skip("FANIN_DATA has no FashionMNIST")
    return FashionMnist(root=str(places[0])).load()


def training(data: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat([data.train_x, data.val_x]), torch.cat([data.train_y, data.val_y])


def test_sizes_and_label_counts_of_mnist(mnist: Dataset) -> None:
    assert mnist.train_x.shape == (55000, 1, 28, 28)
    assert mnist.val_x.shape == (5000, 1, 28, 28)
    assert mnist.test_x.shape == (10000, 1, 28, 28)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(training(mnist)[1]).tolist() == counts
    assert torch.bincount(mnist.test_y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_sizes_and_label_counts_of_fashion_mnist(fashion: Dataset) -> None:
    assert torch.bincount(training(fashion)[1]).tolist() == [6000] * 10
    assert torch.bincount(fashion.test_y).tolist() == [1000] * 10


@pytest.mark.parametrize(("name", "mean", "std"), [("mnist", 0.1307, 0.3081), ("fashion", 0.2860, 0.3530)])
def test_published_mean_and_deviation(name: str, mean: float, std: float, request: pytest.FixtureRequest) -> None:
    pixels = training(request.getfixturevalue(name))[0].double()
    assert pixels.min() == 0
    assert pixels.max() == 1
    assert round(float(pixels.mean()), 4) == mean
    assert round(float(pixels.std()), 4) == std


def test_training_and_validation_are_torchvisions_60000(places: tuple[Path, Path], mnist: Dataset) -> None:
    raw = next(place for place in places if [*place.rglob("MNIST/raw/train-images-idx3-ubyte")])
    folder = next(raw.rglob("MNIST/raw"))
    images = read_image_file(str(folder / "train-images-idx3-ubyte"))
    labels = read_label_file(str(folder / "train-labels-idx1-ubyte"))
    x, y = training(mnist)
    pixels = (x * 255).round().to(torch.uint8)
    found = Counter((image.tobytes(), label) for image, label in zip(pixels.numpy(), y.tolist(), strict=True))
    expected = Counter((image.tobytes(), n) for image, n in zip(images.numpy(), labels.tolist(), strict=True))
    assert found == expected


def test_the_read_only_root_was_not_written(places: tuple[Path, Path], mnist: Dataset) -> None:
    root, cache = places
    given = {file.name for file in (Path(str(FOLDER)) / "MNIST" / "raw").glob("*-ubyte*")}
    assert {file.name for file in (root / "MNIST" / "raw").iterdir()} == given
    made = {file.name for file in cache.rglob("MNIST/raw/*")}
    unpacked = {name.removesuffix(".gz") for name in given}
    assert made == (set() if unpacked <= given else unpacked)
