"""Values over depth and time: what was measured of every layer at several steps of training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fanin.record.event_curves import read_curves
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats, Profiles
from fanin.report.statistics import column_means

FEWEST_STEPS = 3  # before and after training is the figure of movement
SHARES = ("dead_units", "weight_zeros", "activation_cosine", "activation_nonfinite", "gradient_nonfinite")
"""Quantities of which 0 is a value: their means are arithmetic, their scale is linear."""


@dataclass(frozen=True)
class Surface:
    """A quantity over depth and time.

    Attributes:
        quantity: its name.
        axis: what the layers are counted by: weight layers, or modules.
        steps: updates made before each look, [S].
        values: [layers, S], nan where nothing was measured.
    """

    quantity: str
    axis: str
    steps: Floats
    values: Floats


def surfaces_of(runs: Sequence[Run], positions: Sequence[int], profiles: Profiles) -> dict[str, Surface]:
    """The mean over some runs of every quantity that was measured at three steps or more, by its name.

    Curves, which have more steps, go before the snapshots of profiles.csv, weight layers before modules. A mean of
    norms and ratios is geometric, $exp(1/n sum ln x)$, one of shares arithmetic; it is taken over the runs that have a
    finite value there, at steps that half of the runs have reached.

    Args:
        runs: all runs.
        positions: those to take the mean over.
        profiles: of all runs.
    """
    found: dict[str, Surface] = {}
    for axis in ("module", "weight"):
        for quantity in profiles.quantities(axis):
            stacked = _of_profiles(runs, positions, profiles, axis, quantity)
            if stacked is not None:
                found[quantity] = Surface(quantity, axis, *stacked)
    curves = [read_curves(runs[position].folder) for position in positions]
    for quantity in dict.fromkeys(name for one in curves for name in one):
        stacked = _mean(quantity, [one.get(quantity, {}) for one in curves])
        if stacked is not None and (quantity not in found or len(stacked[0]) >= len(found[quantity].steps)):
            found[quantity] = Surface(quantity, "weight", *stacked)
    return dict(sorted(found.items()))


def _of_profiles(
    runs: Sequence[Run], positions: Sequence[int], profiles: Profiles, axis: str, quantity: str
) -> tuple[Floats, Floats] | None:
    """A quantity of profiles.csv; the final snapshot is at the run's last step."""
    steps: dict[int, dict[int, dict[int, float]]] = {position: {} for position in positions}
    for snapshot in profiles.snapshots:
        values = profiles.matrix(snapshot, axis, quantity)
        for position in positions:
            at = 0 if snapshot == "init" else runs[position].steps if snapshot == "final" else int(snapshot)
            there = {i: value for i, value in enumerate(values[position].tolist(), 1) if not math.isnan(value)}
            if at is not None and there:
                steps[position][int(at)] = there
    return _mean(quantity, list(steps.values()))


def _mean(quantity: str, runs: Sequence[dict[int, dict[int, float]]]) -> tuple[Floats, Floats] | None:
    """Steps [S] and mean values [layers, S] of runs' {step: {layer: value}}; None where there are too few steps."""
    tables = [pd.DataFrame(one) for one in runs if one]
    counts = Counter(step for one in runs for step in one)
    steps = sorted(step for step, count in counts.items() if 2 * count >= len(tables))
    if len(steps) < FEWEST_STEPS:
        return None
    layers = range(1, max(int(table.index.max()) for table in tables) + 1)
    stack = np.array([table.reindex(index=layers, columns=steps) for table in tables], float)
    mean = stack[0] if len(stack) == 1 else column_means(stack, log=quantity not in SHARES)
    return np.array(steps, float), mean
