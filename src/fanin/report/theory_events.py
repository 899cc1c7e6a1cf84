"""Theory for TensorBoard: runs of their own whose profiles overlay the measured ones, and the study figure."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fanin.record.event_file import EventFile, with_log10
from fanin.record.tensorboard_plugins import hparams_experiment
from fanin.report.read.configurations import Configuration, varying_keys
from fanin.report.read.series import Profiles
from fanin.report.statistics import Floats, geometric_mean

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


def write_tensorboard(
    out: Path, configurations: Sequence[Configuration], profiles: Profiles, figures: Sequence[Path]
) -> None:
    """Write tensorboard/theory_<configuration>/{median,band_low,...} and tensorboard/figures.

    Tags and steps are those of the measured runs, profile_init/<quantity> at step l and profile_init_module/<quantity>
    at the module's index, so that theory lies over them in one chart; among many configurations, which it would hide,
    it is left out. Files of an earlier report are replaced.
    """
    folder = out / "tensorboard"
    clear(folder, "theory_*/*/", "theory_*/", "figures/")
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
                events = EventFile(folder / f"theory_{file_name(one.label)}" / line)
                write_depth(events, means)
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


def clear(folder: Path, *places: str) -> None:
    """Remove the event files that an earlier report has left at these places of a folder, and what is empty then."""
    for place in places:
        for old in [*folder.glob(place)]:
            for file in old.glob("events.out.tfevents.*"):
                file.unlink()
            if not any(old.iterdir()):
                old.rmdir()


def write_depth(events: EventFile, means: Mapping[str, Floats]) -> None:
    """Write means over depth, [layers] by the tag, those of a layer at its position, from 1; and their logarithms."""
    for layer in range(max(map(len, means.values()), default=0)):
        there = {tag: float(mean[layer]) for tag, mean in means.items() if layer < len(mean)}
        finite = {tag: value for tag, value in there.items() if math.isfinite(value)}
        if finite:
            events.scalars(with_log10(finite), layer + 1)


def file_name(label: str) -> str:
    """A label as a folder's name: "c=2, lr=0.1" becomes "c=2,lr=0.1"; long ones are cut and end in a hash."""
    name = re.sub(r"[^\w.,=+\[\]-]", "_", label.replace(", ", ","))
    if name == label.replace(", ", ",") and len(name) <= 100:
        return name
    return f"{name[:100]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
