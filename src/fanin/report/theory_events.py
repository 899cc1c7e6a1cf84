"""Theory for TensorBoard: runs of their own whose profiles overlay the measured ones, and the study figure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fanin.record.event_file import EventFile, with_log10
from fanin.record.tensorboard_plugins import hparams_experiment
from fanin.report.figures.lines import geometric_mean
from fanin.report.read.configurations import Configuration, varying_keys
from fanin.report.read.series import Profiles

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
    for old in [*folder.glob("theory_*/*/events.out.tfevents.*"), *folder.glob("figures/events.out.tfevents.*")]:
        old.unlink()
    for emptied in [*folder.glob("theory_*/*/"), *folder.glob("theory_*/"), *folder.glob("figures/")]:
        if not any(emptied.iterdir()):
            emptied.rmdir()
    curves = {
        (line, f"{group}/{quantity}"): profiles.matrix("init", axis, f"{quantity}{more}", column)
        for axis, (group, quantities) in GROUPS.items()
        for line, (more, column) in LINES.items()
        for quantity in (quantities if not more else quantities[:1])
    }
    for one in configurations if len(configurations) <= MOST_THEORIES else ():
        for line in LINES:
            means = {tag: geometric_mean(values[one.members]) for (name, tag), values in curves.items() if name == line}
            table = pd.DataFrame({tag: pd.Series(mean) for tag, mean in means.items()})
            table = table.replace([np.inf, -np.inf], np.nan).dropna(how="all")
            if len(table):
                events = EventFile(folder / f"theory_{file_name(one.label)}" / line)
                for index, row in table.iterrows():
                    there = {str(tag): value for tag, value in row.dropna().items()}
                    events.scalars(with_log10(there), int(str(index)) + 1)
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


def file_name(label: str) -> str:
    """A label as a folder's name: "c=2, lr=0.1" becomes "c=2,lr=0.1"; long ones are cut and end in a hash."""
    name = re.sub(r"[^\w.,=+\[\]-]", "_", label.replace(", ", ","))
    if name == label.replace(", ", ",") and len(name) <= 100:
        return name
    return f"{name[:100]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
