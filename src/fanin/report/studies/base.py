"""What a study is made of: claims checked from files, a figure, columns of its table, and the evidence they read.

Neither pandas nor matplotlib here: a study is named, and looked up, before anything is run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fanin.record.asked_runs import AskedRun
from fanin.record.columns import FINISHED
from fanin.record.csv_file import read_table
from fanin.record.landscape_files import FOLDER, Asked, Landscape, read_landscape
from fanin.record.prunings import AskedPruning
from fanin.report.compare.sides import same_value, value_of
from fanin.report.read.folders import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from fanin.report.figures.style import Sheet
    from fanin.report.read.configurations import Configuration
    from fanin.report.read.series import Floats, Metrics, Profiles

VERDICTS = {True: "holds", False: "does not hold", None: "cannot be judged"}
ENDED = ("done", "diverged")
Column = tuple[str, Callable[[list[Run]], str]]
Columns = Sequence[Column]

HEADERS = {
    "train_loss": "training loss",
    "test_loss": "test loss",
    "train_error": "training error",
    "test_error": "test error",
    "factor_per_layer": "factor a layer",
    "activation_last": "last activation",
    "gradient_first": "gradient, first layer",
    "gradient_last": "gradient, last layer",
    "point_chi_perp": "χ⊥",
    "critical_variance": "critical variance",
}
"""What numbers of result.json are called above a column."""


@dataclass(frozen=True)
class Claim:
    """What a study claims, and whether its runs support it.

    Attributes:
        text: the claim, a sentence without a full stop.
        holds: whether the runs support it; None if runs that it needs are missing.
        evidence: the numbers that decide, in short; if runs are missing, which ones.
    """

    text: str
    holds: bool | None
    evidence: str

    @property
    def verdict(self) -> str:
        """In words: "holds", "does not hold" or "cannot be judged"."""
        return VERDICTS[self.holds]

    @classmethod
    def missing(cls, text: str, *needed: Mapping[str, Any] | str) -> Claim:
        """The claim if these runs are missing, each described by its choices or in words.

        >>> Claim.missing("adam is faster", {"optimizer": "adam"}, "sgd").evidence
        'no finished runs of optimizer=adam, sgd'
        """
        words = [
            one if isinstance(one, str) else " ".join(f"{key}={value}" for key, value in one.items()) for one in needed
        ]
        return cls(text, None, f"no finished runs of {', '.join(words)}" if words else "no finished runs")

    def until(self, awaited: Sequence[str]) -> Claim:
        """The claim if these of its runs have not ended: not judged, with the evidence so far.

        >>> Claim("adam is faster", True, "0.1 and 0.2").until(["seed=0", "seed=1"]).evidence
        'not ended: seed=0 and 1 more; so far 0.1 and 0.2'
        """
        if not awaited or self.holds is None:
            return self
        others = f" and {len(awaited) - 1} more" if len(awaited) > 1 else ""
        return Claim(self.text, None, f"not ended: {awaited[0]}{others}; so far {self.evidence}")


class Evidence:
    """The runs of one experiment and the content of their files, as claims and figures need it.

    Attributes:
        runs: all runs, finished or not, in the order of their configurations and seeds.
        configurations: what the runs share apart from their seeds; `members` are positions in `runs`.
        profiles, metrics: of all runs, by position in `runs`.
        awaited: runs that were requested and have not ended, by name.
    """

    def __init__(
        self, runs: Sequence[Run], configurations: Sequence[Configuration], profiles: Profiles, metrics: Metrics
    ) -> None:
        self.runs, self.configurations = runs, configurations
        self.profiles, self.metrics = profiles, metrics
        self.awaited: dict[str, Run] = {}
        self._position = {id(run): position for position, run in enumerate(runs)}
        self._profiles: dict[tuple[str, ...], tuple[NDArray[np.intp], Floats]] = {}
        self._looks: dict[int, list[dict[str, str]]] = {}

    def position(self, run: Run) -> int:
        """The position of a run in `runs`, the row of `profiles` and `metrics` that is its."""
        return self._position[id(run)]

    def runs_with(self, choices: Mapping[str, Any], *, ended: bool = True) -> list[Run]:
        """The runs with these values, ordered as in `runs`.

        Args:
            choices: values by key as typed on the command line: {"normalization": "batch", "initializer.c": 1}. A group
                is its option's name, a list of options a list; what an experiment fixes can be asked for as well.
            ended: only runs that are done or have diverged; False for failed and unfinished ones too.
        """
        found = [run for run in self.runs if all(same_value(value_of(run, k), v) for k, v in choices.items())]
        if not ended:
            return found
        self.awaited |= {run.name: run for run in found if run.state not in FINISHED}
        return [run for run in found if run.state in ENDED]

    def values(self, key: str) -> list[Any]:
        """The different values of a key over all runs, in the order of the table."""
        seen: list[Any] = []
        for run in self.runs:
            value = value_of(run, key)
            if not any(same_value(value, other) for other in seen):
                seen.append(value)
        return seen

    def metric(self, name: str, choices: Mapping[str, Any]) -> list[float]:
        """A number of result.json for each finished run with these values that has it; nan and inf stay.

        Args:
            name: of a final metric ("train_loss"), of the test's evaluation ("accuracy"), of a quantity at init
                ("gradient_first") or of another number of result.json ("steps").
            choices: as for runs_with.
        """
        numbers = [run.numbers.get(name) for run in self.runs_with(choices)]
        return [number for number in numbers if number is not None]

    def curve(self, run: Run, column: str) -> tuple[Floats, Floats]:
        """Steps and values of a column of the run's metrics.csv, where it was evaluated; empty where it never was."""
        return self.metrics.series(self.position(run), column)

    def profile(self, run: Run, snapshot: str, axis: str, quantity: str, column: str = "value") -> Floats:
        """A profile of one run over depth, [layers]; empty where it was not measured.

        Args:
            run: one of `runs`.
            snapshot: "init", "final" or a step.
            axis: "module" or "weight".
            quantity: its name in profiles.csv.
            column: "value", "theory", "band_low" or "band_high".
        """
        key = (snapshot, axis, quantity, column)
        if key not in self._profiles:
            lengths = self.profiles.lengths(snapshot, axis, quantity)
            self._profiles[key] = lengths, self.profiles.matrix(snapshot, axis, quantity, column)
        lengths, matrix = self._profiles[key]
        return matrix[self.position(run), : lengths[self.position(run)]]

    def look(self, run: Run, quantity: str, layer: str = "") -> tuple[Floats, Floats]:
        """Steps and values of a number of the run's curvature.csv; empty where it has none.

        Args:
            run: one of `runs`.
            quantity: its name there, such as sharpness; of eigenvalues the first from its end.
            layer: whose block is meant; "" for the whole model.
        """
        position = self.position(run)
        if position not in self._looks:
            self._looks[position] = read_table(run.folder / "curvature.csv") or []
        rows = [
            row
            for row in self._looks[position]
            if row.get("quantity") == quantity and (row.get("layer") or "") == layer
        ]
        first = [row for row in rows if row.get("index") in ("", "1") and row.get("step") and row.get("value")]
        found = np.array([(float(row["step"]), float(row["value"])) for row in first]).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def landscape(self, asked: Asked) -> Landscape | None:
        """A line or plane through the weights of these runs; None where it has not been made."""
        return read_landscape(Path(asked.runs[0]).parent / FOLDER, asked.name)


class Study:
    """What the report of an experiment adds to that of any grid; the base of all studies.

    An experiment names its study by `study._target_`, and further keys below `study` are arguments of its constructor.

    Attributes:
        caption: what the page says below the figure.
        columns: (header, text of it for the runs of one configuration), which stand between the seeds and the outcome
            in place of the columns about initialization; None for the usual table.
        profiles: whether the usual figure of profiles over depth is drawn beside the study's own.

    Example:
        >>> class Faster(Study):
        ...     def claims(self, evidence):
        ...         adam, sgd = (evidence.metric("train_loss", {"optimizer": name}) for name in ("adam", "sgd"))
        ...         text = "adam ends lower than sgd"
        ...         yield Claim(text, max(adam) < min(sgd), "") if adam and sgd else Claim.missing(text, "adam and sgd")
    """

    caption: str = ""
    columns: Columns | None = None
    profiles: bool = True

    def claims(self, evidence: Evidence) -> Iterable[Claim]:
        """The experiment's claims, judged from the evidence.

        Return Claim.missing if a claim's runs are missing: a user may have narrowed the grid, and there may be any
        number of seeds from one on. A claim that uses runs which have not ended is not judged yet; the report takes
        care of that, for each claim by itself if they are yielded one by one.
        """
        return ()

    def table(self, evidence: Evidence) -> tuple[Sequence[str], Sequence[Sequence[str]]] | None:
        """A header and rows that stand in place of the table of configurations; None for that one."""
        return None

    def landscapes(self, runs: Sequence[Run]) -> Iterable[Asked]:
        """The lines and planes through trained weights that claims and figure read, by `Evidence.landscape`.

        They are made at the end of the grid, of the runs that are done, and not made again while those stay the same.
        """
        return ()

    def prunings(self, runs: Sequence[Run]) -> Iterable[AskedPruning]:
        """The prunings of runs that claims and figure read, as further runs in pruned/ of the grid's folder.

        They are made at the end of the grid, of the runs that are done, in the order in which they are asked for.
        """
        return ()

    def followers(self, runs: Sequence[Run]) -> Iterable[AskedRun]:
        """Further runs, which start from those of the grid or learn from them, in the same folder.

        They are run at the end of the grid by its launcher, given those of its runs that are done.
        """
        return ()

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """The figure for report/<experiment>.png and .svg, the first of the page; None if nothing is drawn.

        Args:
            sheet: has a colour for each configuration of the evidence.
            evidence: the runs.
        """
        return None


def number(run: Run, key: str) -> float | None:
    """The run's value of a key if that is a number, else None."""
    value = value_of(run, key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def numbers_of(runs: Sequence[Run], name: str) -> list[float]:
    """A number of result.json for each run that has it, for the columns of a table; nan and inf stay."""
    return [number for number in (run.numbers.get(name) for run in runs) if number is not None]


def column(name: str, digits: int = 3) -> Column:
    """A column of a study's table: the range over seeds of a number of result.json, errors in percent.

    >>> column("test_error")[0]
    'test error'
    """
    return HEADERS.get(name, name), lambda runs: spread(numbers_of(runs, name), digits, name.endswith("_error"))


def spread(values: Sequence[float], digits: int = 3, percent: bool = False) -> str:
    """The range of values over seeds in a few characters: "0.12 to 0.34", one number if all round to it.

    Args:
        values: any number of them; those that are not finite are counted.
        digits: significant ones.
        percent: values are shares, written in percent.

    >>> import math
    >>> spread([0.123, 0.3456, math.inf]), spread([0.1, 0.1], percent=True)
    ('0.123 to 0.346 and 1 not finite', '10 %')
    """
    finite = np.array([value for value in values if math.isfinite(value)]) * (100 if percent else 1)
    ends = [f"{end:.{digits}g}" for end in (finite.min(), finite.max())] if len(finite) else []
    words = [" to ".join(dict.fromkeys(ends)) + (" %" if percent else "")] if ends else []
    lost = len(values) - len(finite)
    return " and ".join([*words, *([f"{lost} not finite"] if lost else [])]) or "nothing"
