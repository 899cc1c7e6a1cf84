"""The law of the logarithm of a square, and that of a mixture of normals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.normal import normal_probability

LEVELS = (0.025, 0.16, 0.5, 0.84, 0.975)
"""Probabilities of the quantiles."""

NORMAL = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
"""The same of N(0, 1)."""

PRECISION = 1e-8
"""How closely quantiles of a logarithm are found."""


@dataclass(frozen=True)
class LogLaw:
    """Law of the logarithm of a square: its moments and quantiles.

    Attributes:
        mean, variance: of the logarithm.
        quantiles: at LEVELS.
        log_mean_square: ln of the mean of the square itself.
    """

    mean: float
    variance: float
    quantiles: tuple[float, ...]
    log_mean_square: float

    def shifted(self, by: float) -> LogLaw:
        """The law of the square times e^by."""
        return LogLaw(
            self.mean + by, self.variance, tuple(one + by for one in self.quantiles), self.log_mean_square + by
        )


def log_sum(logs: FloatArray, chance: FloatArray) -> float:
    """ln sum p e^log."""
    top = float(logs.max())
    return top + math.log(float(chance @ np.exp(logs - top)))


def mixture(mean: FloatArray, sd: FloatArray, chance: FloatArray, log_mean_square: float | None) -> LogLaw:
    """The law of a mixture of normals; its mean square is that of the lognormals where none is given."""
    chance = chance / chance.sum()
    centre = float(chance @ mean)
    variance = float(chance @ (sd**2 + (mean - centre) ** 2))
    if log_mean_square is None:
        log_mean_square = log_sum(mean + sd**2 / 2, chance)
    some, start = chance > 1e-10, centre + NORMAL * math.sqrt(variance)
    quantiles = _quantiles(mean[some], np.maximum(sd[some], 1e-9), chance[some] / chance[some].sum(), start)
    return LogLaw(centre, variance, quantiles, log_mean_square)


def _quantiles(mean: FloatArray, sd: FloatArray, chance: FloatArray, start: FloatArray) -> tuple[float, ...]:
    """Of a mixture of normals, at LEVELS: by Newton's rule, and by halving where that would lead outside."""
    low = np.full(len(LEVELS), float((mean - 9 * sd).min()))
    high = np.full(len(LEVELS), float((mean + 9 * sd).max()))
    at = np.clip(start, low, high)
    for _ in range(60):
        z = (at[:, None] - mean) / sd
        over = normal_probability(z) @ chance - LEVELS
        density = np.exp(-(z**2) / 2) @ (chance / sd) / math.sqrt(2 * math.pi)
        low, high = np.where(over < 0, at, low), np.where(over < 0, high, at)
        there = at - over / np.maximum(density, 1e-300)
        there = np.where((there >= low) & (there <= high), there, (low + high) / 2)
        moved, at = float(np.abs(there - at).max()), there
        if moved < PRECISION:
            break
    return tuple(map(float, at))
