"""The histograms of a run, from its histograms.csv."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fanin.record.csv_file import read_table
from fanin.report.read.series import Floats


@dataclass(frozen=True)
class Histogram:
    """Counts of values in bins of equal width, at one step.

    Attributes:
        step: updates made before.
        edges: ends of the bins, [bins + 1].
        counts: [bins].
        nonfinite: how many values are not finite.
    """

    step: int
    edges: Floats
    counts: Floats
    nonfinite: int

    @property
    def density(self) -> Floats:
        """Counts over their sum and the bins' width, [bins]; 0 where nothing is finite."""
        total = self.counts.sum() * (self.edges[1] - self.edges[0])
        return np.asarray(self.counts / total if total > 0 else self.counts)


Layers = dict[tuple[int, str], list[Histogram]]
"""The histograms of each layer, by its position over depth and its name, in the order of steps."""


def read_histograms(folder: Path, notes: list[str]) -> dict[str, Layers]:
    """What a run has histograms of, {} without a file; rows that cannot be read are left out, and noted."""
    try:
        rows = read_table(folder / "histograms.csv") or []
    except OSError as error:
        notes.append(f"histograms.csv cannot be read: {error}")
        return {}
    found: dict[str, dict[tuple[int, str], dict[int, Histogram]]] = {}
    lost = 0
    for row in rows:
        try:
            counts = np.array([float(row[name]) for name in row if name.startswith("count_")])
            edges = np.linspace(float(row["low"]), float(row["high"]), len(counts) + 1)
            one = Histogram(int(row["step"]), edges, counts, int(float(row["nonfinite"])))
            place = int(row["index"]), row["layer"].removeprefix("'")
        except (KeyError, ValueError):
            lost += 1
            continue
        found.setdefault(row["of"], {}).setdefault(place, {})[one.step] = one
    if lost:
        notes.append(f"histograms.csv: {lost} rows could not be read")
    return {
        of: {place: [steps[step] for step in sorted(steps)] for place, steps in sorted(layers.items())}
        for of, layers in found.items()
    }
