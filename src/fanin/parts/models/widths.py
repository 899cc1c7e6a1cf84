"""The widths of a chain's hidden layers: one for all, or one for each."""

from __future__ import annotations

from collections.abc import Sequence

from fanin.errors import OptionError, integer

Widths = int | Sequence[int]
"""Units of every hidden layer, or of each."""


def hidden_widths(width: Widths, depth: int) -> list[int]:
    """The units of each of the depth - 1 hidden layers.

    Args:
        width: one number for all, or a list of depth - 1.
        depth: number of weight matrices.

    Raises:
        OptionError: depth is not a positive integer, width neither an integer >= 1 nor a list of that many.

    >>> hidden_widths(100, 3), hidden_widths([784, 256, 64], 4)
    ([100, 100], [784, 256, 64])
    >>> hidden_widths([784, 256], 5)
    Traceback (most recent call last):
    fanin.errors.OptionError: width=[784, 256]: must be one number, or 4 for the hidden layers of depth=5; take depth=3
    """
    if isinstance(width, str) or not isinstance(width, Sequence):
        return [integer("width", width, 1)] * (integer("depth", depth, 1) - 1)
    if not all(isinstance(one, int) and not isinstance(one, bool) and one >= 1 for one in width):
        raise OptionError("width", width, "an integer >= 1, or a list of them")
    if len(width) != integer("depth", depth, 1) - 1:
        allowed = f"one number, or {depth - 1} for the hidden layers of depth={depth}"
        raise OptionError("width", width, allowed, f"take depth={len(width) + 1}")
    return list(width)
