"""Configurations: what the runs of one study share when the seed is left aside."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Any

from fanin.errors import UserError, counted, did_you_mean
from fanin.record.overrides import display
from fanin.report.read.folders import Run

SEED, FOLD, FOLDS, REPEAT = "seed", "data.fold", "data.folds", "data.repeat"
REPLICATES = (SEED, FOLD, REPEAT)  # what runs of one configuration differ in
# What a setting tells in words of its own, see RunConfig.setting.
TOLD = (
    "data", "model.depth", "model.width", "activation", "normalization", "optimizer", "optimizer.lr",
    "trainer.batch_size",
)  # fmt: skip


@dataclass
class Configuration:
    """Runs that differ in their seed or fold only (or in what `--group-by` leaves out).

    Attributes:
        experiment: the experiment they belong to.
        values: the keys of the grouping with this configuration's values, missing ones left out.
        members: positions of its runs in the list of all runs, ordered by seed.
        label: its short name in figures and tables: what varies, or of a single one all that it sets.
        folds: k where its runs are folds of a cross-validation, whose training sets overlap, else None.
    """

    experiment: str
    values: dict[str, Any]
    members: list[int] = field(default_factory=list)
    label: str = ""
    folds: int | None = None


def group_runs(runs: Sequence[Run], keys: Sequence[str] | None = None) -> list[Configuration]:
    """The configurations of the runs, in the order of their values.

    Args:
        runs: all runs.
        keys: configuration keys to group by; None for all overrides of the runs but the seed and the fold.

    Raises:
        UserError: a key that no run has.
    """
    by_experiment: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        by_experiment[run.experiment].update(run.overrides)
    known = set().union(*by_experiment.values())
    for key in keys or ():
        if key not in known and all(run.value(key) is None for run in runs):
            near = did_you_mean(key, sorted(known | set(runs[0].config.keys)))
            fix = near or f"the runs differ in {', '.join(sorted(known)) or 'nothing'}"
            raise UserError(f"--group-by {key}: no run has this key; {fix}")
    groups: dict[tuple[str, ...], Configuration] = {}
    for position, run in enumerate(runs):
        names = list(keys) if keys else sorted(by_experiment[run.experiment] - {*REPLICATES})
        values = {name: value for name in names if (value := run.value(name)) is not None}
        identity = (run.experiment, *(f"{name}={canonical(value)}" for name, value in values.items()))
        groups.setdefault(identity, Configuration(run.experiment, values)).members.append(position)
    varying = varying_keys(list(groups.values()))
    configurations = sorted(
        groups.values(), key=lambda one: (one.experiment, *(order(one.values.get(key)) for key in varying))
    )
    told = varying or list(dict.fromkeys(key for one in configurations for key in one.values))
    short = short_keys(told)
    for one in configurations:
        one.members.sort(key=lambda position: (order(runs[position].seed), runs[position].name))
        one.folds = folds_of([runs[position] for position in one.members])
        parts = [f"{short[key]}={display(one.values[key])}" for key in told if key in one.values]
        named = [one.experiment or "base"] if len(by_experiment) > 1 or not parts else []
        one.label = ", ".join([*named, *parts])
    return configurations


def setting(runs: Sequence[Run], configurations: Sequence[Configuration]) -> str:
    """What all runs share, then the names of what varies between them, and how many seeds and folds there are."""
    ended = [run for run in runs if run.config.config] or runs
    overrides = dict.fromkeys(key for run in runs for key in run.overrides if key not in REPLICATES)
    values = {key: {canonical(run.value(key)) for run in ended} for key in (*TOLD, *overrides)}
    varying = [key for key, different in values.items() if len(different) > 1]
    words = ended[0].config.setting(varying)
    # A single configuration is named by what it sets: the heading of the table is its label.
    others = [key for key in overrides if key not in (*TOLD, *varying)] if len(configurations) > 1 else []
    short = short_keys([*others, *varying])
    words += [f"{short[key]} {display(ended[0].value(key))}" for key in others]
    told = [", ".join(words)] if words else []
    told += [f"different {', '.join(short[key] for key in varying)}"] if varying else []
    folds = max((one.folds or 0 for one in configurations), default=0)
    counts = [counted(len({canonical(run.seed) for run in runs}), "seed"), *([counted(folds, "fold")] if folds else [])]
    return "; ".join([*told, ", ".join(counts)])


def varying_keys(configurations: Sequence[Configuration]) -> list[str]:
    """The keys whose values differ between configurations, in order of first appearance."""
    keys = dict.fromkeys(key for one in configurations for key in one.values)
    return [key for key in keys if len({canonical(one.values.get(key)) for one in configurations}) > 1]


def folds_of(runs: Sequence[Run]) -> int | None:
    """k where these runs are several folds, of one cross-validation or more; of several k the smallest, else None.

    Their training sets overlap by all but n/k examples each, the more to a fold the smaller k. Where each fold is one
    example, data.folds=all, k is at least the number of folds that are there.
    """
    numbered = [run for run in runs if run.overrides.get(FOLD) is not None]
    folds = {(canonical(run.overrides[FOLD]), canonical(run.overrides.get(REPEAT) or 0)) for run in numbered}
    if len(folds) < 2:
        return None
    known = {run.value(FOLDS) for run in runs}
    return min((k for k in known if isinstance(k, int) and k > 1), default=max(2, len({one for one, _ in folds})))


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Each key's last part, "c" for "initializer.c", or the whole key where two would read the same."""
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return {key: part if last.count(part) == 1 else key for key, part in zip(keys, last, strict=True)}


def canonical(value: object) -> str:
    """A text that is the same for equal values: 1 and 1.0 are equal, true is not 1."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(float(value))
    if isinstance(value, str):
        return encode_basestring_ascii(value)  # what json.dumps makes of a text, ten times as fast
    return json.dumps(value, sort_keys=True, default=str)


def order(value: object) -> tuple[int, float, str]:
    """A sorting key: missing values first, then numbers by size, then texts."""
    if value is None:
        return (0, 0.0, "")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (1, float(value), "")
    return (2, 0.0, display(value))
