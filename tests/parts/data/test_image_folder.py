"""data=folder: pixels against numpy's own means, classes by the folders' names, splits of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fanin.errors import OptionError, UserError
from fanin.parts.data import Folder


def save(file: Path, pixels: NDArray[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(file)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Ten images each of three classes, 4 x 4; an image's first pixel is its number."""
    rng = np.random.default_rng(2)
    for label, name in enumerate(("cat", "dog", "eel")):
        for place in range(10):
            pixels = rng.integers(0, 256, (4, 4, 3))
            pixels[0, 0] = 10 * label + place
            save(tmp_path / "pets" / name / "some" / f"{place}.png", pixels)
    (tmp_path / "pets" / "notes").mkdir()
    (tmp_path / "pets" / "notes" / "read.txt").write_text("no images, no class")
    return tmp_path


def test_classes_are_the_folders_and_each_gives_its_share(images: Path) -> None:
    data = Folder(path="pets", root=str(images), image_size=4, colour=True, test_size=0.2, val_size=6).load()
    assert (data.classes, data.input_shape) == (3, (3, 4, 4))
    assert [len(data.train_y), len(data.val_y), len(data.test_y)] == [18, 6, 6]
    assert data.test_y.bincount().tolist() == [2, 2, 2]
    seen = []
    for part in ("train", "val", "test"):
        numbers = (getattr(data, f"{part}_x")[:, 0, 0, 0] * 255).round().int()
        assert (numbers // 10).tolist() == getattr(data, f"{part}_y").tolist()
        seen += numbers.tolist()
    assert sorted(seen) == list(range(30))


def test_an_image_is_cut_to_its_middle_and_averaged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 8))
    for name in ("a", "b"):
        for place in range(3):
            save(tmp_path / name / f"{place}.png", pixels)
    data = Folder(path=str(tmp_path), image_size=1, test_size=2, val_size=0).load()
    # to one pixel, antialiased: a triangle as wide as the square on each side of its middle
    weights = 1 - np.abs(np.arange(4) - 1.5) / 4
    weights /= weights.sum()
    wanted = weights @ pixels[:, 2:6] @ weights / 255
    assert data.input_shape == (1, 1, 1)
    assert data.train_x.flatten().tolist() == pytest.approx([wanted] * 4, abs=2 / 255)  # rounded twice to bytes


def test_grey_is_pillows_luminance(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name / "0.png", np.full((2, 2, 3), (200, 100, 50)))
    data = Folder(path=str(tmp_path), image_size=2, test_size=0, val_size=0).load()
    assert data.train_x[0, 0, 0, 0].item() * 255 == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50, abs=1)


def test_a_split_of_the_users_own(images: Path) -> None:
    (images / "split").mkdir()
    (images / "pets").rename(images / "split" / "train")
    for label, name in enumerate(("cat", "eel")):
        save(images / "split" / "test" / name / "x.png", np.full((4, 4, 3), 100 + label))
    keys: dict[str, Any] = {"path": "split", "root": str(images), "image_size": 4}
    data = Folder(**keys).load()
    assert [len(data.train_y), len(data.val_y), data.test_y.tolist()] == [27, 3, [0, 2]]
    save(images / "split" / "val" / "dog" / "y.png", np.zeros((4, 4, 3)))
    data = Folder(**keys).load()
    assert [len(data.train_y), data.val_y.tolist()] == [30, [1]]
    with pytest.raises(OptionError, match="fold=0: must be null where there is a folder val"):
        Folder(fold=0, **keys).load()
    save(images / "split" / "test" / "newt" / "z.png", np.zeros((4, 4, 3)))
    with pytest.raises(UserError, match="newt is no class of the training part: cat, dog, eel"):
        Folder(**keys).load()


def test_mistakes_are_one_line(images: Path) -> None:
    with pytest.raises(OptionError, match="path=null: must be a folder with a folder of images for each class"):
        Folder().load()
    with pytest.raises(OptionError, match=r"there is no folder .*nothing"):
        Folder(path=str(images / "nothing")).load()
    with pytest.raises(UserError, match=r"must have folders of images \(only some has some\), two classes at least"):
        Folder(path=str(images / "pets" / "cat")).load()
    with pytest.raises(OptionError, match="test_size=30: must be fewer than the 30 images"):
        Folder(path=str(images / "pets"), test_size=30).load()
    broken = images / "pets" / "dog" / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"broken.jpg cannot be read as an image .*; repair or remove it") as caught:
        Folder(path=str(images / "pets")).load()
    assert "\n" not in str(caught.value)
