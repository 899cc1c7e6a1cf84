"""scikit-learn's bundled handwritten digits: a real data set that needs no download."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fanin.errors import integer
from fanin.parts.data.dataset import Dataset, Source
from fanin.parts.data.selection import checked_classes, keep, renumber

TEST_SIZE = 297  # of 1797, so that 1500 remain for training


class Digits(Source):
    """1797 handwritten digits of 8 x 8 pixels, enlarged to image_size x image_size, values in [0, 1].

    Values 0..16 are divided by 16 and enlarged by bilinear interpolation (align_corners=False). The test part
    of 297 examples is stratified by class; validation examples are taken from the remaining 1500.

    Args:
        image_size: pixels a side; 8 leaves the images as they are.
        val_size: training examples held out for validation, 0..1499.
        limit: only the first so many training examples; null for all.
        root: not used, for there is no file to look for; accepted for sweeps over data sets.
        folds, fold, stratified, repeat: cross-validation in place of val_size; see Source.
        random_labels, label_noise: of a share of the training examples; see Source.
        classes: the digits that are kept, numbered from 0 in the order given; null for all ten. The test part is
            what they leave of the ten-class one.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (1998), its test part.
    """

    name = "digits"

    def __init__(
        self,
        *,
        image_size: int = 28,
        val_size: int = 200,
        limit: int | None = None,
        root: str | None = None,
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
        self.classes = checked_classes(classes, 10)
        self.image_size = integer("image_size", image_size, low=1, high=256)

    def load(self) -> Dataset:
        """The data set, inputs [N, 1, image_size, image_size] float32."""
        table = read_table()
        labels = torch.from_numpy(table[:, 64].astype(np.int64))
        images = enlarge(torch.from_numpy(table[:, :64].astype(np.float32)) / 16, self.image_size)
        rest, test = stratified(self.split_order(len(labels)), labels, TEST_SIZE)
        rest, test = (keep(self.classes, part, labels) for part in (rest, test))
        train, val = self.hold_out(rest, labels)
        labels = renumber(self.classes, labels)
        return Dataset(
            self.name,
            10 if self.classes is None else len(self.classes),
            train_x=images[train],
            train_y=labels[train],
            val_x=images[val],
            val_y=labels[val],
            test_x=images[test],
            test_y=labels[test],
        )


def read_table() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The digits as a table [1797, 65]: 64 pixels 0..16, then the label.

    Importing scikit-learn takes a second, so its file is read without it, where it is at the known place.
    """
    spec = importlib.util.find_spec("sklearn")  # finds the folder, imports nothing
    for folder in (spec and spec.submodule_search_locations) or ():
        archive = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if archive.is_file():
            return np.loadtxt(archive, delimiter=",")
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return np.column_stack([pixels, labels])


def enlarge(pixels: Tensor, size: int) -> Tensor:
    """Images [N, 64] of 8 x 8 as [N, 1, size, size], by bilinear interpolation between pixel centres."""
    images = pixels.reshape(-1, 1, 8, 8)
    # Weights that sum to one but for rounding may leave [0, 1] by a unit in the last place.
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False).clamp_(0, 1)


def stratified(order: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The order's indices as (rest, chosen): `size` chosen, each class's number within one of its share.

    Shares size * n_k / n are rounded down; what is missing goes to the largest fractions.
    """
    share = size * torch.bincount(labels).double() / len(labels)
    quota = share.floor().long()
    missing = size - int(quota.sum())
    quota[(share - quota).argsort(descending=True, stable=True)[:missing]] += 1
    chosen = torch.zeros(len(order), dtype=torch.bool)
    for label, count in enumerate(quota.tolist()):
        chosen[(labels[order] == label).nonzero().flatten()[:count]] = True
    return order[~chosen], order[chosen]
