"""How many steps a method needs to leave the strict saddle of f = x^2/2 - y^2/2 + y^4/4, measured and in theory.

Along y the slope is $-s y$ with s from 1 at the saddle to 0.99 at |y| = 0.1, where a path counts as having left. With
the rate a a step multiplies y by 1 + a s (gradient descent), by the larger root of $z^2 - (1 + rho + a s) z + rho = 0$
in the long run (momentum), and by $1 + a s/(|1 - 3 y^2| + damping)$ (saddle-free Newton): the steps lie between those
of the fastest and of the slowest of these growths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from fanin.report.studies.optimizer_race.races import Race

LEFT = 0.1
"""|y| where a path has left the saddle."""

SLOWER = 1 - LEFT**2
"""s there."""

MOST = 100_000
"""Steps that are counted in theory."""

FAINT, STRONG = 1e-4, 4.5
"""How small and how large a standard normal number may be: beyond them it is with a probability of 8e-5 and 7e-6."""


def left_after(race: Race) -> int | None:
    """The steps after which a path has left; None if it never has."""
    there = np.flatnonzero(np.abs(race.points[:, 1]) >= LEFT)
    return int(there[0]) if len(there) else None


def in_theory(race: Race) -> tuple[int, int] | None:
    """The fewest and the most steps that a race may need to leave; None where theory has no word on it.

    It has none on the stable axis itself, unless there is noise on the gradients, nor for Newton's method.
    """
    start, numbers = abs(float(race.points[0, 1])), race.numbers
    if race.noisy:
        fixed = race.optimizer in ("gd", "sgd") and numbers.get("noise.gamma") == 0 and start == 0
        return _noisy(numbers["lr"], numbers["noise.eta"]) if fixed else None
    if not 0 < start < LEFT or race.optimizer not in STRENGTHS:
        return None
    slow, fast = STRENGTHS[race.optimizer](numbers)
    most, least = (steps_to_leave(start, numbers["lr"], numbers.get("momentum", 0.0), one) for one in (slow, fast))
    return least, most


def steps_to_leave(start: float, rate: float, momentum: float, strength: float) -> int:
    """Steps of $v <- rho v + a s y$, $y <- y + v$ from v = 0 until y is LEFT.

    >>> steps_to_leave(0.01, 1.0, 0.0, 1.0)  # 0.02, 0.04, 0.08, 0.16
    4
    """
    y, v = start, 0.0
    for step in range(MOST):
        if y >= LEFT:
            return step
        v = momentum * v + rate * strength * y
        y += v
    return MOST


def _noisy(rate: float, variance: float) -> tuple[int, int]:
    """From 0, with normal noise on the gradient: y is normal with a variance that grows as below.

    $sigma_t^2 = (a sigma)^2 ((1 + a s)^(2 t) - 1)/((1 + a s)^2 - 1)$.
    """

    def steps(strength: float, size: float) -> int:
        growth = (1 + rate * strength) ** 2
        wanted = (LEFT / size) ** 2 / (rate**2 * variance) * (growth - 1) + 1
        return math.ceil(math.log(wanted) / math.log(growth))

    return steps(1.0, STRONG), steps(SLOWER, FAINT)


def _saddle_free(numbers: Mapping[str, float]) -> tuple[float, float]:
    damping = numbers.get("damping", 0.0)
    return 1 / (1 + damping), SLOWER / (1 - 3 * LEFT**2 + damping)


STRENGTHS: Mapping[str, Callable[[Mapping[str, float]], tuple[float, float]]] = {
    "gd": lambda numbers: (SLOWER, 1.0),
    "sgd": lambda numbers: (SLOWER, 1.0),
    "momentum": lambda numbers: (SLOWER, 1.0),
    "saddle_free_newton": _saddle_free,
}
"""The smallest and the largest share of y by which the rate is multiplied."""
