"""What a paired comparison of configurations comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fanin.report.compare.paired import Paired
from fanin.report.compare.sides import Match


class Spread(NamedTuple):
    """Of one side's values over the pairs that count."""

    mean: float
    sd: float
    median: float


@dataclass(frozen=True)
class Comparison:
    """One side against the first.

    Attributes:
        first, side: what was typed.
        pairs: those that count, with the metric's values in `values`, [pairs][first, side].
        statistics: of the differences, side - first; None with fewer than two pairs.
        spreads: of the first and of the side.
        notes: what was left out and how to read it, a line each.
        counts: the same numbers by the names of their columns in compare.csv.
        folds: k where pairs are folds of a cross-validation, else None.
    """

    first: str
    side: str
    pairs: list[Match]
    values: list[tuple[float, float]]
    statistics: Paired | None
    spreads: tuple[Spread, Spread] | None
    notes: list[str]
    counts: dict[str, int]
    folds: int | None


@dataclass(frozen=True)
class Compared:
    """A written comparison."""

    title: str
    metric: str
    comparisons: list[Comparison]
    out: Path
    tables: list[Path]
    figures: list[Path]
