"""The Pareto front: configurations that no other one is at least as good as in everything and better in something."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def front(costs: NDArray[np.float64]) -> list[int]:
    """The rows that nothing dominates, in order; equal ones are all of them in it, what is not finite is not.

    Sorted by the first cost and then the others, a row can only be dominated by one before it that is in the front.

    Args:
        costs: [n, objectives], small is good.

    >>> front(np.array([[1.0, 3.0], [2.0, 2.0], [2.0, 3.0], [3.0, 1.0]]))
    [0, 1, 3]
    """
    found: list[int] = []
    for row in np.lexsort(costs.T[::-1]):
        if not np.isfinite(costs[row]).all():
            continue
        better = costs[found] <= costs[row]
        if not (better.all(axis=1) & (costs[found] < costs[row]).any(axis=1)).any():
            found.append(int(row))
    return sorted(found)
