"""What kind of point the parameters are at, from the gradient and the ends of the spectrum."""

from __future__ import annotations

import math

VERDICTS = {
    "minimum": "the gradient is about 0, and no eigenvalue lies below 0 by more than the tolerance",
    "saddle": "the gradient is about 0, and eigenvalues have both signs",
    "maximum": "the gradient is about 0, and every eigenvalue lies below 0",
    "plateau": "gradient and eigenvalues are about 0",
    "not stationary": "the gradient is not about 0",
    "not finite": "the loss, its gradient or its curvature is no finite number",
}
"""The words, and what each of them says."""


def verdict(gradient_norm: float, largest: float, smallest: float, *, stationary: float, tolerance: float) -> str:
    """The kind of a point, a key of VERDICTS.

    Args:
        gradient_norm: |g|; up to `stationary` it counts as 0.
        largest, smallest: eigenvalues of the Hessian; where both are at most `stationary` in size the point is a
            plateau, and one counts as negative below -tolerance * max(|largest|, |smallest|), as precisely as it is
            known.

    >>> verdict(0.0, 2.0, -2.0, stationary=0.001, tolerance=0.01)
    'saddle'
    >>> verdict(0.0, 2.0, 0.0, stationary=0.001, tolerance=0.01), verdict(1.0, 2.0, 1.0, stationary=0.1, tolerance=0.01)
    ('minimum', 'not stationary')
    """
    if not all(map(math.isfinite, (gradient_norm, largest, smallest))):
        return "not finite"
    if gradient_norm > stationary:
        return "not stationary"
    size = max(abs(largest), abs(smallest))
    if size <= stationary:
        return "plateau"
    if smallest >= -tolerance * size:
        return "minimum"
    return "saddle" if largest > -tolerance * size else "maximum"
