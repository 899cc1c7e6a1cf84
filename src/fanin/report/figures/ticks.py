"""Numbers on axes in at most four characters, or as powers of ten."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import Formatter, FuncFormatter, LogFormatter, LogLocator, NullLocator, ScalarFormatter
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
        text = f"{x:g}" if super().__call__(x, pos) else ""
        if len(text) <= MOST:
            return text
        exponent = math.log10(x)
        return power(round(exponent)) if math.isclose(exponent, round(exponent), abs_tol=1e-9) else ""


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
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))


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
    axis.set_major_formatter(FuncFormatter(lambda value, place: count(value) if value >= 1e3 else brief(value)))


def tidy(axes: Axes, *, counts: bool) -> None:
    """Short labels on the linear axes of a panel that nobody has labelled otherwise; `counts` of the x axis."""
    for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
        if scale == "linear" and type(axis.get_major_formatter()) is ScalarFormatter:
            axis.set_major_formatter(Counts() if counts and axis is axes.xaxis else Short())
    axes.yaxis.set_offset_position("right")  # on the left its power of ten would lie on the title
