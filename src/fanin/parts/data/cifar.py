"""CIFAR-10 and CIFAR-100 from the files that torchvision leaves, which it downloads where they are missing."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import pickle
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from fanin.errors import OptionError, UserError
from fanin.parts.data.dataset import Dataset
from fanin.parts.data.downloaded import FAILURES, Downloaded, cache_root, quiet, reason, writable

log = logging.getLogger(__name__)


class Cifar10(Downloaded):
    """60000 colour photographs in ten classes, 32 x 32, values in [0, 1]: 50000 for training, 10000 for test.

    Read from root/cifar-10-batches-py, as torchvision unpacks it; or its archive cifar-10-python.tar.gz in root is
    unpacked; or it is downloaded. Where root cannot be written, that is done in the user's cache folder.

    Args:
        root: the folder that has, or is to have, these files; null for the environment variable FANIN_DATA, else
            "data" under the current folder.
        val_size: training examples held out for validation, smaller than the training set.
        limit: only the first so many training examples; null for all.
        folds, fold, stratified, repeat: cross-validation in place of val_size; see Source.
        random_labels, label_noise: of a share of the training examples; see Source.
        classes: the labels that are kept, numbered from 0 in the order given; null for all.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
    """

    name = "cifar10"
    folder: ClassVar[str] = "cifar-10-batches-py"
    parts: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]] = (
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        ("test_batch",),
    )
    label_key: ClassVar[str] = "labels"

    def load(self) -> Dataset:
        """The data set, inputs [N, 3, 32, 32] float32.

        Raises:
            UserError: the files are not there and cannot be downloaded, or one of them is corrupt.
            OptionError: root is not a folder, or val_size leaves nothing to train on.
        """
        if self.root.exists() and not self.root.is_dir():
            raise OptionError("root", self.root, "a folder")
        try:
            folder = self._prepared()
        except FAILURES as error:
            raise UserError(
                f"data={self.name}: no {self.folder} in root {self.root}; download failed: {reason(error)}; unpack its "
                "archive there, or set data.root=... or FANIN_DATA, or use data=digits, which needs no files"
            ) from error
        (images, labels), (test_images, test_labels) = (
            self._read([folder / name for name in names]) for names in self.parts
        )
        return self._dataset(images, labels, test_images, test_labels)

    def _torchvision(self) -> Any:
        """torchvision's class; imported late, for the import takes seconds."""
        from torchvision import datasets

        return datasets.CIFAR10

    def _there(self, root: Path) -> bool:
        return all((root / self.folder / name).is_file() for names in self.parts for name in names)

    def _prepared(self) -> Path:
        """The folder with the files: the user's own, or that in the cache where root cannot be written."""
        root = self.root if self._there(self.root) or writable(self.root) else cache_root()
        if not self._there(root):
            log.info("unpacking or downloading %s into %s", self.folder, root)
            self._fill(root)
        return root / self.folder

    def _fill(self, root: Path) -> None:
        """Unpack or download in a folder beside, and move the whole into place."""
        source = self._torchvision()
        made = [one for one in (root, *root.parents) if not one.exists()]
        root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(root / f".{self.folder}.lock", timeout=600):
                if self._there(root):  # another process was first
                    return
                with tempfile.TemporaryDirectory(prefix=".fanin-", dir=root) as staging:
                    archive = self.root / str(source.filename)
                    if archive.is_file():
                        if hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest() != source.tgz_md5:
                            raise self._corrupt(archive, f"its MD5 is not {source.tgz_md5}")
                        shutil.copyfile(archive, Path(staging) / archive.name)
                    with quiet(self.patience):
                        source(staging, download=True)
                    shutil.rmtree(root / self.folder, ignore_errors=True)  # it lacks something
                    (Path(staging) / self.folder).replace(root / self.folder)
        finally:
            with contextlib.suppress(OSError):
                (root / f".{self.folder}.lock").unlink()
                for one in made:  # innermost first, as long as they are empty
                    one.rmdir()

    def _read(self, files: Sequence[Path]) -> tuple[Tensor, Tensor]:
        """Pixels [N, 3, 32, 32] as bytes, and labels."""
        images, labels = [], []
        for file in files:
            try:
                with file.open("rb") as opened:
                    batch = ArraysOnly(opened, encoding="latin1").load()
                pixels, own = (
                    np.asarray(batch["data"], dtype=np.uint8),
                    np.asarray(batch[self.label_key], dtype=np.int64),
                )
            except (
                pickle.UnpicklingError,
                EOFError,
                KeyError,
                TypeError,
                ValueError,
                AttributeError,
                IndexError,
            ) as error:
                raise self._corrupt(file, reason(error)) from None
            if pixels.ndim != 2 or pixels.shape[1] != 3072 or own.shape != pixels.shape[:1] or not len(own):
                raise self._corrupt(file, "not 32 x 32 images of three channels with a label each")
            if own.min() < 0 or own.max() >= self.known:
                raise self._corrupt(file, f"a label is not from 0 to {self.known - 1}")
            images.append(torch.from_numpy(pixels).view(-1, 3, 32, 32))
            labels.append(torch.from_numpy(own))
        return torch.cat(images), torch.cat(labels)


class Cifar100(Cifar10):
    """The same photographs' sibling: 60000 in a hundred classes, 600 of each, 32 x 32, values in [0, 1].

    Args: those of `Cifar10`; the files are in root/cifar-100-python. Classes are the fine ones.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
    """

    name = "cifar100"
    known: ClassVar[int] = 100
    folder: ClassVar[str] = "cifar-100-python"
    parts: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]] = (("train",), ("test",))
    label_key: ClassVar[str] = "fine_labels"

    def _torchvision(self) -> Any:
        from torchvision import datasets

        return datasets.CIFAR100


class ArraysOnly(pickle.Unpickler):
    """Reads what these files hold, lists and arrays, and refuses all else that a pickle may call."""

    allowed = frozenset({"_reconstruct", "ndarray", "dtype", "scalar", "encode"})

    def find_class(self, module: str, name: str) -> Any:
        """What numpy makes arrays of."""
        if module.partition(".")[0] in ("numpy", "_codecs") and name in self.allowed:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
