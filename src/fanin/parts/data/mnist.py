"""MNIST and Fashion-MNIST, read through torchvision from a folder, or downloaded into it.

Where the folder has the unpacked files, they are read and nothing is written. Where it has only the four
archives, or nothing, the files are made in a staging folder and moved into place whole, under a lock: a
process that fails, or two that start at once, leave no half files behind. A folder that cannot be written is
left alone: its archives are unpacked in the user's cache folder instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from fanin.errors import OptionError, UserError
from fanin.parts.data.dataset import Dataset
from fanin.parts.data.downloaded import FAILURES, Downloaded, cache_root, quiet, reason, writable

log = logging.getLogger(__name__)


class Mnist(Downloaded):
    """70000 images of handwritten digits, 28 x 28, values in [0, 1]: 60000 for training, 10000 for test.

    Args:
        root: the folder that has, or is to have, MNIST/raw; null for the environment variable FANIN_DATA,
            else "data" under the current folder.
        val_size: training examples held out for validation, smaller than the training set.
        limit: only the first so many training examples; null for all.
        folds, fold, stratified, repeat: cross-validation in place of val_size; see Source.
        random_labels, label_noise: of a share of the training examples; see Source.
        classes: the labels that are kept, numbered from 0 in the order given; null for all ten.

    Source: LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition (1998).
    """

    name = "mnist"

    def load(self) -> Dataset:
        """The data set, inputs [N, 1, 28, 28] float32.

        Raises:
            UserError: the files are not there and cannot be downloaded, or one of them is corrupt.
            OptionError: root is not a folder, or val_size leaves nothing to train on.
        """
        source = self._torchvision()
        try:
            if self.root.exists() and not self.root.is_dir():
                raise OptionError("root", self.root, "a folder")
            root = self._prepared(source)
            self._check(source, root)
            parts = [source(root, train=train) for train in (True, False)]
        except FAILURES as error:
            raise self._unusable(source, error) from error
        (images, labels), (test_images, test_labels) = ((part.data.unsqueeze(1), part.targets) for part in parts)
        return self._dataset(images, labels, test_images, test_labels)

    def _torchvision(self) -> Any:
        """torchvision's class; imported late, for the import takes seconds."""
        from torchvision import datasets

        return datasets.MNIST

    def _prepared(self, source: Any) -> Path:
        """A root that has the unpacked files: the user's own, or the cache where that cannot be written."""
        own = raw_folder(self.root, source)
        if unpacked(own, source):
            return self.root
        root = self.root if writable(own) else cache_root()
        if not unpacked(raw_folder(root, source), source):
            log.info("unpacking or downloading %s into %s", source.__name__, root)
            self._fill(source, own, raw_folder(root, source))
        return root

    def _fill(self, source: Any, archives: Path, target: Path) -> None:
        """Put the unpacked files into `target`, from the archives in `archives` or from the network."""
        missing_folders = [folder for folder in (target, *target.parents) if not folder.exists()]
        lock = target / ".fanin.lock"
        try:
            target.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=600):
                try:
                    if not unpacked(target, source):  # else another process was first
                        self._stage(source, archives, target)
                finally:
                    with contextlib.suppress(OSError):  # some systems cannot remove an open file
                        lock.unlink()
        except BaseException:
            with contextlib.suppress(OSError):
                for folder in missing_folders:  # innermost first, as long as they are empty
                    folder.rmdir()
            raise

    def _stage(self, source: Any, archives: Path, target: Path) -> None:
        """Let torchvision work on copies in a folder within the target, then move its files into place."""
        for left_over in target.glob(".fanin-*"):  # of a killed process: the lock is ours
            shutil.rmtree(left_over, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".fanin-", dir=target) as staging:
            raw = raw_folder(Path(staging), source)
            raw.mkdir(parents=True)
            for archive, md5 in source.resources:
                if (archives / archive).is_file():
                    copy = shutil.copyfile(archives / archive, raw / archive)
                    # torchvision would download it anew; the user's own is better named than replaced.
                    if hashlib.md5(copy.read_bytes(), usedforsecurity=False).hexdigest() != md5:
                        raise self._corrupt(archives / archive, f"its MD5 is not {md5}")
            with quiet(self.patience):
                source(staging, download=True)  # unpacks; downloads those archives that are not there
            for file in list(raw.iterdir()):
                if not (archives / file.name).is_file() or file.suffix != ".gz":
                    file.replace(target / file.name)

    def _check(self, source: Any, root: Path) -> None:
        """Name the unpacked file whose header, size or labels are wrong: torchvision's own errors do not."""
        for part in ("train", "t10k"):
            images = raw_folder(root, source) / f"{part}-images-idx3-ubyte"
            labels = raw_folder(root, source) / f"{part}-labels-idx1-ubyte"
            image_shape, label_shape = idx_shape(images), idx_shape(labels)
            if image_shape is None or image_shape[1:] != (28, 28) or image_shape[0] == 0:
                raise self._corrupt(images, "not 28 x 28 images of the size its header states")
            if label_shape is None or label_shape != image_shape[:1]:
                raise self._corrupt(labels, f"not {image_shape[0]} labels, one an image")
            if max(labels.read_bytes()[8:]) > 9:
                raise self._corrupt(labels, "a label is over 9")

    def _unusable(self, source: Any, error: Exception) -> UserError:
        raw = raw_folder(self.root, source)
        missing = [gz for gz, _ in source.resources if not any(raw.glob(gz.removesuffix(".gz") + "*"))]
        lack = "no files there" if len(missing) == len(source.resources) else f"no {', '.join(missing)}"
        why = f"{lack}; download failed: {reason(error)}" if missing else reason(error)
        return UserError(
            f"data={self.name}: cannot be read from root {self.root} ({why}); put the four .gz files "
            f"in {raw}, or set data.root=... or FANIN_DATA, or use data=digits, which needs no files"
        )


class FashionMnist(Mnist):
    """70000 images of clothes in ten classes, 28 x 28, values in [0, 1]; harder than MNIST.

    Args: those of `Mnist`; the files are in FashionMNIST/raw.

    Source: Xiao, Rasul and Vollgraf, Fashion-MNIST (2017).
    """

    name = "fashion_mnist"

    def _torchvision(self) -> Any:
        from torchvision import datasets

        return datasets.FashionMNIST


def raw_folder(root: Path, source: Any) -> Path:
    """torchvision's place for the files of a data set."""
    return root / str(source.__name__) / "raw"


def unpacked(raw: Path, source: Any) -> bool:
    """Whether all four unpacked files are there."""
    return all((raw / archive.removesuffix(".gz")).is_file() for archive, _ in source.resources)


def idx_shape(path: Path) -> tuple[int, ...] | None:
    """The shape that an idx file of bytes states, or None if its size is another.

    Header, big-endian: two zero bytes, 8 for bytes, the number of dimensions, then each size in 4 bytes.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        if len(magic) < 4 or magic[:3] != b"\x00\x00\x08":
            return None
        sizes = file.read(4 * magic[3])
    shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4))
    return shape if path.stat().st_size == 4 + 4 * magic[3] + math.prod(shape) else None
