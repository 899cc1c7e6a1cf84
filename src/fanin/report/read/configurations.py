"""Configurations: what the runs of one study share when the seed is left aside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fanin.errors import UserError, did_you_mean
from fanin.record.overrides import display
from fanin.report.read.folders import Run

SEED = "seed"


@dataclass
class Configuration:
    """Runs that differ in their seed only (or in what `--group-by` leaves out).

    Attributes:
        experiment: the experiment they belong to.
        values: the keys of the grouping with this configuration's values, missing ones left out.
        members: positions of its runs in the list of all runs, ordered by seed.
        label: its short name in figures and tables.
    """

    experiment: str
    values: dict[str, Any]
    members: list[int] = field(default_factory=list)
    label: str = ""

    def number(self, key: str) -> float | None:
        """The value of a key if it is a number."""
        value = self.values.get(key)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def group_runs(runs: Sequence[Run], keys: Sequence[str] | None = None) -> list[Configuration]:
    """The configurations of the runs, in the order of their values.

    Args:
        runs: all runs.
        keys: configuration keys to group by; None for all overrides of the runs but the seed.

    Raises:
        UserError: a key that no run has.
    """
    if keys:
        _check(runs, keys)
    by_experiment: dict[str, set[str]] = {}
    for run in runs:
        by_experiment.setdefault(run.experiment, set()).update(run.files.overrides)
    groups: dict[tuple[str, ...], Configuration] = {}
    for position, run in enumerate(runs):
        names = list(keys) if keys else sorted(by_experiment[run.experiment] - {SEED})
        values = {name: run.value(name) for name in names}
        values = {name: value for name, value in values.items() if value is not None}
        identity = (run.experiment, *(f"{name}={canonical(value)}" for name, value in values.items()))
        groups.setdefault(identity, Configuration(run.experiment, values)).members.append(position)
    configurations = list(groups.values())
    used = varying_keys(configurations)
    configurations.sort(key=lambda one: (one.experiment, *(_order(one.values.get(key)) for key in used)))
    for one in configurations:
        one.members.sort(key=lambda position: (_order(runs[position].seed), runs[position].name))
    _label(configurations, used)
    return configurations


def varying_keys(configurations: Sequence[Configuration]) -> list[str]:
    """The keys whose values differ between configurations, in order of first appearance."""
    seen: dict[str, set[str]] = {}
    for one in configurations:
        for key in one.values:
            seen.setdefault(key, set())
    for key, values in seen.items():
        values.update(canonical(one.values.get(key)) for one in configurations)
    return [key for key, values in seen.items() if len(values) > 1]


def numeric_axis(configurations: Sequence[Configuration]) -> str | None:
    """The key with the most different values among those that are a number in every configuration."""
    counts = {
        key: len({one.number(key) for one in configurations})
        for key in varying_keys(configurations)
        if all(one.number(key) is not None for one in configurations)
    }
    return max(counts, key=lambda key: counts[key]) if counts else None


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Each key's last part, "c" for "initializer.c", or the whole key where two would read the same."""
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return {key: part if last.count(part) == 1 else key for key, part in zip(keys, last, strict=True)}


def canonical(value: object) -> str:
    """A text that is the same for equal values: 1 and 1.0 are equal, true is not 1."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(float(value))
    return json.dumps(value, sort_keys=True, default=str)


def _label(configurations: Sequence[Configuration], varying: Sequence[str]) -> None:
    """Name each configuration by what varies; a single one by all that it sets."""
    keys = list(varying) or list(dict.fromkeys(key for one in configurations for key in one.values))
    short = short_keys(keys)
    several = len({one.experiment for one in configurations}) > 1
    for one in configurations:
        parts = [f"{short[key]}={display(one.values[key])}" for key in keys if key in one.values]
        if several or not parts:
            parts.insert(0, one.experiment or "base")
        one.label = ", ".join(parts)


def _check(runs: Sequence[Run], keys: Sequence[str]) -> None:
    known = {key for run in runs for key in run.files.overrides}
    for key in keys:
        if key not in known and all(run.value(key) is None for run in runs):
            near = did_you_mean(key, sorted(known | set(runs[0].config.keys)))
            raise UserError(
                f"--group-by {key}: no run has this key; "
                + (near or f"the runs differ in {', '.join(sorted(known)) or 'nothing'}")
            )


def _order(value: object) -> tuple[int, float, str]:
    """A sorting key: missing values first, then numbers by size, then texts."""
    if value is None:
        return (0, 0.0, "")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (1, float(value), "")
    return (2, 0.0, display(value))
