"""What a run of one's own has left in its folder, for another attempt to go on from."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fanin.errors import UserError, counted, integer
from fanin.probes.probe import Label
from fanin.record.csv_file import read_table
from fanin.record.run_folder import RunFolder
from fanin.theory.bands import SIGMA, Band, Bands, Key
from fanin.theory.logs import log

Row = Mapping[str, str]


def step_to_resume(folder: RunFolder, resume: bool | int, layers: Collection[str]) -> int | None:
    """The step after which a folder's run goes on; None where it starts afresh.

    Args:
        folder: what may hold the files of an earlier attempt.
        resume: True for the last step that they tell of, or a step.
        layers: the model's weight layers.

    Raises:
        UserError: there is nothing to go on from, or it is another model's; or something is, and nobody asked.
    """
    rows = read_table(folder.path / "metrics.csv") or []
    steps = [int(row["step"]) for row in rows if row.get("step", "").isdigit()]
    told = folder.status.get("step")
    last = max([*steps, told if isinstance(told, int) else 0])
    if resume is False:
        if last:
            raise UserError(
                f"{folder.path} holds {counted(last, 'step')} of a run that did not end; resume=True goes on from "
                "there, overwrite=True replaces it"
            )
        return None
    if resume is not True:
        step = integer("resume", resume, 1)
        if not last:
            raise UserError(f"resume={step}: {folder.path} holds no step of a run to go on from")
        last = step
    profiles = read_table(folder.path / "profiles.csv") or []
    theirs = {row.get("layer", "").lstrip("'") for row in profiles if row.get("axis") == "weight"}
    if strangers := sorted(theirs - set(layers)):
        raise UserError(
            f"{folder.path} holds the run of another model, with a layer {strangers[0]}; choose another folder, or "
            "overwrite=True replaces it"
        )
    return last or None


@dataclass
class Earlier:
    """What the rows of an earlier attempt say.

    Args:
        metrics: those of metrics.csv that are kept.
        profiles: those of profiles.csv.
    """

    metrics: Sequence[Row]
    profiles: Sequence[Row]
    snapshots: set[str] = field(init=False)
    numbers: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.snapshots = {row["snapshot"] for row in self.profiles}
        # By index: layers that a look first meets get the next one.
        weights = sorted((int(row["index"]), _layer(row)) for row in self.profiles if row["axis"] == "weight")
        self.numbers = {layer: index for index, layer in weights}

    @property
    def first_loss(self) -> float | None:
        """That of the first step."""
        losses = self.series("batch_loss")
        return losses[0][1] if losses else None

    def series(self, column: str) -> list[tuple[int, float]]:
        """(step, value) of a column of metrics.csv, where it has one."""
        return [(int(row["step"]), float(row[column])) for row in self.metrics if row[column]]

    def last(self, column: str) -> float | None:
        """The last value of a column."""
        found = self.series(column)
        return found[-1][1] if found else None

    def diverged(self) -> dict[str, Any] | None:
        """The first row whose loss was not finite."""
        found = next((step for step, value in self.series("batch_loss") if not math.isfinite(value)), None)
        return None if found is None else {"step": found, "layer": "loss", "what": "loss"}

    @property
    def initial(self) -> tuple[list[Label], list[float]] | None:
        """What the profile at init measured; None if there was none."""
        rows = [row for row in self.profiles if row["snapshot"] == "init" and row["value"]]
        labels = [(row["axis"], int(row["index"]), _layer(row), row["quantity"]) for row in rows]
        return (labels, [float(row["value"]) for row in rows]) if rows else None

    @property
    def bands(self) -> Bands:
        """The bands beside it; those of redraws as if ln norm^2 were normal."""
        bands: dict[Key, Band] = {}
        for row in self.profiles:
            key = row["axis"], _layer(row), row["quantity"]
            cells = [float(row[name]) if row[name] else math.nan for name in ("theory", "band_low", "band_high")]
            if row["snapshot"] == "init" and key[2].endswith("_norm") and all(0 < one < math.inf for one in cells):
                median, low, high = (2 * log(one) for one in cells)
                bands[key] = Band.lognormal(median, (high - low) / (2 * SIGMA), row["source"])
        return bands


def _layer(row: Row) -> str:
    """As it is called, without what keeps a spreadsheet from calculating it."""
    return row["layer"].removeprefix("'")
