"""Preprocessing of inputs: fitted on the training part alone, the same map for all parts.

scikit-learn does the fitting, in float64; the result is float32. Nothing of the validation or test part enters
the numbers, so these parts may leave the range, mean or variance that the training part is given.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fanin.errors import OptionError, UserError, choice, number
from fanin.parts.data import Dataset

Table = NDArray[np.float64]
ROWS = 5000
"""Examples that are transformed at once: MNIST in float64 takes 400 MB."""
LOOKED_AT = 1000
"""Training examples whose size is looked at."""
USUAL = (1 / 30, 10.0)
"""Root mean squares of inputs about which nothing is said."""
RANK = 1e-10
"""Variance of a direction, as a share of the largest, that counts as none: float32 inputs leave some 1e-15."""


class Preprocess(ABC):
    """A map of inputs that is fitted to the training part.

    Args of the call:
        data: inputs [N, *input_shape] of all parts; those of the training part decide.

    Returns:
        the data set with mapped inputs, float32, on the same device; labels as they were.
    """

    neutral: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, data: Dataset) -> Dataset:
        """The data set with its inputs mapped."""


@dataclass(kw_only=True)
class NoPreprocess(Preprocess):
    """Inputs as the data set gives them.

    Initializers count on inputs whose root mean square is near 1; where that of the first 1,000 training examples is
    below 1/30 or above 10, as that of ages and prices is, the user is told.

    >>> told = NoPreprocess()(Dataset("mine", 2, *[torch.full((2, 3), 40.0), torch.zeros(2).long()] * 3)).notes
    >>> told[0].partition(";")[0]
    'preprocess=none: the root mean square of the inputs is 40'
    """

    neutral: ClassVar[bool] = True

    def __call__(self, data: Dataset) -> Dataset:
        """The data set itself, with a note where its inputs are far from size 1."""
        some = data.train_x[:LOOKED_AT]
        if not some.is_floating_point() or not len(some):
            return data
        size = float(torch.linalg.vector_norm(some)) / math.sqrt(some.numel())
        if size == 0 or not math.isfinite(size) or USUAL[0] <= size <= USUAL[1]:
            return data
        said = f"preprocess=none: the root mean square of the inputs is {size:.3g}"
        return replace(data, notes=(*data.notes, f"{said}; preprocess=standardize makes it 1"))


@dataclass(kw_only=True)
class Center(Preprocess):
    """$x <- x - mean$, for each feature by itself. Source: LeCun, Bottou, Orr & Müller 1998.

    >>> import torch
    >>> x, y = torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1])
    >>> Center()(Dataset("two", 2, x, y, x[:0], y[:0], x, y)).train_x
    tensor([[-1.],
            [ 1.]])
    """

    def __call__(self, data: Dataset) -> Dataset:
        """The data set with a training part of mean 0; see Preprocess."""
        from sklearn.preprocessing import StandardScaler

        return _scaled(data, StandardScaler(with_std=False))


@dataclass(kw_only=True)
class MinMax(Preprocess):
    """Each feature scaled to [low, high]: $x <- low + (high - low) (x - min) / (max - min)$.

    A feature that never changes is shifted to low.

    Args:
        low: where the smallest training value goes.
        high: where the largest goes, > low.

    Raises:
        OptionError: a value is not finite, or high is not above low.

    >>> import torch
    >>> x, y = torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1])
    >>> MinMax()(Dataset("two", 2, x, y, x[:0], y[:0], x, y)).train_x
    tensor([[0.],
            [1.]])
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        self.low = number("low", self.low)
        self.high = number("high", self.high, self.low, open_low=True)

    def __call__(self, data: Dataset) -> Dataset:
        """The data set with a training part in [low, high]; see Preprocess."""
        from sklearn.preprocessing import MinMaxScaler

        return _scaled(data, MinMaxScaler((self.low, self.high)))


@dataclass(kw_only=True)
class Standardize(Preprocess):
    """$x <- (x - mean) / std$, with $std^2$ the mean square deviation, divided by N as scikit-learn has it.

    What never changes in the training part (the margin of MNIST's images) is only shifted, not divided. A pixel that
    is set in one training image alone is divided by its small std all the same: per=channel has no such pixels.

    Args:
        per: feature: every entry of an example by itself; channel: one mean and std for all pixels of a channel.

    Raises:
        OptionError: per is unknown; per=channel and the examples are vectors.

    >>> import torch
    >>> x, y = torch.tensor([[1.0], [5.0]]), torch.tensor([0, 1])
    >>> Standardize()(Dataset("two", 2, x, y, x[:0], y[:0], x, y)).train_x
    tensor([[-1.],
            [ 1.]])
    """

    per: str = "feature"

    def __post_init__(self) -> None:
        choice("per", self.per, ("feature", "channel"))

    def __call__(self, data: Dataset) -> Dataset:
        """The data set with a training part of mean 0 and variance 1; see Preprocess."""
        from sklearn.preprocessing import StandardScaler

        if self.per == "channel" and len(data.input_shape) < 2:
            raise OptionError(
                "per", "channel", f"feature for {data.name}", "its examples are vectors, without channels"
            )
        return _scaled(data, StandardScaler(), channels=self.per == "channel")


@dataclass(kw_only=True)
class PcaWhiten(Preprocess):
    """Principal components, each divided by its standard deviation: uncorrelated, of variance 1, the largest first.

    $x <- (x - mean) V diag(lambda + eps lambda_1)^(-1/2)$, where the training part's covariance, divided by N - 1, is
    $V diag(lambda) V^T$. The covariance is then I for eps = 0, and $diag(lambda / (lambda + eps lambda_1))$ otherwise:
    directions in which the training examples hardly differ stay small, where eps = 0 would blow up the test part.
    Directions without variance are left out. Source: LeCun, Bottou, Orr & Müller 1998.

    Examples become vectors [components].

    Args:
        components: how many are kept, at most the rank of the training part; null: as many as that.
        eps: regularization as a share of the largest variance, >= 0.

    Raises:
        OptionError: a value is out of range, or components is more than the rank.
        UserError: all training examples are equal.

    >>> import torch
    >>> x, y = torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]), torch.tensor([0, 1, 1])
    >>> white = PcaWhiten(eps=0.0)(Dataset("three", 2, x, y, x[:0], y[:0], x, y)).train_x  # one direction varies
    >>> white.shape, round(float(white.var()), 4)
    (torch.Size([3, 1]), 1.0)
    """

    components: int | None = None
    eps: float = 1e-5

    def __post_init__(self) -> None:
        given = self.components
        if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 1):
            raise OptionError("components", given, "null or an integer >= 1")
        self.eps = number("eps", self.eps, 0)

    def __call__(self, data: Dataset) -> Dataset:
        """The data set whitened; see Preprocess."""
        mean, matrix = self._fit(data)
        return _mapped(data, lambda x: (x - mean) @ matrix, (matrix.shape[1],))

    def _fit(self, data: Dataset) -> tuple[Table, Table]:
        """The mean [features] and the matrix [features, outputs] that whitens what is left."""
        mean, axes, scales = self._principal(data)
        return mean, axes.T * scales

    def _principal(self, data: Dataset) -> tuple[Table, Table, Table]:
        """The mean [features], the axes [components, features] and what each is to be multiplied with."""
        from sklearn.decomposition import PCA

        if len(data.train_x) < 2:
            raise UserError(f"preprocess: whitening needs 2 training examples at least; {data.name} has one")
        with np.errstate(invalid="ignore"):  # shares of a variance that is 0
            pca = PCA().fit(_table(data.train_x))
        variances: Table = pca.explained_variance_
        rank = int((variances > RANK * variances[0]).sum())
        if not rank:
            raise UserError(f"preprocess: all training examples of {data.name} are equal; there is nothing to whiten")
        count = rank if self.components is None else self.components
        if count > rank:
            raise OptionError("components", count, f"at most {rank}, the rank of {data.name}'s training examples")
        return pca.mean_, pca.components_[:count], (variances[:count] + self.eps * variances[0]) ** -0.5


@dataclass(kw_only=True)
class ZcaWhiten(PcaWhiten):
    """Whitening that changes the inputs least: the whitened principal components rotated back.

    $x <- (x - mean) V diag(lambda + eps lambda_1)^(-1/2) V^T$, with the names of `PcaWhiten`: a symmetric matrix, of
    all that whiten the one with the smallest mean square change of x. What is left out, is left out here as well: the
    result lies in the space that the components span. Images stay images. Source: Bell & Sejnowski 1997.
    Args:
        components: how many are kept, at most the rank of the training part; null: as many as that.
        eps: regularization as a share of the largest variance, >= 0.

    Raises:
        OptionError: a value is out of range, or components is more than the rank.
        UserError: all training examples are equal.
    """

    def __call__(self, data: Dataset) -> Dataset:
        """The data set whitened, in its own shape; see Preprocess."""
        mean, matrix = self._fit(data)
        return _mapped(data, lambda x: (x - mean) @ matrix, data.input_shape)

    def _fit(self, data: Dataset) -> tuple[Table, Table]:
        mean, axes, scales = self._principal(data)
        return mean, (axes.T * scales) @ axes


def _scaled(data: Dataset, scaler: Any, *, channels: bool = False) -> Dataset:
    """The data set through one of scikit-learn's scalers, one column a feature, or one a channel."""
    pixels = data.in_features // data.input_shape[0]

    def arranged(x: Table) -> Table:
        """[rows, C * pixels] as [rows * pixels, C]."""
        return x.reshape(-1, data.input_shape[0], pixels).swapaxes(1, 2).reshape(-1, data.input_shape[0])

    def transform(x: Table) -> Table:
        if not channels:
            return np.asarray(scaler.transform(x))
        moved = np.asarray(scaler.transform(arranged(x)))
        return moved.reshape(len(x), pixels, -1).swapaxes(1, 2).reshape(x.shape)

    for rows in _stretches(data.train_x):
        scaler.partial_fit(arranged(_table(rows)) if channels else _table(rows))
    return _mapped(data, transform, data.input_shape)


def _mapped(data: Dataset, transform: Callable[[Table], Table], shape: tuple[int, ...]) -> Dataset:
    """The data set with every part's inputs [n, features] transformed and given the shape."""

    def mapped(x: Tensor) -> Tensor:
        parts = [torch.from_numpy(transform(_table(rows))).to(torch.float32) for rows in _stretches(x)]
        return torch.cat([torch.empty(0, *shape), *(part.view(-1, *shape) for part in parts)]).to(x.device)

    return replace(data, train_x=mapped(data.train_x), val_x=mapped(data.val_x), test_x=mapped(data.test_x))


def _stretches(x: Tensor) -> Iterator[Tensor]:
    """The examples, some thousand at a time; none of an empty part."""
    return (x[start : start + ROWS] for start in range(0, len(x), ROWS))


def _table(x: Tensor) -> Table:
    """Examples [n, *shape] as a table [n, features] in float64."""
    table: Table = x.flatten(1).double().cpu().numpy()
    return table
