"""Everything one run writes while it trains: metrics.csv, profiles.csv, TensorBoard events and checkpoints."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from fanin.record.columns import CURVATURE, HISTOGRAMS, METRICS, PARTS, PROFILES, TEXT, names
from fanin.record.csv_file import FORMULAS, CsvFile, read_table
from fanin.record.density_image import Densities
from fanin.record.event_file import EventFile, with_log10
from fanin.record.run_folder import RunFolder
from fanin.record.tensorboard_plugins import custom_scalar_layout, hparams_end, hparams_start

log = logging.getLogger(__name__)

TAGS = {"lr": "optim/lr"} | {name: name.replace("_", "/") for name in names(PARTS)}


NUMBERS = tuple(name for name in names(PROFILES) if name not in TEXT and name != "index")
"""Numbers in a row of profiles.csv: what was measured, its theory and band, and the redraws beside it."""


@dataclass(slots=True)  # not frozen: that takes three times as long to make, and a profile has a thousand
class ProfileRow:
    """One row of profiles.csv, without its snapshot; what is not known is None, or an empty source."""

    axis: str
    index: int
    layer: str
    quantity: str
    value: float | None
    theory: float | None = None
    band_low: float | None = None
    band_high: float | None = None
    source: str = ""
    redraw_median: float | None = None
    redraw_low: float | None = None
    redraw_high: float | None = None

    def cells(self) -> tuple[object, ...]:
        """The row as it is written."""
        numbers = (self.value, self.theory, self.band_low, self.band_high)
        redraws = (self.redraw_median, self.redraw_low, self.redraw_high)
        # csv writes None and fractions by itself, and nearly all of a thousand rows' numbers are one of them.
        cells = [number if number is None or number % 1 else _number(number) for number in (*numbers, *redraws)]
        layer = f"'{self.layer}" if self.layer.startswith(FORMULAS) else self.layer  # see csv_file.as_text
        return self.axis, self.index, layer, self.quantity, *cells[:4], self.source, *cells[4:]


@dataclass(slots=True)
class CurvatureRow:
    """One row of curvature.csv, without its step; `index` is None where there is none."""

    layer: str
    quantity: str
    index: int | None
    value: float

    @property
    def tag(self) -> str:
        """TensorBoard's tag."""
        place = "" if self.index is None else f"_{self.index}"
        return f"curvature/{self.quantity}{place}" + (f"/{self.layer}" if self.layer else "")


class Recorder:
    """The open files of one run.

    Args:
        folder: the run's folder, owned by this process.
        resume_step: resume after this step, without the rows of later steps; None begins with empty files.
        rows: how many rows each table had at the checkpoint to resume from; the log says how many are missing.
        profiles_before: keep profiles of the steps before this one; None for `resume_step`, whose own is yet to come
            where a profile is taken before the update of its step.
    """

    def __init__(
        self,
        folder: RunFolder,
        resume_step: int | None = None,
        *,
        rows: Mapping[str, int] | None = None,
        profiles_before: int | None = None,
    ) -> None:
        self.folder, self._expected = folder, rows or {}
        if resume_step is None:
            folder.clear()

        most, kept = self._expected.get("metrics.csv", sys.maxsize), 0  # one more is of a pause at that step

        def kept_metrics(row: dict[str, str]) -> bool:
            nonlocal kept
            wanted = resume_step is not None and int(row["step"]) <= resume_step and kept < most
            kept += wanted
            return wanted

        def kept_profiles(row: dict[str, str]) -> bool:
            snapshot, end = row["snapshot"], resume_step if profiles_before is None else profiles_before
            taken = {"init": 0, "final": sys.maxsize}
            return end is not None and (taken[snapshot] if snapshot in taken else int(snapshot)) < end

        self.metrics_file = CsvFile(folder.path / "metrics.csv", names(METRICS), kept_metrics)
        self.profiles_file = CsvFile(folder.path / "profiles.csv", names(PROFILES), kept_profiles)
        self.trajectory_file: CsvFile | None = None  # made at the first point: few runs write one
        self.curvature_file: CsvFile | None = None  # likewise
        self._densities = Densities()
        for file in (self.metrics_file, self.profiles_file):
            self._tell_lost(file)
        self.histograms_file: CsvFile | None = None
        self._resume_step = resume_step
        self._histograms_before = resume_step if profiles_before is None else profiles_before
        self._flushed = time.monotonic()
        self.events = EventFile(folder.path, None if resume_step is None else resume_step + 1)
        # The new file hides later "steps" of the old ones, and a profile's step is a layer: they are written again.
        for snapshot, told in groupby(self.profiles_file.kept, key=itemgetter("snapshot")):
            self._profile_events(snapshot, [_parsed(row) for row in told if int(row["index"]) > (resume_step or 0)])

    def metrics(self, row: Mapping[str, float | None]) -> None:
        """Record one logged step; `row` has the columns of metrics.csv, None if not evaluated."""
        self.metrics_file.write([{key: _number(value) for key, value in row.items()}])
        values = {TAGS[key]: value for key, value in row.items() if key in TAGS and value is not None}
        self.events.scalars(values, int(row["step"] or 0))
        if time.monotonic() - self._flushed > 1:  # TensorBoard follows a running run; a killed one loses a second
            self.flush()

    def pause(self, row: Mapping[str, float | None]) -> None:
        """Record where a run pauses, in metrics.csv alone: where the run goes on, this row is taken away again."""
        self.metrics_file.write([{key: _number(value) for key, value in row.items()}])

    def profile(self, snapshot: str, rows: Sequence[ProfileRow]) -> None:
        """Record a profile over depth: into profiles.csv, and with TensorBoard's step as the layer's index."""
        self.profiles_file.write_cells([(snapshot, *row.cells()) for row in rows])
        self._profile_events(snapshot, rows)

    def curves(self, step: int, tags: tuple[str, ...], values: Sequence[float]) -> None:
        """Record per-layer values at a training step; the tags are layers/<quantity>/<index>_<layer>."""
        self.events.series(tags, values, step)

    def trajectory(self, step: int, point: Sequence[float]) -> None:
        """Record all parameters before a training step."""
        if self.trajectory_file is None:
            columns = ("step", *(f"theta_{index}" for index in range(1, len(point) + 1)))
            path, resume_step = self.folder.path / "trajectory.csv", self._resume_step
            self.trajectory_file = CsvFile(
                path, columns, lambda row: resume_step is not None and int(row["step"]) < resume_step
            )
            self._tell_lost(self.trajectory_file)
        self.trajectory_file.write_cells([(step, *map(_number, point))])

    def curvature(self, step: int, rows: Sequence[CurvatureRow]) -> None:
        """Record a look at the curvature before a training step; of a density TensorBoard gets a picture so far."""
        if self.curvature_file is None:
            path, resume_step = self.folder.path / "curvature.csv", self._resume_step
            self.curvature_file = CsvFile(
                path, names(CURVATURE), lambda row: resume_step is not None and int(row["step"]) < resume_step
            )
            self._tell_lost(self.curvature_file)
            for row in (read_table(path) or []) if resume_step is not None else []:
                if row["index"] and not row["layer"]:  # what a resumed run has seen before
                    self._densities.add(int(row["step"]), [(row["quantity"], int(row["index"]), float(row["value"]))])
        self.curvature_file.write_cells(
            [
                (step, row.layer, row.quantity, "" if row.index is None else row.index, _number(row.value))
                for row in rows
            ]
        )
        self.events.scalars({row.tag: row.value for row in rows if "density" not in row.quantity}, step)
        for name in self._densities.add(step, [(row.quantity, row.index, row.value) for row in rows if not row.layer]):
            if (picture := self._densities.image(name)) is not None:
                self.events.image(f"curvature/{name}", *picture, step)

    def histograms(
        self, step: int, places: Sequence[tuple[str, int, str]], tags: Sequence[str], rows: Sequence[Sequence[float]]
    ) -> None:
        """Record histograms at a training step.

        Args:
            step: updates made before.
            places: what each is of, its layer's position over depth, and the layer.
            tags: of TensorBoard.
            rows: low end, high end, how many values are not finite, and the counts, of each.
        """
        if self.histograms_file is None:
            bins = (f"count_{number}" for number in range(1, len(rows[0]) - 2))
            path, end = self.folder.path / "histograms.csv", self._histograms_before
            self.histograms_file = CsvFile(
                path, (*names(HISTOGRAMS)[:-1], *bins), lambda row: end is not None and int(row["step"]) < end
            )
            self._tell_lost(self.histograms_file)
        cells = [
            (step, of, index, f"'{layer}" if layer.startswith(FORMULAS) else layer, *map(_number, row))
            for (of, index, layer), row in zip(places, rows, strict=True)
        ]
        self.histograms_file.write_cells(cells)
        self.events.histograms(tags, [(low, high, *counts) for low, high, _, *counts in rows], step)

    def describe(self, name: str, hparams: Mapping[str, Any]) -> None:
        """Tell TensorBoard the hyperparameters of the run and how to lay its charts out."""
        self.events.plugin(*hparams_start(name, hparams))
        self.events.summary(custom_scalar_layout(), 0)
        self.events.flush()

    @property
    def last_histogram(self) -> int:
        """The last step of an earlier attempt whose histograms are kept; -1 where there is none."""
        steps = [
            int(row["step"]) for row in read_table(self.folder.path / "histograms.csv") or [] if row["step"].isdigit()
        ]
        return max((step for step in steps if step < (self._histograms_before or 0)), default=-1)

    @property
    def rows(self) -> dict[str, int]:
        """How many rows each table has, by its name."""
        files = (self.metrics_file, self.profiles_file, self.trajectory_file, self.curvature_file, self.histograms_file)
        return {file.path.name: file.count for file in files if file is not None}

    def _tell_lost(self, file: CsvFile) -> None:
        had = self._expected.get(file.path.name, 0)
        if file.count < had:
            log.warning("%s: %d of the %d rows before the checkpoint are lost", file.path, had - file.count, had)

    def _profile_events(self, snapshot: str, rows: Sequence[ProfileRow]) -> None:
        for (_, index), values in _by_index(snapshot, rows).items():
            self.events.scalars(with_log10(values), index)
        self.events.flush()

    def flush(self) -> None:
        """Hand buffered events to the system, for TensorBoard to read."""
        self.events.flush()
        self._flushed = time.monotonic()

    def close(self, state: str | None = None) -> None:
        """Close the files; the final state, if it is given, goes into TensorBoard's hparams."""
        if state is not None:
            self.events.plugin(*hparams_end(success=state in ("done", "pruned")))
        self.events.close()
        for file in (
            self.metrics_file,
            self.profiles_file,
            self.trajectory_file,
            self.curvature_file,
            self.histograms_file,
        ):
            if file is not None:
                file.close()


def _by_index(snapshot: str, rows: Sequence[ProfileRow]) -> dict[tuple[str, int], dict[str, float]]:
    """One event per (axis, index): {tag: value}; the band goes beside its quantity for the margin charts."""
    events: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for row in rows:
        group = f"profile_{snapshot}" + ("" if row.axis == "weight" else f"_{row.axis}")
        tag = f"{group}/{row.quantity}"
        values = events[row.axis, row.index]
        if row.value is not None:
            values[tag] = row.value
        elif row.theory is not None:
            values[tag] = row.theory
        if row.band_low is not None and row.band_high is not None:
            values |= {f"{tag}_band_low": row.band_low, f"{tag}_band_high": row.band_high}
        if row.redraw_low is not None and row.redraw_high is not None:
            values |= {f"{tag}_redraw_low": row.redraw_low, f"{tag}_redraw_high": row.redraw_high}
    return events


def _parsed(row: Mapping[str, str]) -> ProfileRow:
    """A row of profiles.csv as it was before it was written."""
    value, theory, low, high, *redraws = (float(row[name]) if row[name] else None for name in NUMBERS)
    place = row["axis"], int(row["index"]), row["layer"], row["quantity"]
    return ProfileRow(*place, value, theory, low, high, row["source"], *redraws)


def _number(value: object) -> object:
    """A float as text that reads back to the same value ("nan", "inf" and "-inf" included); None as empty."""
    if value is None:
        return ""
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value == int(value) and abs(value) < 2**53 else repr(value)
    return value
