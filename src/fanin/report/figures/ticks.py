"""Numbers on axes in at most four characters, or as powers of ten."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    Formatter,
    FuncFormatter,
    LogFormatter,
    LogFormatterSciNotation,
    LogLocator,
    NullLocator,
    ScalarFormatter,
)
from numpy.typing import NDArray

from fanin.report.figures.paper import for_paper

MOST = 4  # characters of a tick's label, the sign apart
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def power(exponent: int) -> str:
    """A power of ten.

    >>> power(5), power(-3)
    ('10⁵', '10⁻³')
    """
    return "10" + str(exponent).translate(SUPERSCRIPT)


def brief(value: float) -> str:
    """A number in a figure's words, to three digits.

    >>> brief(3.1415), brief(700), brief(1e5), brief(123456), brief(2e-5)
    ('3.14', '700', '10⁵', '1.23 · 10⁵', '2 · 10⁻⁵')
    """
    if value == 0 or not math.isfinite(value) or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 1e3 else f"{value:.4g}"
    mantissa, _, exponent = f"{value:.3g}".partition("e") if "e" in f"{value:.3g}" else f"{value:.2e}".partition("e")
    digits = f"{float(mantissa):g}"
    return power(int(exponent)) if digits == "1" else f"{digits} · {power(int(exponent))}"


def exact(value: float) -> str:
    """A number on an axis, all of its digits: four characters and a sign at most, else with a power of ten.

    >>> exact(0.01), exact(-0.25), exact(0.001), exact(0.00019), exact(20000), exact(0.025)
    ('0.01', '-0.25', '10⁻³', '1.9·10⁻⁴', '20k', '2.5·10⁻²')
    """
    text = f"{value:g}"
    if len(text.lstrip("-")) <= MOST or not math.isfinite(value):
        return text
    counted = count(value)
    if abs(value) >= 10**MOST and len(counted.lstrip("-")) <= MOST:
        return counted
    return multiple(value, 6)


def multiple(value: float, digits: int) -> str:
    """A number other than 0 as a multiple of a power of ten, to so many digits at most.

    >>> multiple(-0.001, 3), multiple(25000, 3)
    ('-10⁻³', '2.5·10⁴')
    """
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    factor = f"{value / 10.0**exponent:.{digits}g}"
    return factor.removesuffix("1") + power(exponent) if factor in ("1", "-1") else f"{factor}·{power(exponent)}"


def count(value: float) -> str:
    """A number of steps.

    >>> count(800), count(1500), count(20000), count(1.5e6)
    ('800', '1500', '20k', '1.5M')
    """
    if abs(value) < 10**MOST and value == round(value):
        return f"{value:.0f}"
    for size, letter in PREFIXES:
        if abs(value) >= size and len(f"{value / size:g}{letter}") <= MOST + 1:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


class Counts(Formatter):
    """Ticks of an axis that counts: 20000 is 20k."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return count(x)


class Short(Formatter):
    """Ticks of a linear axis; where they need more than four characters, a power of ten stands at the axis's end.

    >>> Short().format_ticks([0.0, 20000.0, 40000.0]), Short().format_ticks([0.0, 0.5, 1.0])
    (['0', '2', '4'], ['0.0', '0.5', '1.0'])
    """

    def __init__(self) -> None:
        self.exponent = 0

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """The labels of all ticks."""
        largest = max((abs(value) for value in values), default=0.0)
        own = math.floor(math.log10(largest)) if largest > 0 and math.isfinite(largest) else 0
        for exponent in (0, own, own - 1, own - 2):
            scaled = [value / 10.0**exponent for value in values]
            # As many decimals as tell neighbours apart, and all the same.
            digits = next((d for d in range(4) if all(math.isclose(round(v, d), v, abs_tol=1e-9) for v in scaled)), 9)
            labels = [f"{value:.{digits}f}" for value in scaled]
            if all(len(label.lstrip("-")) <= MOST for label in labels):
                self.exponent = exponent
                return [label.replace("-", "−") for label in labels]
        self.exponent = 0
        return [label if len(label.lstrip("-")) <= MOST else "" for label in (f"{value:.4g}" for value in values)]

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self.format_ticks([x])[0]

    def get_offset(self) -> str:
        """The power of ten that all labels are to be multiplied with."""
        return f"× {power(self.exponent)}" if self.exponent else ""


class PlainLog(LogFormatter):
    """Ticks of a logarithmic axis as plain numbers of four characters at most, thinned like matplotlib's own."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return exact(x) if super().__call__(x, pos) else ""


class Powers(LogFormatter):
    """Ticks of a logarithmic axis as powers of ten, and as multiples of them where matplotlib has some."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        if x == 0 or not super().__call__(x, pos):
            return "0" if x == 0 else ""
        return multiple(x, 3)


def log_axis(axes: Axes) -> None:
    """Few ticks on a logarithmic y axis over many decades; called after drawing."""
    low, high = axes.get_ylim()
    if high / max(low, 1e-300) > 1e3:
        axes.yaxis.set_major_locator(LogLocator(numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
    elif for_paper():
        plain_log(axes, low, high)
    elif low > 1e-3 and high < 1e4:  # "20" reads better than "2 x 10^1"
        axes.yaxis.set_major_formatter(PlainLog())
        axes.yaxis.set_minor_formatter(PlainLog(minor_thresholds=(1.5, 0.4)))


def plain_log(axes: Axes, low: float, high: float) -> None:
    """Ticks at 1, 2 and 5 times powers of ten on a short logarithmic y axis, which has no room for more."""
    if not 0 < low < high < 1e3 * low:
        return
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    if low > 1e-3 and high < 1e4:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: exact(value)))


def log_where_wide(axes: Axes, name: str, values: NDArray[np.float64]) -> None:
    """A logarithmic axis ("x" or "y") with few and short ticks, where values are positive and span a factor of ten."""
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    if low <= 0 or high <= 10 * low:
        return
    axes.set(**{f"{name}scale": "log"})
    axis = axes.xaxis if name == "x" else axes.yaxis
    near = high < (1e3 if name == "y" else 1e2) * low  # labels are wider than high
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if near else LogLocator(numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, place: exact(value)))


def counts(axes: Axes) -> None:
    """Short labels on the x axis of a panel that counts layers or steps."""
    if axes.get_xscale() == "linear" and type(axes.xaxis.get_major_formatter()) is ScalarFormatter:
        axes.xaxis.set_major_formatter(Counts())


def shorten(places: Iterable[Axes]) -> None:
    """Short labels on every axis of finished panels and colour bars, matplotlib's own and written numbers."""
    for axis in (axis for axes in places for axis in (axes.xaxis, axes.yaxis)):
        major, minor = axis.get_major_formatter(), axis.get_minor_formatter()
        if type(major) is ScalarFormatter:
            axis.set_major_formatter(Short())
        elif isinstance(axis.get_major_locator(), FixedLocator):
            labels = major.format_ticks(axis.get_majorticklocs().tolist())
            if (short := [_short(label) for label in labels]) != labels:
                axis.set_ticklabels(short)
        for formatter, give in ((major, axis.set_major_formatter), (minor, axis.set_minor_formatter)):
            if type(formatter) is LogFormatterSciNotation and getattr(axis.get_transform(), "base", 10) == 10:
                give(Powers(labelOnlyBase=formatter.labelOnlyBase, minor_thresholds=formatter.minor_thresholds))


def _short(label: str) -> str:
    """A label that is a number, shorter; else as it is."""
    try:
        return exact(float(label)) if len(label.lstrip("-")) > MOST else label
    except ValueError:
        return label
