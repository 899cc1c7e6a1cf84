"""Pooling: the mean or the largest of a window of places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fanin.theory.bands import MEAN_FIELD, weakest
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.pairs import PairMaps
from fanin.theory.signals import Flow, Signal
from fanin.theory.stages.base import NoRule, Place, Stage, outer, set_diagonal

DRAWN = 400
"""Maps that are drawn, in pairs of opposite sign."""

KNOTS = np.cos(np.pi * (np.arange(9) + 0.5) / 9)
"""Correlations of two examples at which they are compared; in between a polynomial."""


@dataclass(frozen=True)
class Averaged(Stage):
    """The mean over windows of places: K'(p) = mean over the window's pairs of places.

    What two examples have in common at two places is taken to be as much less than at one as it is for one example.

    Args:
        kernel: height and width of the window, as its stride; None for the whole map.
    """

    kernel: tuple[int, int] | None

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        windows, size = _windows(x, self.kernel)
        if x.field is None:
            raise NoRule("it averages places of which it is not known what they have in common")
        inside = x.field[windows[:, :, None], windows[:, None, :]]
        less = inside.mean((1, 2)) / np.maximum(np.diagonal(x.field)[windows].mean(1), 1e-300)
        gram = x.gram[windows].mean(1) * less[:, None, None]
        count = len(x.field)
        mix = np.zeros((len(windows), count))
        np.put_along_axis(mix, windows, 1 / windows.shape[1], axis=1)
        return replace(
            x,
            gram=gram,
            mean=x.mean[windows].mean(1),
            field=mix @ x.field @ mix.T if len(windows) > 1 else None,
            size=size if len(windows) > 1 else None,
            normal=x.normal,
            before=None,
            draw=None,
            source=weakest([x.source, MEAN_FIELD]),
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        raise NoRule("the gradients of the places that it averages are one")


@dataclass(frozen=True)
class Largest(Stage):
    """The largest of a window of places, of an activation of normal ones: from drawn maps of one example's field.

    Of two examples the maps are drawn with their correlation at the window, and products are a polynomial in it.

    Args:
        kernel: height and width of the window, as its stride.
    """

    kernel: tuple[int, int]

    def forward(self, inputs: Sequence[Signal], at: Place) -> Signal:
        """See Stage."""
        (x,) = inputs
        (products, _), (windows, size), largest = self._drawn(x, at)
        squares, places = x.squares[windows].mean(1), _correlation(x, windows)
        ratio = _between(products, places) / np.maximum(_between(products, np.ones((len(windows), 1, 1))), 1e-300)
        assert x.field is not None
        level = (largest**2).mean(0) / np.maximum(np.diagonal(x.field)[windows].mean(1), 1e-300)
        gram = ratio * np.sqrt(outer(squares)) * level[:, None, None]
        set_diagonal(gram, squares * level[:, None])
        mean = largest.mean(0)[:, None] * np.sqrt(
            squares * level[:, None] / np.maximum((largest**2).mean(0)[:, None], 1e-300)
        )
        field = largest.T @ largest / len(largest)
        return replace(
            x,
            gram=gram,
            mean=mean,
            field=field if len(windows) > 1 else None,
            size=size,
            before=None,
            normal=False,
            draw=None,
            source=weakest([x.source, MEAN_FIELD]),
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        (x,) = inputs
        (_, chosen), (windows, _), _ = self._drawn(x, at)
        assert x.before is not None
        z, activation = x.before
        maps: PairMaps = vars(activation).setdefault("pair_maps", PairMaps(activation))
        gram = np.zeros_like(x.gram)
        places = _correlation(x, windows)
        slopes = maps.pairs(z.gram).slopes
        set_diagonal(slopes, maps.lengths(z.squares).slope)
        for number in range(windows.shape[1]):
            both = _between(chosen[..., number], places)
            gram[windows[:, number]] = flow.gram * both / np.maximum(slopes[windows[:, number]], 1e-300)
        return [replace(flow, gram=gram, factor=None, along=None, draw=None)]

    def _drawn(
        self, x: Signal, at: Place
    ) -> tuple[tuple[FloatArray, FloatArray], tuple[np.ndarray, tuple[int, int]], FloatArray]:
        """Means of products of two examples' largest, and of their slopes where both have it at one place."""
        if x.before is None or x.before[0].field is None:
            raise NoRule("it takes no activation of weighted sums")
        z, activation = x.before
        windows, size = _windows(x, self.kernel)
        field = z.field
        assert field is not None
        values, vectors = np.linalg.eigh(field)
        root = vectors * np.sqrt(np.maximum(values, 0))
        rng = np.random.default_rng(at.index)
        half = rng.standard_normal((2, DRAWN // 2, len(field))) @ root.T
        first, second = np.concatenate([half, -half], axis=1)
        second = np.concatenate([second[: DRAWN // 2], second[: DRAWN // 2]])  # pairs of all signs
        one = self._of(activation, first, windows)
        products, chosen = np.zeros((len(KNOTS), len(windows))), np.zeros((len(KNOTS), *windows.shape))
        for number, r in enumerate(KNOTS):
            other = self._of(activation, r * first + np.sqrt(1 - r * r) * second, windows)
            products[number] = (one[0] * other[0]).mean(0)
            chosen[number] = (one[1] * other[1]).mean(0)
        return (products.T, chosen.transpose(1, 0, 2)), (windows, size), one[0]

    @staticmethod
    def _of(activation: object, z: FloatArray, windows: np.ndarray) -> tuple[FloatArray, FloatArray]:
        """The largest of each window, [draws, windows], and the slope where it is, [draws, windows, places]."""
        inside = z[:, windows]
        x = activation.phi(inside.ravel()).reshape(inside.shape)  # type: ignore[attr-defined]
        slope = activation.derivative(inside.ravel()).reshape(inside.shape)  # type: ignore[attr-defined]
        first = np.arange(windows.shape[1]) == x.argmax(2)[..., None]
        return x.max(2), slope * first


def _windows(x: Signal, kernel: tuple[int, int] | None) -> tuple[np.ndarray, tuple[int, int]]:
    """The places of each window, [windows, places], and the windows' own map."""
    if x.size is None:
        raise NoRule("it takes no map")
    height, width = kernel or x.size
    size = x.size[0] // height, x.size[1] // width
    at = np.arange(x.size[0] * x.size[1]).reshape(x.size)[: size[0] * height, : size[1] * width]
    at = at.reshape(size[0], height, size[1], width).transpose(0, 2, 1, 3)
    return at.reshape(size[0] * size[1], height * width), size


def _correlation(x: Signal, windows: np.ndarray) -> FloatArray:
    """Of two examples' weighted sums at a window, [windows, B, B]."""
    assert x.before is not None
    gram = x.before[0].gram[windows].mean(1)
    squares = np.sqrt(np.maximum(np.diagonal(gram, axis1=1, axis2=2), 1e-300))
    return np.asarray(np.clip(gram / outer(squares), -1, 1))


def _between(values: FloatArray, at: FloatArray) -> FloatArray:
    """The polynomials that have some values [windows, knots] at KNOTS, at correlations [windows, B, B]."""
    coefficients = np.polynomial.chebyshev.chebfit(KNOTS, values.T, len(KNOTS) - 1)
    flat = at.reshape(len(at), -1)
    found = np.empty_like(flat)
    for row in range(len(flat)):
        found[row] = np.polynomial.chebyshev.chebval(flat[row], coefficients[:, row])
    return found.reshape(at.shape)
