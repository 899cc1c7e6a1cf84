"""Theory for TensorBoard: runs of their own whose profiles overlay the measured ones, and the study figure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fanin.record.event_file import EventFile, with_log10
from fanin.record.tensorboard_plugins import hparams_experiment
from fanin.report.figures.lines import Floats, geometric_mean
from fanin.report.read.configurations import Configuration
from fanin.report.read.series import Profiles

MOST_THEORIES = 24  # configurations; each makes four runs in TensorBoard's list
GROUPS = {"weight": "profile_init", "module": "profile_init_module"}
QUANTITIES = {
    "weight": ("activation_norm", "gradient_norm", "weight_variance"),
    "module": ("activation_norm",),
}
LINES = {"median": "theory", "band_low": "band_low", "band_high": "band_high"}


def write_tensorboard(
    out: Path, configurations: Sequence[Configuration], profiles: Profiles, figures: Sequence[Path]
) -> None:
    """Write tensorboard/theory_<configuration>/{median,band_low,band_high,mean_square} and tensorboard/figures.

    Tags and steps are those of the measured runs, profile_init/<quantity> at step l and profile_init_module/<quantity>
    at the module's index, so that theory lies over them in one chart. Files of an earlier report are replaced.
    """
    folder = out / "tensorboard"
    for old in [
        *folder.glob("theory_*/*/events.out.tfevents.*"),
        *folder.glob("figures/events.out.tfevents.*"),
    ]:
        old.unlink()
        if not any(old.parent.iterdir()):
            old.parent.rmdir()
    for empty in [path for path in folder.glob("theory_*") if path.is_dir() and not any(path.iterdir())]:
        empty.rmdir()
    lines = theory_lines(profiles)
    for one in configurations[:MOST_THEORIES]:
        for name, curves in lines.items():
            _write_line(folder / f"theory_{file_name(one.label)}" / name, one, curves)
    _write_figures(folder / "figures", configurations, figures)


def _write_figures(folder: Path, configurations: Sequence[Configuration], figures: Sequence[Path]) -> None:
    """The grid's hyperparameters, and the study's figures as images."""
    columns = list(dict.fromkeys(key for one in configurations for key in one.values))
    studies = {"study", *(one.experiment for one in configurations)}
    images = [path for path in figures if path.suffix == ".png" and path.stem in studies]
    if not columns and not images:
        return
    events = EventFile(folder)
    if columns:
        values = {key: [one.values.get(key) for one in configurations] for key in columns}
        events.plugin(*hparams_experiment(values | {"seed": [0]}))
    for path in images:
        png = path.read_bytes()
        width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))  # PNG's header
        events.image(f"figures/{path.stem}", png, width, height)
    events.close()


def theory_lines(profiles: Profiles) -> dict[str, dict[str, Floats]]:
    """For each line of theory its curves {tag: [runs, layers]}, empty ones left out."""
    lines: dict[str, dict[str, Floats]] = {}
    for axis, group in GROUPS.items():
        for quantity in QUANTITIES[axis]:
            for name, column in LINES.items():
                lines.setdefault(name, {})[f"{group}/{quantity}"] = profiles.matrix("init", axis, quantity, column)
        square = profiles.matrix("init", axis, "activation_norm_mean_square", "theory")
        lines.setdefault("mean_square", {})[f"{group}/activation_norm"] = square
    return lines


def file_name(label: str) -> str:
    """A label as a folder's name: "c=2, lr=0.1" becomes "c=2,lr=0.1"; long ones are cut and end in a hash."""
    name = re.sub(r"[^\w.,=+\[\]-]", "_", label.replace(", ", ","))
    if name == label.replace(", ", ",") and len(name) <= 100:
        return name
    return f"{name[:100]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def _write_line(folder: Path, one: Configuration, curves: dict[str, Floats]) -> None:
    """One run of TensorBoard: the geometric mean of theory over the configuration's seeds, at every index."""
    means = {tag: geometric_mean(curve[one.members]) for tag, curve in curves.items()}
    length = max((len(mean) for mean in means.values()), default=0)
    points = [
        (
            index + 1,
            {tag: float(mean[index]) for tag, mean in means.items() if index < len(mean) and np.isfinite(mean[index])},
        )
        for index in range(length)
    ]
    if not any(values for _, values in points):
        return
    events = EventFile(folder)
    for step, values in points:
        if values:
            events.scalars(with_log10(values), step)
    events.close()
