"""CIFAR from a tiny set in torchvision's layout: what is read, unpacked, refused, and said without a network."""

from __future__ import annotations

import hashlib
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_cifar import write_cifar  # type: ignore[import-not-found]
from torchvision import datasets

from fanin.errors import OptionError, UserError
from fanin.parts.data import Cifar10, Cifar100, Dataset


def test_images_and_labels_are_those_of_the_files(tmp_path: Path) -> None:
    written = write_cifar(tmp_path)
    train = [np.concatenate(one) for one in zip(*(written[f"data_batch_{i}"] for i in range(1, 6)), strict=True)]
    for made, parts in (
        (Cifar10(root=tmp_path, val_size=20), (train, written["test_batch"])),
        (Cifar100(root=tmp_path, val_size=20), (written["train"], written["test"])),
    ):
        data: Dataset = made.load()
        assert (data.classes, data.input_shape) == (made.known, (3, 32, 32))
        assert [len(data.train_x), len(data.val_x), len(data.test_x)] == [60, 20, 12]
        order = made.split_order(80)
        pixels, labels = parts[0]
        # channel, row, column in this order: the format's own description
        np.testing.assert_array_equal(data.train_x, pixels.reshape(-1, 3, 32, 32)[order[:60]].astype(np.float32) / 255)
        np.testing.assert_array_equal(data.val_y, labels[order[60:]])
        np.testing.assert_array_equal(data.test_y, parts[1][1])


def test_some_classes_are_kept(tmp_path: Path) -> None:
    labels = write_cifar(tmp_path)["test_batch"][1]
    data = Cifar10(root=tmp_path, val_size=0, classes=[7, 2]).load()
    assert data.classes == 2
    assert data.test_y.tolist() == [(7, 2).index(one) for one in labels if one in (7, 2)]


def test_an_archive_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> None:
    written = write_cifar(tmp_path / "source")
    folder = tmp_path / "source" / "cifar-100-python"
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["x"] * 100}))
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(root / "cifar-100-python.tar.gz", "w:gz") as archive:
        archive.add(folder, "cifar-100-python")

    def digest(file: Path) -> str:
        return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()

    known = {
        "tgz_md5": digest(root / "cifar-100-python.tar.gz"),
        "train_list": [["train", digest(folder / "train")]],
        "test_list": [["test", digest(folder / "test")]],
        "meta": {"filename": "meta", "key": "fine_label_names", "md5": digest(folder / "meta")},
    }
    monkeypatch.setattr(datasets, "CIFAR100", type("CIFAR100", (datasets.CIFAR100,), known))
    data = Cifar100(root=root, val_size=0).load()
    np.testing.assert_array_equal(data.test_y, written["test"][1])
    assert sorted(path.name for path in root.iterdir()) == ["cifar-100-python", "cifar-100-python.tar.gz"]
    (root / "cifar-100-python" / "test").unlink()
    (root / "cifar-100-python.tar.gz").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"cifar-100-python.tar.gz is corrupt \(its MD5 is not"):
        Cifar100(root=root, val_size=0).load()


def test_without_files_and_network_one_line_says_what_to_do(
    tmp_path: Path, cache: Path, offline: None, tree: Callable[[Path], dict[str, tuple[int, int]]]
) -> None:
    (tmp_path / "root").mkdir()
    before = tree(tmp_path / "root").keys()
    with pytest.raises(UserError, match=r"data=cifar10: no cifar-10-batches-py in root .*download failed: .*; unpack"):
        Cifar10(root=tmp_path / "root").load()
    assert tree(tmp_path / "root").keys() == before
    with pytest.raises(OptionError, match=r"root=.*: must be a folder"):
        Cifar10(root=__file__).load()


class Command:
    """What a hostile file would have a reader call."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("called",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"nothing", "is corrupt"),
        (pickle.dumps({"data": Command(), "fine_labels": [1]}), r"it asks for \w+.mkdir"),
        (pickle.dumps({"data": np.zeros((2, 5), np.uint8), "fine_labels": [1, 2]}), "not 32 x 32 images of three"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "fine_labels": [100]}), "a label is not from 0 to 99"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8)}), "is corrupt"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, told: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_cifar(tmp_path)
    (tmp_path / "cifar-100-python" / "test").write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        Cifar100(root=tmp_path, val_size=0).load()
    assert str(tmp_path / "cifar-100-python" / "test") in str(caught.value)
    assert not (tmp_path / "called").exists()
