"""The data set of a model that needs none."""

from __future__ import annotations

import torch

from fanin.parts.data.dataset import Dataset, Source


class Point(Source):
    """One example with one input, 0, of class 0: for model=surface, which does not look at it.

    There is nothing to validate and nothing to test on.

    Args:
        root: not used, for there is no file to look for; accepted for sweeps over data sets.
    """

    name = "point"

    def __init__(self, *, root: str | None = None) -> None:
        super().__init__(val_size=0, limit=None)

    def load(self) -> Dataset:
        """The data set: inputs [1, 1] for training, [0, 1] else."""
        inputs, labels = torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)
        nothing, none = inputs[:0], labels[:0]
        return Dataset(self.name, 1, inputs, labels, nothing, none, nothing, none)
