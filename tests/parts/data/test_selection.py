"""Data sets of some classes: the same examples as in the whole set, numbered anew."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from tiny_mnist import Tiny  # type: ignore[import-not-found]
from torch import Tensor

from fanin.errors import OptionError
from fanin.parts.data import Digits, Mnist


def rows(x: Tensor, labels: list[int]) -> Counter[tuple[bytes, int]]:
    return Counter((image.numpy().tobytes(), label) for image, label in zip(x, labels, strict=True))


@pytest.mark.parametrize("classes", [[0, 1], [8, 3], [5, 1, 9], list(range(10))])
def test_digits_of_some_classes_are_those_of_the_whole_set(classes: list[int]) -> None:
    whole, some = Digits(image_size=8).load(), Digits(image_size=8, val_size=50, classes=classes).load()
    assert some.classes == len(classes)
    training = torch.cat([whole.train_x, whole.val_x]), torch.cat([whole.train_y, whole.val_y])
    own = torch.cat([some.train_x, some.val_x]), torch.cat([some.train_y, some.val_y])
    for (x, y), (all_x, all_y) in ((own, training), ((some.test_x, some.test_y), (whole.test_x, whole.test_y))):
        kept = torch.tensor([label in classes for label in all_y.tolist()])
        assert rows(x, [classes[label] for label in y.tolist()]) == rows(all_x[kept], all_y[kept].tolist())
    assert len(some.val_y) == 50
    assert some.train_y.dtype == torch.int64


def test_folds_of_some_classes() -> None:
    loads = [Digits(image_size=8, classes=[2, 7], fold=fold, folds=3).load() for fold in range(3)]
    assert sum(len(data.val_y) for data in loads) == len(loads[0].train_y) + len(loads[0].val_y)
    shares = torch.stack([data.val_y.bincount(minlength=2) for data in loads])
    assert int((shares.max(0).values - shares.min(0).values).max()) <= 1


def test_mnist_of_some_classes(tiny: Tiny, tmp_path: Path) -> None:
    tiny.write(tmp_path, unpacked=True)
    classes = [int(tiny.arrays["t10k"][0, 0, 0]), int(tiny.arrays["t10k"][1, 0, 0])]
    config = {"_target_": "fanin.parts.data.Mnist", "root": str(tmp_path), "val_size": 2, "classes": classes}
    data = instantiate(config).load()  # a list of Hydra's
    for part, x, y in (
        ("train", torch.cat([data.train_x, data.val_x]), torch.cat([data.train_y, data.val_y])),
        ("t10k", data.test_x, data.test_y),
    ):
        written = (x[:, 0, 0, 0] * 255).round().long().tolist()  # each image's first pixel is its label
        assert written == [classes[label] for label in y.tolist()]
        assert len(written) == sum(int(image[0, 0]) in classes for image in tiny.arrays[part])


@pytest.mark.parametrize("option", [Digits, Mnist])
@pytest.mark.parametrize("classes", [[], [3], [1, 1], [0, 10], [-1, 0], [0, 1.0], [0, True], "01", 2], ids=str)
def test_other_classes_are_refused(option: type[Digits] | type[Mnist], classes: object) -> None:
    with pytest.raises(OptionError) as caught:
        option(classes=classes)  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"classes={classes}: must be null or two or more different labels, each from 0 to 9; such as classes=[0,1]"
    )


def test_too_many_held_out_of_some_classes() -> None:
    with pytest.raises(OptionError, match=r"val_size=400: must be smaller than digits's \d{3} training examples"):
        Digits(classes=[0, 1], val_size=400).load()
