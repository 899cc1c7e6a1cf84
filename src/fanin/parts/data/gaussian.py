"""Synthetic classes: Gaussian clouds whose difficulty is one number."""

from __future__ import annotations

import torch
from torch import Tensor

from fanin.errors import OptionError, integer, number
from fanin.parts.data.dataset import Dataset, Source
from fanin.streams import generator


class Gaussian(Source):
    """One Gaussian cloud a class: $x = separation * mu_y + noise$, $noise ~ N(0, I)$, $||mu_y|| = 1$.

    The directions mu_y are independent and uniform on the unit sphere; with many features they are nearly
    orthogonal, and two classes lie about $separation * sqrt(2)$ apart. The best possible error of two classes
    alone is $Phi(-separation ||mu_1 - mu_2|| / 2)$. Labels are balanced: the class sizes of a part (training
    with validation, test) differ by one at most.

    Args:
        examples: number of training examples, those held out for validation included; at least one a class.
        features: d, number of inputs, >= 1.
        classes: K, number of classes, >= 2.
        separation: distance of a class's centre from the origin, in standard deviations of the noise, >= 0.
        val_size: training examples held out for validation, 0 <= val_size < examples.
        test_size: number of test examples, >= 1.
        limit: only the first so many training examples; null for all.
        seed: of the data themselves, apart from the run's seed.
        root: not used, for there is no file to look for; accepted for sweeps over data sets.
        folds, fold, stratified, repeat: cross-validation in place of val_size; see Source.
        random_labels, label_noise: of a share of the training examples; see Source.

    >>> data = Gaussian(examples=50, features=3, classes=2, val_size=10, test_size=20).load()
    >>> data.train_x.shape, data.val_x.shape, data.test_x.shape, data.classes
    (torch.Size([40, 3]), torch.Size([10, 3]), torch.Size([20, 3]), 2)
    """

    name = "gaussian"

    def __init__(
        self,
        *,
        examples: int = 5000,
        features: int = 100,
        classes: int = 10,
        separation: float = 4.0,
        val_size: int = 500,
        test_size: int = 1000,
        limit: int | None = None,
        seed: int = 0,
        root: str | None = None,
        folds: int | str = 5,
        fold: int | None = None,
        stratified: bool = True,
        repeat: int = 0,
        random_labels: float = 0.0,
        label_noise: float = 0.0,
    ) -> None:
        super().__init__(
            val_size=val_size, limit=limit, folds=folds, fold=fold, stratified=stratified, repeat=repeat,
            random_labels=random_labels, label_noise=label_noise,
        )  # fmt: skip
        self.classes = integer("classes", classes, low=2)
        self.examples = integer("examples", examples, low=self.classes)
        self.features = integer("features", features, low=1)
        self.separation = number("separation", separation, low=0)
        self.test_size = integer("test_size", test_size, low=1)
        self.seed = integer("seed", seed, low=0)
        if val_size >= examples and fold is None:
            raise OptionError("val_size", val_size, f"smaller than examples={examples}")

    def centres(self) -> Tensor:
        """The unit vectors mu [classes, features], float32."""
        directions = torch.randn(self.classes, self.features, generator=self._stream("centres"))
        return torch.nn.functional.normalize(directions, dim=1)

    def load(self) -> Dataset:
        """The data set, inputs [N, features] float32, the same for the same settings."""
        x, y = self._draw("train", self.examples)
        train, val = self.hold_out(self.split_order(self.examples), y)
        test_x, test_y = self._draw("test", self.test_size)
        return Dataset(
            self.name,
            self.classes,
            train_x=x[train],
            train_y=y[train],
            val_x=x[val],
            val_y=y[val],
            test_x=test_x,
            test_y=test_y,
        )

    def _draw(self, part: str, count: int) -> tuple[Tensor, Tensor]:
        """`count` examples of one part: inputs [count, features] and labels [count]."""
        stream = self._stream(part)
        labels = torch.arange(count)[torch.randperm(count, generator=stream)] % self.classes
        noise = torch.randn(count, self.features, generator=stream)
        return noise + self.separation * self.centres()[labels], labels

    def _stream(self, part: str) -> torch.Generator:
        return generator(self.seed, "data set", self.name, part)
