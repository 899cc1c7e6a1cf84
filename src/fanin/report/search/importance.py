"""How much each axis matters, with an interval over resamples: functional ANOVA, and the densities of what is good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanin.report.search.searched import Axis

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

RESAMPLES = 40
LEAVES = 128
"""Of a tree, about."""

SEED = 0
"""The same files give the same report."""

COARSE = 5
"""Bins of an ordered axis, in which the good configurations are counted: they are few."""

GOOD, KNOWN = 0.2, 8
"""The share of configurations that is called good, and the fewest that anything is said of."""


@dataclass(frozen=True)
class Importance:
    """The share of an axis: its mean over resamples, and their 2.5 % and 97.5 % quantiles."""

    name: str
    share: float
    low: float
    high: float


def importances(axes: Sequence[Axis], places: Places, values: Floats, *, good: bool = False) -> list[Importance]:
    """The importance of each axis, the largest first; [] of fewer than `KNOWN` configurations, or where all are equal.

    Args:
        axes: d of them.
        places: [n, d], the bin of each configuration on each axis.
        values: [n], small is good; what is not finite is left out.
        good: PED-ANOVA instead of fANOVA.
    """
    kept = np.isfinite(values)
    places, values = places[kept], values[kept]
    if len(values) < KNOWN or np.ptp(values) == 0:
        return []
    random = np.random.default_rng(SEED)
    shares = []
    for _ in range(RESAMPLES):
        chosen = random.integers(0, len(values), len(values))
        if np.ptp(values[chosen]) > 0:
            measure = density_shares if good else variance_shares
            shares.append(measure(axes, places[chosen], values[chosen]))
    if not shares:
        return []
    low, high = np.quantile(shares, (0.025, 0.975), axis=0)
    found = [
        Importance(axis.name, float(mean), float(lowest), float(highest))
        for axis, mean, lowest, highest in zip(axes, np.mean(shares, axis=0), low, high, strict=True)
    ]
    return sorted(found, key=lambda one: -one.share)


def variance_shares(axes: Sequence[Axis], places: Places, values: Floats) -> Floats:
    """The share of the variance that each axis alone explains, of a regression tree, [d].

    $f = sum_L v_L 1_L$ over leaves L, boxes with the values v_L; the share of axis j is $Var(f_j) / Var(f)$ with
    $f_j(b) = E[f | x_j = b]$, x spread evenly over the axes' bins. What no axis explains alone is due to interactions.

    Source: Hutter, Hoos, Leyton-Brown, An efficient approach for assessing hyperparameter importance (2014).
    """
    boxes, heights = tree(axes, places, values)
    sides = [mask @ axis.weights for mask, axis in zip(boxes, axes, strict=True)]
    volumes = np.prod(sides, axis=0)
    mean = float(volumes @ heights)
    total = float(volumes @ (heights - mean) ** 2)
    if total <= 0:
        return np.zeros(len(axes))
    alone = []
    for mask, axis, side in zip(boxes, axes, sides, strict=True):
        marginal = (volumes / side * (heights - mean)) @ mask
        alone.append(float(axis.weights @ marginal**2))
    return np.array(alone) / total


def tree(axes: Sequence[Axis], places: Places, values: Floats) -> tuple[list[Floats], Floats]:
    """A regression tree: for each axis which bins each leaf holds, [leaves, bins] of 0 and 1, and the leaves' means.

    A node is split where that leaves the smallest squared errors: an ordered axis at an edge of its bins, another
    between its bins in the order of their means.
    """
    least = max(1, len(values) // LEAVES)
    nodes = [(np.arange(len(values)), [np.ones(len(axis.weights), bool) for axis in axes])]
    boxes: list[list[NDArray[np.bool_]]] = []
    heights = []
    while nodes:
        rows, masks = nodes.pop()
        cut = _cut(axes, places[rows], values[rows], masks, least)
        if cut is None:
            boxes.append(masks)
            heights.append(values[rows].mean())
            continue
        axis, left = cut
        goes_left = left[places[rows, axis]]
        for side, mask in ((goes_left, masks[axis] & left), (~goes_left, masks[axis] & ~left)):
            nodes.append((rows[side], [*masks[:axis], mask, *masks[axis + 1 :]]))
    return [np.array([box[j] for box in boxes], float) for j in range(len(axes))], np.array(heights)


def _cut(
    axes: Sequence[Axis], places: Places, values: Floats, masks: Sequence[NDArray[np.bool_]], least: int
) -> tuple[int, NDArray[np.bool_]] | None:
    """The axis along which a node is split best, and the bins of its left side; None for a leaf."""
    best, found = -np.inf, None  # also a cut that gains nothing: of an interaction the first one does not
    if len(values) < 2 * least or np.ptp(values) == 0:
        return None
    for number, (axis, mask) in enumerate(zip(axes, masks, strict=True)):
        bins = np.flatnonzero(mask)
        if len(bins) < 2:
            continue
        counts = np.bincount(places[:, number], minlength=len(mask))[bins]
        sums = np.bincount(places[:, number], values, len(mask))[bins]
        if not axis.ordered:
            means = np.where(counts > 0, sums / np.maximum(counts, 1), values.mean())
            order = np.argsort(means, kind="stable")
            bins, counts, sums = bins[order], counts[order], sums[order]
        left, below = np.cumsum(counts)[:-1], np.cumsum(sums)[:-1]
        right, above = len(values) - left, values.sum() - below
        allowed = (left >= least) & (right >= least)
        if not allowed.any():
            continue
        gains = np.where(allowed, below**2 / np.maximum(left, 1) + above**2 / np.maximum(right, 1), -np.inf)
        if (most := float(gains.max())) > best:
            ties = np.flatnonzero(gains >= most)  # over bins that hold nothing: in their middle
            chosen = np.zeros(len(mask), bool)
            chosen[bins[: ties[len(ties) // 2] + 1]] = True
            best, found = most, (number, chosen)
    return found


def density_shares(axes: Sequence[Axis], places: Places, values: Floats) -> Floats:
    """How far the good configurations' places on each axis differ from all places, shares of 1, [d].

    $D_j = sum_b q_b (p_b/q_b - 1)^2$, p and q the densities over the bins of axis j of the best fifth and of all; both
    with one more configuration spread evenly, so that no bin is empty.

    Source: Watanabe, Bansal, Hutter, PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary
    subspaces (2023).
    """
    best = values <= np.quantile(values, GOOD)
    apart = []
    for number, axis in enumerate(axes):
        p, q = (_density(places[rows, number], axis) for rows in (best, np.ones(len(values), bool)))
        apart.append(float(q @ (p / q - 1) ** 2))
    total = sum(apart)
    return np.array(apart) / total if total > 0 else np.zeros(len(axes))


def _density(places: Places, axis: Axis) -> Floats:
    count = len(axis.weights)
    step = COARSE if axis.ordered and count > COARSE else count
    coarse = np.arange(count) * step // count
    even = np.bincount(coarse, axis.weights, step)
    density: Floats = (np.bincount(coarse[places], minlength=step) + even) / (len(places) + 1)
    return density
