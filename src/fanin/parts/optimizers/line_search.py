"""A line search for descent directions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Point:
    """A point t on the line: the objective there, its slope along the line, and its gradient [P]."""

    t: float
    value: float
    slope: float
    gradient: Tensor


def strong_wolfe(
    look: Callable[[float], Point],
    start: Point,
    trial: float,
    *,
    decrease: float,
    curvature: float,
    rounding: float,
    evaluations: int,
) -> Point:
    """A point on the line that meets the strong Wolfe conditions.

    f(t) <= f(0) + decrease t f'(0)  and  |f'(t)| <= curvature |f'(0)|
    Steps are doubled until they enclose such a point; then the enclosing interval shrinks to the minimum of the
    cubic through its ends. Source: Nocedal & Wright 2006, algorithms 3.5 and 3.6, here one loop.

    Args:
        look: t -> the point there.
        start: the point at t = 0, with a negative slope.
        trial: the first t, > 0.
        decrease, curvature: 0 < decrease < curvature < 1; a curvature near 0 makes the search exact.
        rounding: differences of f up to this are taken for none.
        evaluations: at most so many looks.

    Returns:
        the first point that has both; where the looks end before, the best with the first; `start` where none has.
    """
    low: Point = start  # the lowest point so far that is low enough
    high: Point | None = None  # the other end of the interval that encloses a good point, once there is one
    t = trial
    for _ in range(evaluations):
        point = look(t)
        finite = math.isfinite(point.value) and math.isfinite(point.slope)
        bound = min(low.value, start.value + decrease * t * start.slope) + rounding
        if not finite or point.value > bound:
            high = point
        elif abs(point.slope) <= -curvature * start.slope:
            return point
        else:
            if point.slope * (1 if high is None else high.t - low.t) >= 0:
                high = low
            low = point
        t = 2 * low.t if high is None else _between(low, high)
    return low


def _between(low: Point, high: Point) -> float:
    """Where the cubic through both ends is least, a tenth of the interval away from them or more; else the middle."""
    width = high.t - low.t
    mean = low.slope + high.slope - 3 * (high.value - low.value) / width
    square = mean * mean - low.slope * high.slope
    share = 0.5
    if square >= 0:  # false for nan
        root = math.copysign(math.sqrt(square), width)
        below = high.slope - low.slope + 2 * root
        if below:
            share = 1 - (high.slope + root - mean) / below
    return low.t + width * (min(max(share, 0.1), 0.9) if math.isfinite(share) else 0.5)
