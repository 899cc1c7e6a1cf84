"""What came of a rung: who goes on, who leaves and why, in rows that are written down once the rung is over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fanin.record.search_files import RungRow
from fanin.search.racing import dropped
from fanin.search.random_proposals import TrialResult


def by_trial(rows: Iterable[RungRow]) -> dict[int, list[RungRow]]:
    """Rows by their trial, in order."""
    found: dict[int, list[RungRow]] = {}
    for row in rows:
        found.setdefault(row.trial, []).append(row)
    return found


def mean_values(rows: Sequence[RungRow]) -> tuple[float, ...]:
    """The metrics of a trial: means over its seeds, infinite if any of them is."""
    return tuple(math.fsum(each) / len(rows) if all(map(math.isfinite, each)) else _infinite(each)
                 for each in zip(*(row.values for row in rows), strict=True))  # fmt: skip


def _infinite(values: Iterable[float]) -> float:
    return next(value for value in values if not math.isfinite(value))


def ranked(rows: Iterable[RungRow], sign: int) -> list[tuple[float, int]]:
    """(value, trial) of the trials that have a number at every seed, the best first; values the smaller the better."""
    found = []
    for trial, own in by_trial(rows).items():
        if all(row.good and row.state != "refused" for row in own):
            found.append((sign * mean_values(own)[0], trial))
    return sorted(found)


def halved(rows: Sequence[RungRow], keep: int, sign: int) -> dict[int, str]:
    """Who leaves where only the best go on, and why.

    >>> halved([RungRow(0, 0, trial, "", 0, 9, (value,), "paused") for trial, value in enumerate([0.3, 0.1])], 1, 1)
    {0: 'rank 2 of 2 at step 9, of which 1 goes on'}
    """
    order = ranked(rows, sign)
    steps = {row.trial: row.steps for row in rows}
    many = f"of which {keep} {'goes' if keep == 1 else 'go'} on"
    return {
        trial: f"rank {rank} of {len(order)} at step {steps[trial]}, {many}"
        for rank, (_, trial) in enumerate(order, 1)
        if rank > keep
    }


def raced(rows: Sequence[RungRow], level: float, sign: int, test: str = "wilcoxon") -> dict[int, str]:
    """Who leaves where a paired test over the seeds says so, and why."""
    values = {trial: {row.seed: sign * row.values[0] for row in own} for trial, own in by_trial(rows).items()}
    there = {trial: of for trial, of in values.items() if any(map(math.isfinite, of.values()))}
    steps = {row.trial: row.steps for row in rows}
    leave = dropped(there, level, test) if there else {}
    return {trial: f"{why}, at step {steps[trial]}" for trial, why in leave.items()}


def with_reasons(rows: Sequence[RungRow], leave: Mapping[int, str]) -> list[RungRow]:
    """The rows with the reason why their trial left; a reason that a row has of its own stays."""
    return [replace(row, reason=row.reason or leave.get(row.trial, "")) for row in rows]


def result_of(trial: int, rows: Sequence[RungRow]) -> TrialResult:
    """What came of a trial, from its rows on all rungs."""
    last = max(row.rung for row in rows)
    own = [row for row in rows if row.rung == last]
    worst = next((row.state for row in own if row.state in ("refused", "failed", "diverged")), "done")
    leaves = any(row.reason for row in own)
    state = worst if worst != "done" else "dropped" if leaves and own[0].state == "paused" else "done"
    course = {}
    for rung in sorted({row.rung for row in rows}):
        here = [row for row in rows if row.rung == rung]
        course[max(row.steps for row in here)] = mean_values(here)[0]
    return TrialResult(trial, mean_values(own), state, course, tuple(dict.fromkeys(row.run for row in rows if row.run)))
