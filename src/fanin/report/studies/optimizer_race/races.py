"""What the files of a race say: the path of each run on its surface, and numbers of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fanin.errors import OptionError
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats
from fanin.theory.optimizer_rates import factor
from fanin.theory.surfaces import Surface, nearest, surface

TOLERANCE = 1e-6
"""A run has arrived once the height above the lowest minimum is this share of what it was at the start."""

ROUNDING = 1e-9
"""Distances below this share of the first one are not looked at for a rate: rounding is a share of 1e-7 of them."""

NEAR, EXACT = 0.3, 1e-12
"""Between these shares of the first distance it is looked at which order it falls; rounding is a share of 1e-4 of the
lower one, which a logarithm does not see."""

FOLLOWED = 1e-2
"""A path that ends so near to a stationary point ends there."""


@dataclass(frozen=True)
class Race:
    """One run on its surface.

    Attributes:
        run: whose files these are.
        surface: what it ran on.
        key: kind, condition, rotation and start, the same for all runs on that surface from that start.
        optimizer: the option's name.
        numbers: its keys that are numbers, and those of the noise on its gradients, where there is some.
        points: where it was before each step and at the end, [steps + 1, 2]; up to where it left the finite numbers.
    """

    run: Run
    surface: Surface
    key: tuple[Any, ...]
    optimizer: str
    numbers: Mapping[str, float]
    points: Floats

    @property
    def noisy(self) -> bool:
        """Whether its gradients had noise, of which theory and claims do not speak."""
        return any(key.startswith("noise.") for key in self.numbers)

    @property
    def left(self) -> Floats:
        """(f - f*) / (f(start) - f*) at each point, at least 0."""
        with np.errstate(over="ignore"):
            heights: Floats = np.asarray(self.surface.value(*self.points.T)) - self.surface.lowest
        return np.maximum(heights / heights[0], 0.0) if heights[0] > 0 else np.zeros_like(heights)

    @property
    def distance(self) -> Floats:
        """From each point to the lowest minimum."""
        x, y = (self.points - self.surface.minima[0]).T
        distances: Floats = np.hypot(x, y)
        return distances

    @property
    def arrival(self) -> int | None:
        """The steps after which it had arrived; None if it never had."""
        there = np.flatnonzero(self.left <= TOLERANCE)
        return int(there[0]) if len(there) else None

    @property
    def end(self) -> str:
        """Where the path ends: "minimum" for the lowest, "other minimum", "saddle", "maximum" or "on the way"."""
        x, y = self.points[-1]
        on = self.surface
        place, far = nearest((*on.minima, *on.saddles, *on.maxima), float(x), float(y))
        if self.run.state == "diverged" or not far <= FOLLOWED:
            return "diverged" if self.run.state == "diverged" else "on the way"
        if place >= len(on.minima):
            return "saddle" if place < len(on.minima) + len(on.saddles) else "maximum"
        lowest = math.isclose(on.value(*on.minima[place]), on.lowest, rel_tol=1e-12)
        return "minimum" if lowest else "other minimum"

    @property
    def order(self) -> float | None:
        """The order of convergence to the stationary point where the path ends; see `fitted_order`."""
        if self.end in ("diverged", "on the way"):
            return None
        on, (x, y) = self.surface, self.points[-1]
        stationary = (*on.minima, *on.saddles, *on.maxima)
        apart = (self.points - stationary[nearest(stationary, float(x), float(y))[0]]).T
        return fitted_order(np.hypot(*apart))

    @property
    def condition(self) -> float:
        """kappa, of a quadratic."""
        return float(self.key[1])

    @property
    def theory(self) -> float | None:
        """The factor per step that theory predicts on a quadratic."""
        if self.noisy:
            return None
        try:
            return factor(self.optimizer, self.numbers, self.condition) if self.surface.kind == "quadratic" else None
        except KeyError:  # an optimizer of the same name with other keys
            return None


def race_of(run: Run) -> Race | None:
    """The race of a run; None if its files do not describe one."""
    try:
        table = pd.read_csv(run.folder / "trajectory.csv").to_numpy(dtype=np.float64)
        node = run.config.config["model"]
        kind, condition, rotation = str(node["kind"]), float(node["condition"]), float(node["rotation"])
        on = surface(kind, condition=condition, rotation=rotation)
        optimizer = str(run.value("optimizer"))
        numbers = _optimizer(run)
    except (OSError, ValueError, KeyError, TypeError, OptionError):
        return None
    finite = np.isfinite(table).all(axis=1)
    points = table[: len(table) if finite.all() else int(np.argmin(finite)), 1:]
    if points.shape[1:] != (2,) or not len(points):
        return None
    shape = (condition, rotation) if kind == "quadratic" else (0.0, 0.0)
    return Race(run, on, (kind, *shape, *points[0].tolist()), optimizer, numbers, points)


def _optimizer(run: Run) -> dict[str, float]:
    """The keys of the run's optimizer that are numbers, and those of the noise on its gradients."""
    values = {str(key): run.value(f"optimizer.{key}") for key in run.config.config["optimizer"]}
    if run.value("noise") not in (None, "none"):
        values |= {f"noise.{key}": run.value(f"noise.{key}") for key in run.config.config["noise"]}
    return {key: float(value) for key, value in values.items() if isinstance(value, int | float)}


def races(runs: Sequence[Run]) -> list[Race]:
    """The races of those runs that ended."""
    found = [race_of(run) for run in runs if run.state in ("done", "diverged")]
    return [one for one in found if one is not None]


def fitted_factor(distance: Floats) -> tuple[float, int, int] | None:
    """The mean factor a step between two steps, and these two: (d_2/d_1)^(1/(t_2 - t_1)), t_1, t_2.

    t_2 is the last step before the distance falls below ROUNDING times the first one, t_1 a quarter of it, when what
    dies out faster has died out. None if that leaves fewer than 4 steps.

    >>> import numpy as np
    >>> fitted_factor(0.5 ** np.arange(9.0))
    (0.5, 2, 8)
    """
    near = np.flatnonzero(~(distance > ROUNDING * distance[0]))
    last = int(near[0]) - 1 if len(near) else len(distance) - 1
    first = last // 4
    if last - first < 4:
        return None
    return float((distance[last] / distance[first]) ** (1 / (last - first))), first, last


def fitted_order(distance: Floats) -> float | None:
    """The order q of convergence, $d_(t+1) ~ C d_t^q$: the slope of ln d_(t+1) over ln d_t, by least squares.

    Over the steps from where the distance was last above NEAR times the first one, down to EXACT times it: 1 where it
    falls by a factor a step, 2 where the digits double (Newton's method), between them where a method learns the
    curvature. None where fewer than three distances are left, as of one that arrives at once.

    Source: Ortega & Rheinboldt 1970, chapter 9; Nocedal & Wright 2006, appendix A.2.

    >>> import numpy as np
    >>> round(fitted_order(0.5 ** np.arange(30.0)), 6), round(fitted_order(0.5 ** 2.0 ** np.arange(6.0)), 6)
    (1.0, 2.0)
    """
    far = np.flatnonzero(distance > NEAR * distance[0])
    first = int(far[-1]) + 1 if len(far) else 0
    lost = np.flatnonzero(distance[first:] <= EXACT * distance[0])
    logs = np.log(distance[first : first + int(lost[0])] if len(lost) else distance[first:])
    if len(logs) < 3 or np.ptp(logs[:-1]) == 0:
        return None
    return float(np.polyfit(logs[:-1], logs[1:], 1)[0])
