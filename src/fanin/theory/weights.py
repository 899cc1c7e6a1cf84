"""What a weight layer's weights are drawn from, as theory needs to know it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """What a weight layer's weights and biases are drawn from.

    Args:
        variance: v = fan_in Var(W), > 0.
        kind: normal, independent (of another distribution) or orthogonal.
        bias_variance: s = Var(b).
        calibrated: the tolerance within which the output's variance over the probe batch is then set to 1; None where
            it is not.
        kurtosis: E w^4 / (E w^2)^2 of one weight.
    """

    variance: float
    kind: str = "normal"
    bias_variance: float = 0.0
    calibrated: float | None = None
    kurtosis: float = 3.0
