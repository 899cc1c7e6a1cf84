"""The histograms of a run, from its histograms.csv."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fanin.report.read.series import Floats, read_rows


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
    last = dict(read_rows(folder / "histograms.csv", notes, _histogram))
    found: dict[str, Layers] = {}
    for (of, place, _), one in sorted(last.items(), key=lambda item: item[0][1:]):
        found.setdefault(of, {}).setdefault(place, []).append(one)
    return found


def _histogram(row: Mapping[str, str]) -> tuple[tuple[str, tuple[int, str], int], Histogram]:
    """What it is of, the layer and the step, and the histogram."""
    counts = np.array([float(row[name]) for name in row if name.startswith("count_")])
    edges = np.linspace(float(row["low"]), float(row["high"]), len(counts) + 1)
    one = Histogram(int(row["step"]), edges, counts, int(float(row["nonfinite"])))
    return (row["of"], (int(row["index"]), row["layer"].removeprefix("'")), one.step), one
