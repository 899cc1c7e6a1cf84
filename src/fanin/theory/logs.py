"""Logarithm and exponential that saturate instead of raising: norms of deep networks leave floats' range."""

from __future__ import annotations

import math
import sys

_LARGEST = math.log(sys.float_info.max)


def log(value: float) -> float:
    """ln(value); -inf at 0, nan for nan and for negative values.

    >>> log(0.0), log(1.0)
    (-inf, 0.0)
    """
    if value > 0:
        return math.log(value)
    return -math.inf if value == 0 else math.nan


def exp(value: float) -> float:
    """e^value; inf beyond the largest float, nan for nan.

    >>> exp(1000.0), exp(-1000.0)
    (inf, 0.0)
    """
    return math.inf if value > _LARGEST else math.exp(value)
