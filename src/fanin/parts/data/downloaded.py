"""What image data sets have in common that torchvision downloads: where their files are, and how they are divided."""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import re
import socket
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from fanin.errors import OptionError, UserError
from fanin.parts.data.dataset import Dataset, Source
from fanin.parts.data.selection import checked_classes, keep, renumber
from fanin.parts.data.storage import room_for
from fanin.process import typed_path

# What reading, unpacking and downloading raise; URLError and time-outs are OSErrors.
FAILURES = (OSError, RuntimeError, EOFError, zlib.error, http.client.HTTPException)


class Downloaded(Source):
    """Images in a folder of the user's, or downloaded into it; the base of MNIST and CIFAR.

    Args:
        root: the folder that has, or is to have, the files; null for the environment variable FANIN_DATA, else
            "data" under the current folder.
        val_size: training examples held out for validation, smaller than the training set.
        limit: only the first so many training examples; null for all.
        folds, fold, stratified, repeat: cross-validation in place of val_size; see Source.
        random_labels, label_noise: of a share of the training examples; see Source.
        classes: the labels that are kept, numbered from 0 in the order given; null for all.

    Raises:
        OptionError: a value is of a wrong kind or out of range.
    """

    known: ClassVar[int] = 10
    patience: ClassVar[float] = 5.0  # seconds a server may be silent; a host may have eight addresses to try

    def __init__(
        self,
        *,
        root: str | os.PathLike[str] | None = None,
        val_size: int = 5000,
        limit: int | None = None,
        folds: int | str = 5,
        fold: int | None = None,
        stratified: bool = True,
        repeat: int = 0,
        random_labels: float = 0.0,
        label_noise: float = 0.0,
        classes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            val_size=val_size, limit=limit, folds=folds, fold=fold, stratified=stratified, repeat=repeat,
            random_labels=random_labels, label_noise=label_noise,
        )  # fmt: skip
        self.classes = checked_classes(classes, self.known)
        if root is not None and not isinstance(root, (str, os.PathLike)):
            raise OptionError("root", root, "a folder's path or null")
        chosen = root or os.environ.get("FANIN_DATA") or "data"
        self.root = typed_path(os.path.expanduser(chosen))  # noqa: PTH111  Path's own raises on ~nobody

    def _dataset(self, images: Tensor, labels: Tensor, test_images: Tensor, test_labels: Tensor) -> Dataset:
        """Of all images, bytes [N, C, H, W], and labels [N]: those of the classes, a part of them held out."""
        train, val = self.hold_out(keep(self.classes, self.split_order(len(labels)), labels), labels)
        test = keep(self.classes, torch.arange(len(test_labels)), test_labels)
        labels, test_labels = (renumber(self.classes, each) for each in (labels, test_labels))
        return Dataset(
            self.name,
            self.known if self.classes is None else len(self.classes),
            train_x=scaled(images, train),
            train_y=labels[train],
            val_x=scaled(images, val),
            val_y=labels[val],
            test_x=scaled(test_images, test),
            test_y=test_labels[test],
        )

    def _corrupt(self, path: Path, what: str) -> UserError:
        return UserError(f"data={self.name}: {path} is corrupt ({what}); delete or replace it")


def scaled(images: Tensor, rows: Tensor) -> Tensor:
    """Some of the images [N, ...] of bytes, as float32 in [0, 1]."""
    made = room_for((len(rows), *images.shape[1:]))
    for start in range(0, len(rows), 5000):
        torch.div(images[rows[start : start + 5000]], 255, out=made[start : start + 5000])
    return made


def writable(folder: Path) -> bool:
    """Whether the folder, or the nearest one above that exists, is meant to be written.

    The mode counts besides the permission, for an administrator is permitted to write read-only folders.
    """
    nearest = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK) and bool(nearest.stat().st_mode & 0o222)


def cache_root() -> Path:
    """The folder of this user for unpacked data: fanin/data under XDG_CACHE_HOME, else under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "fanin" / "data"


def reason(error: BaseException) -> str:
    """An error in a few words: the last line of torchvision's report, or the system's, without its number."""
    text = str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
    last = text.splitlines()[-1].removeprefix("<urlopen error ").removesuffix(">")
    place = getattr(error, "filename", None)
    return re.sub(r"^\[Errno -?\d+\] ", "", last) + (f": {place}" if place else "")


@contextlib.contextmanager
def quiet(patience: float) -> Iterator[None]:
    """Keep torchvision's progress bars off the terminal, and wait `patience` seconds for a silent server."""
    before = socket.getdefaulttimeout()  # torchvision itself sets no limit
    socket.setdefaulttimeout(patience)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)
