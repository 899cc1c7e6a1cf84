"""Three sides or more against each other: ranks, critical difference, probability of improvement, time to a target."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanin.errors import counted
from fanin.report.compare.sides import Matched, Side, value_of
from fanin.report.compare.time_to_target import TimeToTarget, time_to_target
from fanin.report.rank_statistics import (
    Bounded,
    blocks_of,
    cliques,
    critical_difference,
    friedman,
    improvement,
    mean_ranks,
)
from fanin.report.read.configurations import canonical
from fanin.report.read.folders import Run
from fanin.report.statistics import Floats, bounded
from fanin.report.write.tables import Table

LARGER_IS_BETTER = ("accuracy", "f1", "precision", "recall", "roc_auc")


@dataclass(frozen=True)
class Ranking:
    """All sides over the blocks that every one of them has.

    Attributes:
        sides: the reference first.
        strata: for each data set the values [runs, k], negated where larger is better, inf where diverged.
        unit: what a block is, "run" or "data set".
        blocks: how many there are.
        ranks: mean ranks with their intervals.
        better: the probability that a side improves on the reference, with its interval.
        critical: Nemenyi's critical difference.
        groups: positions of sides that it does not tell apart.
        friedman_p: of the test that all rank alike.
        times: updates to the target; None where nothing was logged on the way.
        notes: how to read this, a line each.
    """

    sides: list[str]
    strata: list[Floats]
    unit: str
    blocks: int
    ranks: Bounded
    better: Bounded
    critical: float
    groups: list[NDArray[np.intp]]
    friedman_p: float
    times: TimeToTarget | None
    notes: list[str]

    @property
    def order(self) -> list[int]:
        """Positions of the sides, the best rank first."""
        return [int(position) for position in np.argsort(self.ranks.estimate, kind="stable")]

    @property
    def words(self) -> str:
        """What the tests of all sides say."""
        p = "no p, all tie" if math.isnan(self.friedman_p) else f"p = {self.friedman_p:.2g}"
        by = f"Friedman's test that all rank alike: {p}"
        apart = f"mean ranks {self.critical:.3g} apart differ at 5 % (Nemenyi)"
        groups = [_group([self.sides[int(i)] for i in group]) for group in self.groups]
        return f"{by}; {apart}; not distinguished: {'; '.join(groups) or 'none'}"

    def rows(self) -> list[dict[str, object]]:
        """A row for each side, the best first, with the columns of compare_ranks.csv."""
        runs = sum(map(len, self.strata))
        rows: list[dict[str, object]] = []
        for i in self.order:
            row: dict[str, object] = {"side": self.sides[i], "runs": runs, "blocks": self.blocks, "block": self.unit}
            for name, found, there in (("mean_rank", self.ranks, True), ("p_better", self.better, i > 0)):
                row |= bounded(name, *(float(ends[i]) if there else None for ends in found))
            row |= {"critical_difference": self.critical, "friedman_p": self.friedman_p}
            times = self.times
            steps = np.concatenate([steps[:, i] for steps in times.steps]) if times else np.empty(0)
            row |= {
                "followed": times.column if times else None,
                "target": times.targets[0] if times and len(times.targets) == 1 else None,
                "reached": float(np.isfinite(steps).mean()) if times else None,
                "steps_to_target": float(np.median(steps)) if times else None,
                "profile_score": float(times.scores[i]) if times else None,
            }
            rows.append(row)
        return rows

    def table(self) -> Table:
        """For people."""
        header = ["side", "mean rank", "better"]
        header += ["at target", "updates", "score"] if self.times else []
        rows = []
        for row in self.rows():
            cells = [str(row["side"])] + [_interval(row, name) for name in ("mean_rank", "p_better")]
            if self.times:
                steps = row["steps_to_target"]
                cells += [f"{row['reached']:.0%}", "never" if steps == math.inf else f"{steps:g}"]
                cells.append(f"{row['profile_score']:.2f}")
            rows.append(cells)
        return Table("ranks", header, rows)


def rank(sides: Sequence[Side], matches: Sequence[Matched], metric: str) -> Ranking | None:
    """Rank three sides or more, the reference first; None with fewer than two blocks that all of them have.

    A block is a run of the reference with a partner on every other side, each of them done with a finite value or
    diverged, which is worse than any number; with several data sets a data set is one, by the median of its runs.
    """
    partners = [{id(pair.first): pair.side for pair in matched.pairs} for matched in matches]
    whole = [
        [pair.first, *(runs[id(pair.first)] for runs in partners)]
        for pair in matches[0].pairs
        if all(id(pair.first) in runs for runs in partners)
    ]
    sign = -1.0 if metric in LARGER_IS_BETTER else 1.0
    by_data: dict[str, list[tuple[list[Run], list[float]]]] = {}
    for runs in whole:
        values = [run.judged(metric, sign) for run in runs]
        if not any(map(math.isnan, values)):
            by_data.setdefault(canonical(value_of(runs[0], "data")), []).append((runs, values))
    strata = [np.array([values for _, values in found]) for found in by_data.values()]
    if not strata or (len(blocks := blocks_of(strata)) < 2):
        return None
    ranks, count = mean_ranks(strata), len(sides)
    critical = critical_difference(count, len(blocks))
    unit = "data set" if len(strata) > 1 else "run"
    times = time_to_target([[runs for runs, _ in found] for found in by_data.values()], metric)
    used = sum(map(len, strata))
    over = f"{counted(used, 'run')} of each side" + (f" on {len(strata)} data sets" if len(strata) > 1 else "")
    notes = [f"ranks: of {over}, matched across all {count} sides; 1 is the {'largest' if sign < 0 else 'smallest'}"]
    notes.append(f"better: the probability that a run of a side is better than one of {sides[0].text}")
    if left := len(sides[0].runs) - used:
        notes.append(
            f"left out of the ranks: {counted(left, 'run')} of {sides[0].text} without one on every other side"
        )
    for i, side in enumerate(sides):
        if diverged := sum(int(np.isinf(values[:, i]).sum()) for values in strata):
            notes.append(f"{counted(diverged, 'run')} of {side.text} diverged, which ranks behind every number")
    if any(
        run.overrides.get("data.fold") is not None for found in by_data.values() for runs, _ in found for run in runs
    ):
        notes.append("runs are folds, whose training sets overlap: these intervals and tests take them for independent")
    if times:
        names = [f" on {json.loads(name)}" if len(by_data) > 1 else "" for name in by_data]
        told = ", ".join(f"{target:.4g}{name}" for target, name in zip(times.targets, names, strict=True))
        notes.append(f"target of {times.column.replace('_', ' ')}: {told}, the median that {sides[0].text} ends at")
    return Ranking(
        [side.text for side in sides], strata, unit, len(blocks), ranks, improvement(strata), critical,
        cliques(ranks.estimate, critical), friedman(blocks), times, notes,
    )  # fmt: skip


def _group(sides: list[str]) -> str:
    """Sides that stand one behind the other in rank."""
    return " = ".join(sides) if len(sides) < 4 else f"{sides[0]} to {sides[-1]} ({len(sides)} sides)"


def _interval(row: dict[str, object], name: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return "" if value is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"
