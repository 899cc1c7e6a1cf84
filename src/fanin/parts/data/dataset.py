"""What a loaded data set is, and what every option of the group `data` shares.

The split is a property of the data set, not of the run: its random stream depends on the data set's name
alone, so that runs of different seeds, on different machines, train on and are tested on the same examples.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fanin.errors import OptionError, flag, integer, number
from fanin.streams import generator


@dataclass(frozen=True, eq=False)
class Dataset:
    """A whole data set in memory, in three parts.

    Args:
        name: the option's name, e.g. "mnist".
        classes: K, the number of classes; labels are 0..K-1.
        train_x, val_x, test_x: inputs [N, *input_shape], numbers of any type; the validation part may have 0 rows.
        train_y, val_y, test_y: labels [N], int64; or numbers to be estimated [N], floating point, with classes = 1.
        notes: lines that a user is to read, such as how many values were missing.
        target_scale: mean m and standard deviation s by which numbers t became the targets (t - m) / s.
    """

    name: str
    classes: int
    train_x: Tensor
    train_y: Tensor
    val_x: Tensor
    val_y: Tensor
    test_x: Tensor
    test_y: Tensor
    notes: tuple[str, ...] = ()
    target_scale: tuple[float, float] = (0.0, 1.0)

    @property
    def regression(self) -> bool:
        """Whether the targets are numbers to be estimated, and no classes."""
        return self.train_y.is_floating_point()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example: (1, 28, 28) for an image, (features,) for a vector."""
        return tuple(self.train_x.shape[1:])

    @property
    def integers(self) -> bool:
        """Whether the inputs are integers: token numbers, or features that are counts."""
        return not (self.train_x.is_floating_point() or self.train_x.dtype == torch.bool)

    @property
    def in_features(self) -> int:
        """The number of values in one example, the fan_in of a first fully connected layer."""
        return math.prod(self.input_shape)

    def to(self, device: str | torch.device, dtype: torch.dtype = torch.float32, *, indices: bool = False) -> Dataset:
        """The same data on a device, labels in int64, inputs and other targets in the `dtype` of the weights.

        Args:
            device: where to.
            dtype: of the weights.
            indices: whether inputs that are integers are indices, which become int64.
        """
        wanted = torch.int64 if indices and self.integers else dtype
        target = dtype if self.regression else torch.int64
        return replace(
            self,
            train_x=self.train_x.to(device, wanted),
            train_y=self.train_y.to(device, target),
            val_x=self.val_x.to(device, wanted),
            val_y=self.val_y.to(device, target),
            test_x=self.test_x.to(device, wanted),
            test_y=self.test_y.to(device, target),
        )


class Source:
    """An option of the group `data`: settings checked at once, files touched by `load()` only.

    Args:
        val_size: training examples held out for validation, >= 0 and fewer than the training set has; not used where
            a fold is chosen.
        limit: only the first so many training examples after the split; all where it is null or more.
        folds: k of k-fold cross-validation, >= 2 and at most the training examples; all: a fold for each of them, the
            i-th holds the i-th example of the split's order out (leave-one-out).
        fold: the fold that is held out for validation, 0..folds-1, so that a sweep over all of them is a
            cross-validation; null: val_size examples are held out instead.
        stratified: whether each class's examples are dealt out to the folds evenly.
        repeat: the number of the repetition of a repeated cross-validation, 0 for the first: another random order in
            which the examples are dealt out to the folds; only with a fold.
        random_labels: the share of the training examples, from 0 to 1, whose label is replaced by a random one.
        label_noise: the share of the training examples, from 0 to 1, whose label is replaced by a wrong one.
    """

    name: ClassVar[str]
    random_labels: float = 0.0
    label_noise: float = 0.0
    repeat: int = 0

    def __init__(
        self,
        *,
        val_size: int,
        limit: int | None,
        folds: int | str = 5,
        fold: int | None = None,
        stratified: bool = True,
        repeat: int = 0,
        random_labels: float = 0.0,
        label_noise: float = 0.0,
    ) -> None:
        self.val_size = integer("val_size", val_size, low=0)
        self.limit = limit
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise OptionError("limit", limit, "null or an integer >= 1")
        if folds != "all":
            try:
                integer("folds", folds, low=2)
            except OptionError as error:
                raise OptionError("folds", error.value, "an integer >= 2, or all") from None
        self.folds, self.fold = folds, fold
        most = None if isinstance(folds, str) else folds - 1
        whole = isinstance(fold, int) and not isinstance(fold, bool)
        if fold is not None and not (whole and fold >= 0 and (most is None or fold <= most)):
            told = ("", "") if most is None else (f" and <= {most}", f"there are {folds} folds")
            raise OptionError("fold", fold, f"null or an integer >= 0{told[0]}", told[1])
        self.stratified = flag("stratified", stratified)
        self.repeat = integer("repeat", repeat, low=0)
        if repeat and (fold is None or isinstance(folds, str)):
            without = ("0 without data.fold", "or take data.fold=0,1,2,3,4")
            leaving = ("0 with data.folds=all", "which leaves each example out once in any order")
            raise OptionError("repeat", repeat, *(without if fold is None else leaving))
        self.random_labels = number("random_labels", random_labels, 0, 1)
        self.label_noise = number("label_noise", label_noise, 0, 1)
        if self.random_labels and self.label_noise:
            raise OptionError("label_noise", label_noise, f"0 with random_labels={random_labels:g}", "take one of them")

    def load(self) -> Dataset:
        """The data set, split and scaled."""
        raise NotImplementedError

    def with_random_labels(self, data: Dataset) -> Dataset:
        """The data set that `load` has given, with the labels of a share of its training examples drawn anew.

        round(random_labels * N) of the N examples of the training part, chosen at random, get one of the K classes
        with equal probability, so that one of K keeps its own by chance. Validation and test part stay true: what is
        learned of random labels is of no use there. Like the split this is of the data set, not of the run: the stream
        depends on its name alone, and examples that are chosen at a small share are chosen at a larger one as well.
        Source: Zhang, Bengio, Hardt, Recht & Vinyals 2017.
        """
        examples = len(data.train_y)
        chosen = round(self.random_labels * examples)
        if not chosen or data.regression:  # which is refused together with the loss
            return data
        stream = generator(0, "random_labels", self.name)
        order = torch.randperm(examples, generator=stream)[:chosen]
        drawn = torch.randint(data.classes, (examples,), generator=stream)
        labels = data.train_y.clone()
        labels[order] = drawn[order]
        return replace(data, train_y=labels)

    def with_label_noise(self, data: Dataset) -> Dataset:
        """The data set that `load` has given, with the labels of a share of its training examples wrong.

        Symmetric noise: round(label_noise * N) of the N examples of the training part, chosen at random, get one of the
        K - 1 other classes with equal probability, so that exactly this share is wrong, where random_labels leaves one
        of K right by chance. Validation and test part stay true. As with random_labels the draw is of the data set,
        and examples that are wrong at a small share are wrong in the same way at a larger one.
        Source: Natarajan, Dhillon, Ravikumar & Tewari 2013; van Rooyen, Menon & Williamson 2015.
        """
        examples = len(data.train_y)
        chosen = round(self.label_noise * examples)
        if not chosen or data.regression:  # which is refused together with the loss
            return data
        stream = generator(0, "label_noise", self.name)
        order = torch.randperm(examples, generator=stream)[:chosen]
        shift = torch.randint(1, max(data.classes, 2), (examples,), generator=stream)
        labels = data.train_y.clone()
        labels[order] = (labels[order] + shift[order]) % data.classes
        return replace(data, train_y=labels)

    def dealt(self, order: Tensor) -> Tensor:
        """The order [n] in which examples are dealt out to the folds: the split's, or that of a further repetition."""
        if not self.repeat:
            return order
        return order[torch.randperm(len(order), generator=generator(0, "split", self.name, self.repeat))]

    def split_order(self, examples: int) -> Tensor:
        """A random order [examples] of 0..examples-1, the same in every run: the stream is the name's."""
        return torch.randperm(examples, generator=generator(0, "split", self.name))

    def hold_out(self, order: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The order's indices as (training, validation), each in that order.

        Without a fold, validation is taken from the end and training from the start, so that the first `limit`
        training examples are the same for every val_size.

        Args:
            order: indices [n] of the training examples, validation included.
            labels: of all examples, those of the order among them.

        Raises:
            OptionError: val_size leaves nothing to train on, or there are more folds than examples.
        """
        if self.fold is not None:
            order = self.dealt(order)
            held = self._fold(labels[order])
            return order[~held][: self.limit], order[held]
        remaining = len(order) - self.val_size
        if remaining < 1:
            raise OptionError("val_size", self.val_size, f"smaller than {self.name}'s {len(order)} training examples")
        return order[:remaining][: self.limit], order[remaining:]

    def _fold(self, labels: Tensor) -> Tensor:
        """Which of the examples, given by their labels [n] in the split's order, are in the fold; bool [n]."""
        if isinstance(self.folds, str):
            if (self.fold or 0) >= len(labels):
                allowed = f"null or an integer >= 0 and <= {len(labels) - 1}"
                raise OptionError("fold", self.fold, allowed, f"there are {len(labels)} training examples, a fold each")
            return torch.arange(len(labels)) == (self.fold or 0)
        from sklearn.model_selection import KFold, StratifiedKFold  # takes a second

        stratified = self.stratified and not labels.is_floating_point()
        most = int(labels.bincount().max()) if stratified else len(labels)
        if self.folds > most and stratified and self.folds <= len(labels):
            fix = "or take data.stratified=false"
            raise OptionError("folds", self.folds, f"at most {most}, the examples of the largest class", fix)
        if self.folds > len(labels):
            raise OptionError("folds", self.folds, f"at most {self.name}'s {len(labels)} training examples")
        # The order is random already: sklearn need not shuffle.
        splitter = (StratifiedKFold if stratified else KFold)(self.folds)
        with warnings.catch_warnings():  # a class with fewer examples than folds is missing from some of them
            warnings.simplefilter("ignore", UserWarning)
            held_out = [held for _, held in splitter.split(labels, labels)][self.fold or 0]
        chosen = torch.zeros(len(labels), dtype=torch.bool)
        chosen[torch.from_numpy(held_out)] = True
        return chosen
