"""How far an axis goes: as far as most curves do; what lies beyond is marked at its edge and counted in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from fanin.report.figures.encoding import GREY, note
from fanin.report.figures.lines import BELOW, MARK
from fanin.report.figures.ticks import brief
from fanin.report.statistics import Floats

DECADES = 2.0  # between the tenth and the ninetieth of a hundred curves, from which on an axis is logarithmic
FENCE = 3.0  # interquartile ranges: Tukey, Exploratory Data Analysis (1977), calls what lies beyond "far out"
ROOM = 2.0  # decades beyond the quartiles that are always shown

Curve = tuple[Floats, Floats, str]
"""x, y and colour."""


def usual_top(curves: Sequence[Floats]) -> float:
    """The top of a linear axis on which most curves are seen well: the largest value that is not far beyond the rest.

    Far beyond is ten times what half of the curves never exceed: one run that all but diverged would leave all others
    flat on the axis. What is not finite does not count.
    """
    finite = [curve[np.isfinite(curve)] for curve in curves]
    values = np.abs(np.concatenate([*finite, np.zeros(1)]))
    largest = sorted(float(np.abs(curve).max()) for curve in finite if len(curve))
    bound = 10 * largest[(len(largest) - 1) // 2] if largest else 0.0
    return 1.06 * float(values[values <= bound].max(initial=0.0)) or 1.0


def decades_differ(curves: Sequence[Floats]) -> bool:
    """Whether positive curves are told apart on a logarithmic axis only: their largest values lie decades apart.

    log10 of the ratio of the 90 % to the 10 % quantile of the curves' maxima is DECADES or more, and no value negative.

    >>> decades_differ([np.array([0.1, 1.0]), np.array([500.0])]), decades_differ([np.array([1.0]), np.array([5.0])])
    (True, False)
    """
    finite = [curve[np.isfinite(curve)] for curve in curves]
    if any((curve < 0).any() for curve in finite):
        return False
    largest = [float(curve.max()) for curve in finite if len(curve) and curve.max() > 0]
    if len(largest) < 2:
        return False
    low, high = np.quantile(np.log10(largest), (0.1, 0.9), method="nearest")
    return bool(high - low >= DECADES)


def log_limits(curves: Sequence[Floats]) -> tuple[float, float] | None:
    """The ends of a logarithmic axis, whole decades, if any curve lies far beyond the rest; None if all fit.

    With m the curves' maxima (in decades), Q their quartiles: those above Q3 + max(3 (Q3 - Q1), 2) do not count; and
    the same downwards for their minima. A tenth of a decade is no reason to cut.

    >>> log_limits([np.array([1.0, 3.0])] * 8 + [np.array([1.0, 1e200])])
    (1.0, 10.0)
    """
    positive = [curve[np.isfinite(curve) & (curve > 0)] for curve in curves]
    positive = [np.log10(curve) for curve in positive if len(curve)]
    if len(positive) < 3:
        return None
    highs, lows = np.array([curve.max() for curve in positive]), np.array([curve.min() for curve in positive])
    top, bottom = _fenced(highs), -_fenced(-lows)
    if highs.max() <= top and lows.min() >= bottom:
        return None
    return float(10 ** np.floor(lows[lows >= bottom].min())), float(10 ** np.ceil(highs[highs <= top].max()))


def cut_off(axes: Axes, top: float, curves: Sequence[Curve], bottom: float | None = None) -> tuple[int, int]:
    """End the y axis, with a triangle where each curve first lies beyond; how many do, above and below."""
    axes.set_ylim(bottom=bottom, top=top)
    counts = []
    low = -np.inf if bottom is None else bottom
    for sign, edge, place, marker in ((1, top, 0.985, "^"), (-1, low, 0.015, BELOW)):
        first = [(x[np.isfinite(y) & (sign * y > sign * edge)][:1], colour) for x, y, colour in curves]
        for x, colour in first:
            if len(x):
                axes.plot(x, [place], transform=axes.get_xaxis_transform(), marker=marker, color=colour, **MARK)
        counts.append(sum(len(x) for x, _ in first))
    return counts[0], counts[1]


def tell_beyond(axes: Axes, beyond: tuple[int, int], count: int, *, alone: bool = True) -> None:
    """Say above a panel how many of its curves go on beyond its axis, in fewer words where it is one among others."""
    low, high = axes.get_ylim()
    on = "go on" if alone else "go"
    said = [f"{beyond[0]} of {count} {on} above {brief(high)}"] if beyond[0] else []
    said += [f"{beyond[1]} of {count} {on} below {brief(low)}"] if beyond[1] else []
    if said:
        say_above(axes, ", ".join(said), right=True)


def say_above(axes: Axes, text: str, *, right: bool) -> None:
    """Words in the line above a panel."""
    where = "right" if right else "left"
    note(axes, text, (float(right), 1), (-2 * right, 6), ha=where, va="bottom", color=GREY)


def _fenced(values: Floats) -> float:
    low, high = np.quantile(values, (0.25, 0.75))
    return float(high + max(FENCE * (high - low), ROOM))
