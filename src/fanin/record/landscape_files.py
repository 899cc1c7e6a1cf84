"""The files of a line or a plane through trained weights: its grid, its paths, and what it is of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanin.record.atomic_files import read_json, write_json
from fanin.record.columns import names
from fanin.record.csv_file import read_table, write_table
from fanin.record.landscape_columns import LANDSCAPE, LANDSCAPE_PATHS

FOLDER = "landscape"
"""Where these files lie, in the folder common to the runs."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which line or plane.

    Args:
        runs: folders: of one run the line or plane around it, of two the line between them, of three the plane.
        line: of one run: a line in place of a plane.
        directions: random or eigenvectors, of one run.
        points: along an axis.
        span: how far it goes: of one run the directions are taken from -span to span; of several it is the share of
            the way that is added on either side.
        part: train or test.
        examples: at most; None for all.
        match: put the second run's hidden units into the order that is nearest to the first's.
        rescale: a, of one run: its first hidden layer times a and the next divided by it, which is the same function
            of a relu network; None for the weights as they are.
        precision: float32, float64, or None for the first run's own.
        seed: of random directions, of the order of matching, and of the share of examples.
    """

    runs: tuple[str, ...]
    line: bool = False
    directions: str = "random"
    points: int = 25
    span: float = 1.0
    part: str = "train"
    examples: int | None = None
    match: bool = False
    rescale: float | None = None
    precision: str | None = None
    seed: int = 0

    @property
    def is_line(self) -> bool:
        """Whether there is one axis."""
        return len(self.runs) == 2 or (len(self.runs) == 1 and self.line)

    @property
    def name(self) -> str:
        """Of its files: the same for the same question."""
        words = {key: value for key, value in asdict(self).items() if key != "runs"}
        if self.rescale is None:  # as it was called before there was such a key
            del words["rescale"]
        told = hashlib.sha256(repr(([Path(run).name for run in self.runs], words)).encode()).hexdigest()[:10]
        what = ["line" if self.is_line else "plane", *(["matched"] if self.match else [])]
        what += ["rescaled"] if self.rescale is not None else []
        return "-".join([*what, told])


@dataclass
class Landscape:
    """A line or a plane as its files have it.

    Attributes:
        x, y: of the grid's points, sorted; y is [0] of a line.
        loss, error: [len(y), len(x)].
        about: what it is of: kind, runs, directions, data, marked points, ...
        paths: by run, [steps, 4]: step, x, y, and how far off the plane.
    """

    x: Floats
    y: Floats
    loss: Floats
    error: Floats
    about: dict[str, Any] = field(default_factory=dict)
    paths: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def is_line(self) -> bool:
        """Whether there is one axis."""
        return len(self.y) == 1

    @property
    def barrier(self) -> float:
        """Of a line between two networks, at 0 and 1: how far it rises above the straight line between their losses.

        $max_t loss(t) - (1 - t) loss(0) - t loss(1)$ over t in [0, 1]. Source: Entezari et al. 2022.

        >>> import numpy as np
        >>> t = np.array([0.0, 0.5, 1.0])
        >>> Landscape(t, np.zeros(1), np.array([[1.0, 5.0, 2.0]]), np.zeros((1, 3))).barrier
        3.5
        """
        within = (self.x >= -1e-9) & (self.x <= 1 + 1e-9)
        t, loss = self.x[within], self.loss[0][within]
        return float((loss - (1 - t) * loss[0] - t * loss[-1]).max())

    def write(self, folder: Path, name: str) -> list[Path]:
        """Write NAME.csv, NAME.json and, where there are paths, NAME-paths.csv."""
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{name}.csv"]
        cells = [
            (float(x), float(y), float(self.loss[row, column]), float(self.error[row, column]))
            for row, y in enumerate(self.y)
            for column, x in enumerate(self.x)
        ]
        write_table(files[0], names(LANDSCAPE), cells)
        if self.paths:
            files.append(folder / f"{name}-paths.csv")
            rows = [
                (run, int(step), x, y, off) for run, path in self.paths.items() for step, x, y, off in path.tolist()
            ]
            write_table(files[-1], names(LANDSCAPE_PATHS), rows)
        files.append(folder / f"{name}.json")
        write_json(files[-1], self.about)
        return files


def read_landscape(folder: Path, name: str) -> Landscape | None:
    """What `Landscape.write` wrote; None where there is none, or no whole one."""
    about, rows = read_json(folder / f"{name}.json"), read_table(folder / f"{name}.csv")
    if about is None or not rows:
        return None
    try:
        cells = np.array([[float(row[key]) for key in names(LANDSCAPE)] for row in rows])
        x, y = np.unique(cells[:, 0]), np.unique(cells[:, 1])
        loss, error = (cells[:, column].reshape(len(y), len(x)) for column in (2, 3))
        paths: dict[str, list[Sequence[float]]] = {}
        for row in read_table(folder / f"{name}-paths.csv") or []:
            paths.setdefault(row["run"], []).append([float(row[key]) for key in names(LANDSCAPE_PATHS)[1:]])
    except (KeyError, ValueError):
        return None
    return Landscape(x, y, loss, error, about, {run: np.array(path) for run, path in paths.items()})
