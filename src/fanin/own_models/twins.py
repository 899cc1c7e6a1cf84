"""Parameters that were drawn twice from one seed: entries that are equal, proportional or correlated."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from fanin.own_models.weight_laws import Floats

LENGTHS = (1024, 256, 64, 16)
"""First entries of two parameters that are held against each other: as many as both have."""


def twins(entries: Mapping[str, Floats]) -> tuple[list[tuple[str, str, float, float]], int]:
    """The correlation of each pair of parameters, of their first entries.

    Under independence r sqrt((m - 2) / (1 - r^2)) has Student's law of m - 2 degrees of freedom, for normal draws
    exactly, for others nearly. A layer drawn from the seed of another begins with the same draws, whatever its shape
    and scale.

    Args:
        entries: by name, none of them constant.

    Returns:
        (name, other, r, p) of those pairs with p < 0.05, and how many pairs there are.

    >>> draws = np.random.default_rng(0).normal(size=(2, 300))
    >>> found, pairs = twins({"a": draws[0], "b": 3 * draws[0, :200], "c": draws[1]})
    >>> [(one, other, round(r, 6)) for one, other, r, p in found if p < 1e-9], pairs
    ([('a', 'b', 1.0)], 3)
    """
    from scipy import stats

    found, pairs = [], 0
    done: set[tuple[str, str]] = set()
    for length in LENGTHS:
        names = [name for name, one in entries.items() if len(one) >= length]
        if len(names) < 2:
            continue
        first = np.stack([entries[name][:length] for name in names])
        first = first - first.mean(1, keepdims=True)
        spread = np.linalg.norm(first, axis=1, keepdims=True)
        first = np.divide(first, spread, out=np.zeros_like(first), where=spread > 0)
        r = first @ first.T
        rows, columns = np.triu_indices(len(names), 1)
        fresh = np.array([(names[a], names[b]) not in done for a, b in zip(rows, columns, strict=True)])
        done.update((names[a], names[b]) for a, b in zip(rows, columns, strict=True))
        rows, columns = rows[fresh], columns[fresh]
        values = r[rows, columns]
        pairs += len(values)
        p = 2 * stats.t.sf(
            np.abs(values) * math.sqrt(length - 2) / np.sqrt(np.maximum(1 - values**2, 1e-15)), length - 2
        )
        found += [
            (names[a], names[b], float(value), float(one))
            for a, b, value, one in zip(rows, columns, values, p, strict=True)
            if one < 0.05
        ]
    return found, pairs
