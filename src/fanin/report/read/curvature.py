"""What looks at the curvature of a run saw, from its curvature.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fanin.report.read.series import Floats, read_rows

GRADIENT_DESCENT = ("SGD", "Momentum")
"""Classes of optimizers whose largest stable sharpness is known; with Nesterov's momentum it is another."""


@dataclass
class Looks:
    """Of the whole model, over the steps of one run.

    Attributes:
        numbers: {step: value} of each quantity by its name and index, which is 0 where there is none.
        densities: {step: (eigenvalues [bins], density [bins])} by the prefix of the matrix, "" for the Hessian.
    """

    numbers: dict[tuple[str, int], dict[int, float]] = field(default_factory=dict)
    densities: dict[str, dict[int, tuple[Floats, Floats]]] = field(default_factory=dict)

    def series(self, quantity: str, index: int = 0) -> tuple[Floats, Floats]:
        """Steps and values, those that are numbers."""
        found = sorted((step, value) for step, value in self.numbers.get((quantity, index), {}).items())
        table = np.array([pair for pair in found if np.isfinite(pair[1])], dtype=float).reshape(-1, 2)
        return table[:, 0], table[:, 1]


def read_curvature(folder: Path, notes: list[str]) -> Looks:
    """What is in curvature.csv; empty without one. Rows that cannot be read are left out, and noted."""
    found = Looks()
    points: dict[tuple[str, int], dict[int, float]] = {}
    for layer, step, name, index, value in read_rows(folder / "curvature.csv", notes, _look):
        if name.endswith(("density", "density_at")) and not layer:
            points.setdefault((name, step), {})[index] = value
        elif not layer:
            found.numbers.setdefault((name, index), {})[step] = value
    for (name, step), heights in points.items():
        at = points.get((f"{name}_at", step), {})
        curve = np.array([(at[place], heights[place]) for place in sorted(heights) if place in at]).T
        if curve.size and np.isfinite(curve).all():
            found.densities.setdefault(name.removesuffix("density"), {})[step] = curve[0], curve[1]
    return found


def _look(row: Mapping[str, str]) -> tuple[str, int, str, int, float]:
    return row["layer"], int(row["step"]), row["quantity"], int(row["index"] or 0), float(row["value"])


def edge_of_stability(config: Any, lr: Floats) -> tuple[Floats, str] | None:
    """The largest sharpness at which gradient descent at rates `lr` is stable, and its formula; None of others.

    On a quadratic gradient descent converges where lambda_max < 2/lr, with momentum beta where it is < (2 + 2 beta)/lr.
    Source: Cohen et al. 2021.

    >>> edge_of_stability({"optimizer": {"_target_": "torch.optim.SGD", "momentum": 0.5}}, np.array([0.1]))
    (array([30.]), '(2 + 2 momentum)/lr')
    """
    keys = config.get("optimizer") if isinstance(config, dict) else None
    if not isinstance(keys, dict) or str(keys.get("_target_", "")).rpartition(".")[2] not in GRADIENT_DESCENT:
        return None
    momentum = keys.get("momentum") or 0.0
    if keys.get("nesterov") or keys.get("dampening") or not isinstance(momentum, float | int):
        return None  # torch's own SGD
    with np.errstate(divide="ignore"):
        limit = (2 + 2 * momentum) / np.asarray(lr, dtype=float)
    return limit, "(2 + 2 momentum)/lr" if momentum else "2/lr"


def on_one_grid(curves: Sequence[tuple[Floats, Floats]], bins: int) -> tuple[Floats, Floats]:
    """Eigenvalues [bins] from the lowest to the highest of all curves, and the curves there, [curves, bins].

    >>> one = np.array([0.0, 1.0]), np.array([1.0, 1.0])
    >>> at, table = on_one_grid([one, (one[0] + 1, one[1])], 3)
    >>> at.tolist(), table.tolist()
    ([0.0, 1.0, 2.0], [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    """
    at = np.linspace(min(one[0].min() for one in curves), max(one[0].max() for one in curves), bins)
    return at, np.stack([np.interp(at, *one, left=0.0, right=0.0) for one in curves])


def verdict_words(told: Any) -> str:
    """What the last look says of the point, with its numbers; "" where it was not asked.

    >>> verdict_words({"verdict": "saddle", "gradient_norm": 1e-5, "largest": 2.0, "smallest": -1.5})
    'saddle; the norm of the gradient is 1e-05, eigenvalues lie from -1.5 to 2'
    """
    if not isinstance(told, Mapping) or not told.get("verdict"):
        return ""
    words = []
    if isinstance(norm := told.get("gradient_norm"), float | int):
        words.append(f"the norm of the gradient is {norm:.2g}")
    low, high = told.get("smallest"), told.get("largest")
    if isinstance(low, float | int) and isinstance(high, float | int):
        words.append(f"eigenvalues lie from {low:.3g} to {high:.3g}")
    return f"{told['verdict']}" + (f"; {', '.join(words)}" if words else "")
