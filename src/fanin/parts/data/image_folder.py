"""Images of the user's own, in a folder for each class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fanin.errors import OptionError, UserError, flag, integer
from fanin.parts.data.dataset import Dataset, Source
from fanin.parts.data.digits import stratified as stratified_split
from fanin.parts.data.row_splits import share_of
from fanin.parts.data.storage import room_for
from fanin.process import typed_path

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")

PARTS = ("train", "val", "test")
"""Folders that have the class folders of a part each, where the user has split the images already."""


class Folder(Source):
    """Images in a folder for each class, whose names are the classes in sorted order; values in [0, 1].

    path/CLASS/.../IMAGE; or, split already, path/train/CLASS, path/test/CLASS and maybe path/val/CLASS. Each image is
    cut to its middle square, and that scaled to image_size x image_size (bilinear, with antialiasing). Where there is
    no folder test, a share of each class's images is the test part. Images that are too many for the memory lie in a
    file that is mapped, see `storage`.

    Args:
        path: the folder; a relative one starts from root.
        root: folder that a relative path starts from; null for that in which the command was typed.
        image_size: pixels a side.
        colour: whether images have three channels; else one, the luminance.
        test_size: share of the images, or how many of them; not used where there is a folder test.
        val_size: images held out for validation; null for a tenth of those that are left; not used where there is a
            folder val.
        limit: only the first so many training examples; null for all.
        folds, fold, stratified, repeat: cross-validation in place of val_size; see Source.
        random_labels, label_noise: of a share of the training examples; see Source.

    Raises:
        OptionError: a value is out of range, or there is no such folder.
        UserError: there are fewer than two classes, or an image cannot be read.
    """

    name = "folder"

    def __init__(
        self,
        *,
        path: str | None = None,
        root: str | None = None,
        image_size: int = 28,
        colour: bool = False,
        test_size: float = 0.2,
        val_size: int | None = None,
        limit: int | None = None,
        folds: int | str = 5,
        fold: int | None = None,
        stratified: bool = True,
        repeat: int = 0,
        random_labels: float = 0.0,
        label_noise: float = 0.0,
    ) -> None:
        super().__init__(
            val_size=0 if val_size is None else val_size,
            limit=limit, folds=folds, fold=fold, stratified=stratified, repeat=repeat, random_labels=random_labels,
            label_noise=label_noise,
        )  # fmt: skip
        self.default_val_size = val_size is None
        for key, value in (("path", path), ("root", root)):
            if value is not None and not isinstance(value, str):
                raise OptionError(key, value, "a folder's path or null")
        self.path, self.root = path, root
        self.image_size = integer("image_size", image_size, low=1, high=4096)
        self.colour = flag("colour", colour)
        self.test_size = share_of("test_size", test_size)

    def load(self) -> Dataset:
        """The data set, inputs [N, 1 or 3, image_size, image_size] float32."""
        folder = self._folder()
        parts = {name: folder / name for name in PARTS if (folder / name).is_dir()}
        split = "train" in parts and "test" in parts
        classes = classes_of(parts["train"] if split else folder)
        files = {name: listed(place, classes) for name, place in (parts if split else {"train": folder}).items()}
        labels = torch.tensor([label for _, label in files["train"]], dtype=torch.int64)
        order, test = self.split_order(len(labels)), torch.empty(0, dtype=torch.int64)
        if not split:
            size = round(self.test_size * len(labels)) if self.test_size < 1 else int(self.test_size)
            if size >= len(labels):
                raise OptionError("test_size", self.test_size, f"fewer than the {len(labels)} images")
            order, test = stratified_split(order, labels, size)
        if self.default_val_size:
            self.val_size = 0 if "val" in files else len(order) // 10
        if "val" in files and self.fold is not None:
            raise OptionError("fold", self.fold, "null where there is a folder val", f"or move {parts['val']} away")
        train, val = self.hold_out(order, labels)
        chosen = {
            "train": [files["train"][place] for place in train.tolist()],
            "val": files.get("val") or [files["train"][place] for place in val.tolist()],
            "test": files.get("test") or [files["train"][place] for place in test.tolist()],
        }
        inputs = {name: self._pixels([file for file, _ in listed]) for name, listed in chosen.items()}
        targets = {name: torch.tensor([y for _, y in listed], dtype=torch.int64) for name, listed in chosen.items()}
        return Dataset(
            self.name, len(classes), inputs["train"], targets["train"], inputs["val"], targets["val"], inputs["test"],
            targets["test"],
        )  # fmt: skip

    def _folder(self) -> Path:
        kind = "a folder with a folder of images for each class"
        if self.path is None:
            raise OptionError("path", None, kind, "such as data.path=images")
        folder = typed_path(Path(self.root or ".").expanduser()) / Path(self.path).expanduser()
        if not folder.is_dir():
            raise OptionError("path", self.path, kind, f"there is no folder {folder}")
        return folder

    def _pixels(self, files: Sequence[Path]) -> Tensor:
        """Images as one tensor."""
        channels = 3 if self.colour else 1
        made = room_for((len(files), channels, self.image_size, self.image_size))
        for place, file in enumerate(files):
            made[place] = read_image(file, self.image_size, colour=self.colour)
        return made


def read_image(file: Path, size: int, *, colour: bool) -> Tensor:
    """The middle square of an image, scaled to [1 or 3, size, size], float32 in [0, 1].

    Raises:
        UserError: it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            square = ImageOps.fit(image.convert("RGB" if colour else "L"), (size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises
        said = " ".join(str(error).split())
        raise UserError(f"data=folder: {file} cannot be read as an image ({said}); repair or remove it") from None
    pixels = torch.from_numpy(np.array(square, dtype=np.float32) / 255)
    return pixels.reshape(size, size, -1).permute(2, 0, 1)


def classes_of(folder: Path) -> list[str]:
    """The names of the folders with images in a folder, sorted.

    Raises:
        UserError: there are fewer than two.
    """
    found = sorted(one.name for one in folder.iterdir() if one.is_dir() and next(images_in(one), None) is not None)
    if len(found) < 2:
        there = f"only {found[0]} has some" if found else "none has some"
        raise UserError(f"data=folder: {folder} must have folders of images ({there}), two classes at least")
    return found


def listed(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """The images of a folder with their labels, in the order of their names.

    Raises:
        UserError: a folder is of no known class.
    """
    own = {one.name for one in folder.iterdir() if one.is_dir() and next(images_in(one), None) is not None}
    if unknown := sorted(own - {*classes}):
        raise UserError(f"data=folder: {folder / unknown[0]} is no class of the training part: {', '.join(classes)}")
    return [(file, label) for label, name in enumerate(classes) for file in sorted(images_in(folder / name))]


def images_in(folder: Path) -> Iterator[Path]:
    """The images below a folder."""
    return (one for one in folder.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
