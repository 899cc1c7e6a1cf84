"""Means and quantiles over seeds for TensorBoard, and the best of very many: 20 lines where the grid has 200 runs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fanin.errors import counted
from fanin.record.event_file import EventFile
from fanin.record.recorder import TAGS
from fanin.record.tensorboard_plugins import hparams_end, hparams_start, quantile_layout
from fanin.report.read.configurations import Configuration, varying_keys
from fanin.report.read.series import Metrics, Profiles
from fanin.report.statistics import Floats, geometric_mean, mean_curve
from fanin.report.theory_events import clear, file_name, write_depth

FOLDER = "seeds"
BEST_FOLDER = "best"
BEST = 20  # configurations
MOST_TICKED = 40  # runs that TensorBoard ticks by itself
MOST = 1000  # configurations
QUANTILES = {"quantile_16": 0.16, "quantile_50": 0.5, "quantile_84": 0.84}
"""What is put in front of a metric's tag, and the share of runs that lie below."""
OVER_DEPTH = [
    ("init", ("activation_norm", "gradient_norm", "weight_variance")),
    ("final", ("activation_norm", "gradient_norm", "weight_variance", "weight_movement")),
]


def write_seeds(out: Path, configurations: Sequence[Configuration], metrics: Metrics, profiles: Profiles) -> list[Path]:
    """Write tensorboard/seeds/<configuration> for each configuration of several runs; the folders written.

    Tags are those of the runs: of metrics over steps the mean, at steps that half of the runs have reached, and under
    quantile_16/<tag>, 50 and 84 their quantiles; of profiles over depth the geometric mean. Hyperparameters are what
    varies. What an earlier report has left there is replaced.
    """
    folder = out / "tensorboard" / FOLDER
    clear(folder.parent, f"{FOLDER}/*/", f"{FOLDER}/")
    profile, varying = _over_depth(profiles), varying_keys(configurations)
    several = [one for one in configurations[:MOST] if len(one.members) > 1]
    return [_write(folder / file_name(one.label), one, varying, metrics, profile) for one in several]


def write_best(
    out: Path, configurations: Sequence[Configuration], values: Sequence[float], metrics: Metrics, profiles: Profiles
) -> list[Path]:
    """Write tensorboard/best/<rank>,<configuration> for the best of very many, and <all> for all; the folders written.

    TensorBoard's custom scalars tick no run where there are more than MOST_TICKED, and are blank. Here are few: the
    means over seeds of the BEST configurations of least metric, and of all the mean and the quantiles over their runs.

    Args:
        out: the report's folder.
        configurations, metrics, profiles: of the report.
        values: the metric of each configuration, the smaller the better; nan where there is none.
    """
    folder = out / "tensorboard" / BEST_FOLDER
    clear(folder.parent, f"{BEST_FOLDER}/*/", f"{BEST_FOLDER}/")
    if len(configurations) <= MOST_TICKED:
        return []
    profile, varying = _over_depth(profiles), varying_keys(configurations)
    ranked = sorted((i for i, value in enumerate(values) if math.isfinite(value)), key=lambda i: values[i])[:BEST]
    chosen = {f"{rank:02},{file_name(configurations[i].label)}": configurations[i] for rank, i in enumerate(ranked, 1)}
    every = Configuration("", {}, [i for one in configurations for i in one.members], "all")
    chosen[f"all_{len(configurations)}_configurations"] = every
    return [_write(folder / name, one, varying, metrics, profile) for name, one in chosen.items()]


def _over_depth(profiles: Profiles) -> dict[str, Floats]:
    """The profiles [runs, layers] of OVER_DEPTH, by their tags."""
    return {
        f"profile_{snapshot}/{quantity}": profiles.matrix(snapshot, "weight", quantity)
        for snapshot, quantities in OVER_DEPTH
        for quantity in quantities
    }


def _write(
    folder: Path, one: Configuration, varying: Sequence[str], metrics: Metrics, profile: Mapping[str, Floats]
) -> Path:
    """Write one configuration as a run of TensorBoard's."""
    events = EventFile(folder)
    named = {key: one.values[key] for key in varying if key in one.values}
    events.plugin(*hparams_start(f"{counted(len(one.members), 'run')} of {one.label}", named))
    events.summary(quantile_layout(tuple(QUANTILES)), 0)
    for step, values in sorted(_over_steps(one, metrics).items()):
        events.scalars(values, step)
    write_depth(events, {tag: geometric_mean(matrix[one.members]) for tag, matrix in profile.items() if matrix.size})
    events.plugin(*hparams_end(success=True))
    events.close()
    return events.folder


def quantiles(values: Floats, shares: Sequence[float]) -> Floats:
    """Quantiles [len(shares), S] of the finite ones among [runs, S], nan where there are none; linear in between.

    >>> quantiles(np.array([[1.0], [np.nan], [3.0]]), [0.5]).tolist()
    [[2.0]]
    """
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=0)  # nan last
    there = np.isfinite(ordered).sum(axis=0)
    place = np.asarray(shares)[:, None] * np.maximum(there - 1, 0)
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, np.maximum(there - 1, 0))
    low, high = (np.take_along_axis(ordered, at, axis=0) for at in (below, above))
    return np.asarray(low + (place - below) * (high - low))


def _over_steps(one: Configuration, metrics: Metrics) -> dict[int, dict[str, float]]:
    """What each step says, by the tag."""
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for column, tag in TAGS.items():
        steps, values = metrics.matrix(one.members, column)
        if not len(steps):
            continue
        mean = mean_curve(values, one.folds)[0]
        lines = {tag: mean}
        if column != "lr":
            of = quantiles(values, tuple(QUANTILES.values()))
            lines |= {
                f"{name}/{tag}": np.where(np.isnan(mean), np.nan, row) for name, row in zip(QUANTILES, of, strict=True)
            }
        for name, line in lines.items():
            for i in np.flatnonzero(~np.isnan(line)):
                found[int(steps[i])][name] = float(line[i])
    return found
