"""Pooling: the mean or the largest of a window of places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fanin.theory.bands import MEAN_FIELD, weakest
from fanin.theory.drawn_maps import gram_at, scaled, single
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.signals import Flow, Signal
from fanin.theory.stages.base import NoRule, Place, Stage, outer, set_diagonal, then

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
        every = _of_all(windows, len(x.gram), len(x.field))
        inside = x.field[every[:, :, None], every[:, None, :]].mean((1, 2)).reshape(-1, len(windows)).mean(0)
        alone = np.diagonal(x.field)[every].mean(1).reshape(-1, len(windows)).mean(0)
        gram = x.gram[windows].mean(1) * (inside / np.maximum(alone, 1e-300))[:, None, None]
        mix = np.zeros((len(every), len(x.field)))
        np.put_along_axis(mix, every, 1 / windows.shape[1], axis=1)
        return replace(
            x,
            gram=gram,
            mean=x.mean[windows].mean(1),
            field=mix @ x.field @ mix.T if len(windows) > 1 else None,
            size=size if len(windows) > 1 else None,
            normal=x.normal,
            before=None,
            draw=None,
            maps=then(x.maps, lambda units: units[windows].mean(1)),
            source=weakest([x.source, MEAN_FIELD]),
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        (x,) = inputs
        windows, _ = _windows(x, self.kernel)
        flow = _of_windows(output, flow, at)
        each = windows.shape[1]

        def spread_out(deltas: FloatArray) -> FloatArray:
            maps = np.zeros((len(deltas), len(x.gram), *deltas.shape[2:]), np.float32)
            maps[:, windows] = deltas[:, :, None] / each
            return single(maps)

        gram = np.zeros((len(x.gram), *flow.gram.shape[1:]))
        gram[windows] = flow.gram[:, None] / each**2
        return [replace(flow, gram=gram, factor=None, along=None, draw=None, maps=then(flow.maps, spread_out))]


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
        products, (windows, size), largest = self._drawn(x, at)
        assert x.field is not None
        squares, places = x.squares[windows].mean(1), _correlation(x, windows)
        ones = np.ones((len(windows), 1, 1))
        every = _of_all(windows, len(x.gram), len(x.field))
        alone = np.diagonal(x.field)[every].mean(1).reshape(-1, len(windows)).mean(0)
        some = alone > 1e-6 * alone.mean()  # of windows that hold nothing there is nothing to know
        at_one = np.where(some[:, None, None], _between(products, ones), 1.0)
        ratio = np.where(some[:, None, None], _between(products, places) / at_one, 1.0)
        whole = (largest**2).mean(0).reshape(-1, len(windows)).mean(0)
        level = np.divide(whole, alone, out=np.ones_like(whole), where=some)
        gram = ratio * np.sqrt(outer(squares)) * level[:, None, None]
        set_diagonal(gram, squares * level[:, None])
        first = largest.mean(0).reshape(-1, len(windows)).mean(0)
        mean = first[:, None] * np.sqrt(squares * level[:, None] / np.maximum(whole[:, None], 1e-300))
        field = largest.T @ largest / len(largest)
        squares_now = squares * level[:, None]
        return replace(
            x,
            gram=gram,
            mean=mean,
            field=field if len(windows) > 1 else None,
            size=size,
            before=None,
            normal=False,
            draw=None,
            maps=then(x.maps, lambda units: scaled(units[windows].max(1), squares_now)),
            source=weakest([x.source, MEAN_FIELD]),
        )

    def backward(self, inputs: Sequence[Signal], output: Signal, flow: Flow, at: Place) -> Sequence[Flow]:
        """See Stage."""
        (x,) = inputs
        windows, _ = _windows(x, self.kernel)
        flow = _of_windows(output, flow, at)
        assert flow.maps is not None
        assert flow.base is not None
        assert x.maps is not None
        deltas = flow.maps()
        units = x.maps()[windows]
        largest = units.argmax(1)
        maps = np.zeros((len(deltas), len(x.gram), *deltas.shape[2:]), np.float32)
        for number, column in enumerate(windows.T):
            maps[:, column] = deltas * (largest == number)
        gram = x.units * gram_at(maps, flow.base.grams)
        return [replace(flow, gram=gram, factor=None, along=None, draw=None, maps=lambda: single(maps))]

    def _drawn(self, x: Signal, at: Place) -> tuple[FloatArray, tuple[np.ndarray, tuple[int, int]], FloatArray]:
        """Means of products of two examples' largest, [windows, knots], the windows, and one example's in each draw."""
        if x.before is None or x.before[0].field is None:
            raise NoRule("it takes no activation of weighted sums")
        z, activation = x.before
        windows, size = _windows(x, self.kernel)
        field = z.field
        assert field is not None
        every = _of_all(windows, len(x.gram), len(field))
        root = np.linalg.cholesky(field + 1e-9 * max(float(np.trace(field)), 1e-300) / len(field) * np.eye(len(field)))
        half = np.random.default_rng(at.index).standard_normal((2, DRAWN // 2, len(field))) @ root.T
        first, second = np.concatenate([half[0], -half[0]]), np.concatenate([half[1], half[1]])
        one = activation.phi(first.ravel()).reshape(first.shape)[:, every].max(2)
        products = np.zeros((len(KNOTS), len(windows)))
        for number, r in enumerate(KNOTS):
            mixed = r * first + np.sqrt(1 - r * r) * second
            other = activation.phi(mixed.ravel()).reshape(mixed.shape)[:, every].max(2)
            products[number] = (one * other).mean(0).reshape(-1, len(windows)).mean(0)
        return products.T, (windows, size), one


def _of_windows(output: Signal, flow: Flow, at: Place) -> Flow:
    """The gradient of the windows with drawn units of it: that of the whole map is one of one place.

    Raises:
        NoRule: nothing knows the gradients of different windows.
    """
    if flow.maps is not None and output.maps is not None:
        return flow
    maps, base = at.above_maps(output, flow) if len(flow.gram) == 1 else (None, None)
    if maps is None:
        raise NoRule("theory has no law for the gradients of such maps")
    return replace(flow, maps=maps, base=base)


def _of_all(windows: np.ndarray, places: int, sites: int) -> np.ndarray:
    """The places of each window in a field of several examples, [E windows, places]."""
    return (windows + np.arange(sites // places)[:, None, None] * places).reshape(-1, windows.shape[1])


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
