"""Runs of TensorBoard's that a report makes: means and quantiles over seeds, the best of very many, theory, figures."""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fanin.errors import counted
from fanin.record.event_file import EventFile, with_log10
from fanin.record.recorder import TAGS
from fanin.record.tensorboard_plugins import hparams_end, hparams_experiment, hparams_start, quantile_layout
from fanin.report.read.configurations import Configuration, varying_keys
from fanin.report.read.series import Metrics, Profiles
from fanin.report.statistics import Floats, geometric_mean, mean_curve

SEEDS = "seeds"
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
MOST_THEORIES = 12  # configurations, as in the figure; each makes four runs in TensorBoard's list, and as many lines
GROUPS = {
    "weight": ("profile_init", ("activation_norm", "gradient_norm", "weight_variance")),
    "module": ("profile_init_module", ("activation_norm",)),
}
LINES = {
    "median": ("", "theory"), "band_low": ("", "band_low"), "band_high": ("", "band_high"),
    "mean_square": ("_mean_square", "theory"), "redraw_median": ("", "redraw_median"),
    "redraw_low": ("", "redraw_low"), "redraw_high": ("", "redraw_high"),
}  # fmt: skip
"""What is added to a quantity's name, and its column."""


def write_means(
    out: Path, configurations: Sequence[Configuration], values: Sequence[float], metrics: Metrics, profiles: Profiles
) -> list[Path]:
    """Write tensorboard/seeds/<configuration> of those with several runs, and best/ of very many; the folders written.

    Tags are those of the runs: of metrics over steps the mean, at steps that half of the runs have reached, and under
    quantile_16/<tag>, 50 and 84 their quantiles; of profiles over depth the geometric mean. Hyperparameters are what
    varies. What an earlier report has left there is replaced.

    TensorBoard's custom scalars tick no run where there are more than MOST_TICKED, and are blank. In best/ are few:
    <rank>,<configuration> of the BEST configurations of least metric, and <all> with the mean and the quantiles over
    the runs of all.

    Args:
        out: the report's folder.
        configurations, metrics, profiles: of the report.
        values: the metric of each configuration, the smaller the better; nan where there is none.
    """
    folder = out / "tensorboard"
    _clear(folder, f"{SEEDS}/*/", f"{SEEDS}/", f"{BEST_FOLDER}/*/", f"{BEST_FOLDER}/")
    several = [one for one in configurations[:MOST] if len(one.members) > 1]
    chosen = {f"{SEEDS}/{_file_name(one.label)}": one for one in several}
    if len(configurations) > MOST_TICKED:
        ranked = sorted((i for i, value in enumerate(values) if math.isfinite(value)), key=lambda i: values[i])[:BEST]
        best = ((rank, configurations[i]) for rank, i in enumerate(ranked, 1))
        chosen |= {f"{BEST_FOLDER}/{rank:02},{_file_name(one.label)}": one for rank, one in best}
        every = Configuration("", {}, [i for one in configurations for i in one.members], "all")
        chosen[f"{BEST_FOLDER}/all_{len(configurations)}_configurations"] = every
    profile, varying = _over_depth(profiles), varying_keys(configurations)
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
    _write_depth(events, {tag: geometric_mean(matrix[one.members]) for tag, matrix in profile.items() if matrix.size})
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


def write_tensorboard(
    out: Path, configurations: Sequence[Configuration], profiles: Profiles, figures: Sequence[Path]
) -> None:
    """Write tensorboard/theory_<configuration>/{median,band_low,...} and tensorboard/figures.

    Tags and steps are those of the measured runs, profile_init/<quantity> at step l and profile_init_module/<quantity>
    at the module's index, so that theory lies over them in one chart; among many configurations, which it would hide,
    it is left out. Files of an earlier report are replaced.
    """
    folder = out / "tensorboard"
    _clear(folder, "theory_*/*/", "theory_*/", "figures/")
    curves = {
        (line, f"{group}/{quantity}"): profiles.matrix("init", axis, f"{quantity}{more}", column)
        for axis, (group, quantities) in GROUPS.items()
        for line, (more, column) in LINES.items()
        for quantity in (quantities if not more else quantities[:1])
    }
    for one in configurations if len(configurations) <= MOST_THEORIES else ():
        for line in LINES:
            means = {tag: geometric_mean(values[one.members]) for (name, tag), values in curves.items() if name == line}
            if any(np.isfinite(mean).any() for mean in means.values()):
                events = EventFile(folder / f"theory_{_file_name(one.label)}" / line)
                _write_depth(events, means)
                events.close()
    keys = varying_keys(configurations) or dict.fromkeys(key for one in configurations for key in one.values)
    values = {key: [one.values.get(key) for one in configurations] for key in keys}
    studies = {"study", *(one.experiment for one in configurations)}
    images = [path for path in figures if path.suffix == ".png" and path.stem in studies]
    if not values and not images:
        return
    events = EventFile(folder / "figures")
    if values:
        events.plugin(*hparams_experiment(values | {"seed": [0]}))
    for path in images:
        png = path.read_bytes()
        width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))  # PNG's header
        events.image(f"figures/{path.stem}", png, width, height)
    events.close()


def _clear(folder: Path, *places: str) -> None:
    """Remove the event files that an earlier report has left at these places of a folder, and what is empty then."""
    for place in places:
        for old in [*folder.glob(place)]:
            for file in old.glob("events.out.tfevents.*"):
                file.unlink()
            if not any(old.iterdir()):
                old.rmdir()


def _write_depth(events: EventFile, means: Mapping[str, Floats]) -> None:
    """Write means over depth, [layers] by the tag, those of a layer at its position, from 1; and their logarithms."""
    for layer in range(max(map(len, means.values()), default=0)):
        there = {tag: float(mean[layer]) for tag, mean in means.items() if layer < len(mean)}
        finite = {tag: value for tag, value in there.items() if math.isfinite(value)}
        if finite:
            events.scalars(with_log10(finite), layer + 1)


def _file_name(label: str) -> str:
    """A label as a folder's name: "c=2, lr=0.1" becomes "c=2,lr=0.1"; long ones are cut and end in a hash."""
    name = re.sub(r"[^\w.,=+\[\]-]", "_", label.replace(", ", ","))
    if name == label.replace(", ", ",") and len(name) <= 100:
        return name
    return f"{name[:100]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
