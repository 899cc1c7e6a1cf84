"""The lines between the ends of different seeds, and how far starts and ends lie from each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from fanin.errors import counted
from fanin.record.landscape_files import Asked, Landscape
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, spread


class Apart(NamedTuple):
    """Two seeds of one configuration, and Euclidean distances between their weights, all of them as one vector.

    Attributes:
        first, second: the runs.
        line: the loss between their ends.
        ends: from one end to the other.
        own: from each start to its own end.
        across: from each start to the other end.
    """

    first: Run
    second: Run
    line: Landscape
    ends: float
    own: tuple[float, float]
    across: tuple[float, float]


def seeds_of(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of each configuration, which differ in their seeds, by these."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        but_seed = {key: value for key, value in sorted(run.overrides.items()) if key != "seed"}
        groups.setdefault(repr(but_seed), []).append(run)
    return [sorted(group, key=lambda run: (isinstance(run.seed, str), run.seed)) for group in groups.values()]


def lines_of(runs: Sequence[Run], points: int) -> Iterator[tuple[Run, Run, Asked]]:
    """The line between the ends of every two seeds of one configuration."""
    for group in seeds_of(runs):
        for one, two in combinations(group, 2):
            yield one, two, Asked(runs=(str(one.folder), str(two.folder)), points=points, span=0.0)


def apart(evidence: Evidence, points: int) -> list[Apart]:
    """Every two seeds whose line is there."""
    found = []
    for one, two, asked in lines_of([run for run in evidence.runs_with({}) if run.state == "done"], points):
        line = evidence.landscape(asked)
        if line is not None and {one.folder.name, two.folder.name} <= line.paths.keys():
            found.append(distances(one, two, line))
    return found


def distances(one: Run, two: Run, line: Landscape) -> Apart:
    """Distances from a line's own coordinates: the ends are its 0 and 1, a start has a place along it and off it."""
    length = float(line.about["lengths"][0])
    found = []
    for run in (one, two):
        _, along, _, off = line.paths[run.folder.name][0]
        found.append([math.hypot((along - end) * length, off) for end in (0, 1)])
    (first, first_across), (second_across, second) = found
    return Apart(one, two, line, length, (first, second), (first_across, second_across))


def nearer_to_own_start(pairs: Sequence[Apart]) -> Claim:
    """The claim that where a run ends is told by where it started, not by a minimum that all seeds have in common."""
    text = "weights end nearer to their own start than to another seed's start or end"
    if not pairs:
        return Claim.missing(text, "two seeds")
    own = [pair.own[side] / other for pair in pairs for side in (0, 1) for other in (pair.ends, pair.across[1 - side])]
    return Claim(text, max(own) < 1, f"{spread(own)} of the way to the other, {counted(len(pairs), 'pair')} of seeds")
