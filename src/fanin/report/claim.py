"""Studies in a report: their claims are judged, their figures drawn and their columns filled.

A study may be a user's code: an exception in it becomes a note and does not stop the report.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fanin.errors import UserError
from fanin.report.read.configurations import Configuration, group_runs, setting
from fanin.report.read.folders import Run, titled
from fanin.report.read.series import Metrics, Profiles
from fanin.report.studies import study_of
from fanin.report.studies.base import Claim, Evidence, Study
from fanin.report.write.tables import STUDY_HEADER, Row, Table, study_cells

T = TypeVar("T")


@dataclass
class Judged:
    """One study of a report: what it claims and draws, its runs, its claims judged, and a note for each exception."""

    experiment: str
    study: Study
    evidence: Evidence
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def source(self) -> str:
        """The study's class and what its module holds, as a hash: figures are drawn again when the code changes."""
        kind = type(self.study)
        try:
            code = Path(str(getattr(sys.modules[kind.__module__], "__file__", ""))).read_bytes()
        except (OSError, KeyError):
            code = b""
        return f"{kind.__module__}.{kind.__qualname__} {vars(self.study)} {hashlib.sha256(code).hexdigest()}"

    def attempt(self, what: str, call: Callable[[], T], otherwise: T) -> T:
        """The call's result; otherwise a note that `what` failed."""
        try:
            return call()
        except Exception as error:
            note = f"{self.experiment}: {what} failed: {type(error).__name__}: {error}"
            self.notes += [] if note in self.notes else [note]
            return otherwise

    def judge(self) -> None:
        """Fill in the claims up to where the study's code fails; those that wait for runs are not judged."""
        self.evidence.awaited.clear()
        said = self.study.claims(self.evidence)
        common = [] if isinstance(said, Iterator) else list(self.evidence.awaited)
        for claim in said:
            self.claims.append(claim.until(common or list(self.evidence.awaited)))
            self.evidence.awaited.clear()

    def draw(self, out: Path) -> list[Path]:
        """Draw the study's own figure into a folder; the files written."""
        from fanin.report.figures.saving import save
        from fanin.report.figures.style import Sheet

        runs, configurations = self.evidence.runs, self.evidence.configurations
        sheet = Sheet(self.experiment, setting(runs, configurations), configurations)

        def drawn() -> list[Path]:
            made = self.study.figure(sheet, self.evidence)
            return [] if made is None else save(made, out, self.experiment)

        return self.attempt("the study's figure", drawn, [])


def judge(runs: Sequence[Run], profiles: Profiles, metrics: Metrics) -> tuple[list[Judged], list[str]]:
    """The studies among the experiments of these runs, claims judged, and notes on studies that cannot be loaded.

    Args:
        runs: all runs, each with its position in profiles and metrics.
        profiles, metrics: of all runs.
    """
    studies: list[Judged] = []
    notes: list[str] = []
    experiments = sorted({run.experiment for run in runs})
    for experiment in experiments:
        own = [run for run in runs if run.experiment == experiment]
        try:
            study = study_of(experiment, own)
        except UserError as error:
            notes.append(f"{experiment}: {error}")
            continue
        except Exception as error:
            notes.append(f"{experiment}: the study cannot be read: {type(error).__name__}: {error}")
            continue
        if study is None:
            continue
        if len(experiments) > 1:
            profiles, metrics = Profiles(own), Metrics(own)
        one = Judged(experiment, study, Evidence(own, group_runs(own), profiles, metrics))
        one.attempt("judging its claims", one.judge, None)
        studies.append(one)
    return studies, notes


def only(studies: Sequence[Judged], runs: Sequence[Run]) -> Judged | None:
    """The study that all runs belong to, None if there is none."""
    return studies[0] if studies and {run.experiment for run in runs} == {studies[0].experiment} else None


def table_of(
    rows: Sequence[Row], study: Judged | None, runs: Sequence[Run], configurations: Sequence[Configuration]
) -> Table:
    """The table of a report: of its only study, where that has columns of its own, these between seeds and outcome."""
    if study is not None and (own := study.attempt("its table", lambda: study.study.table(study.evidence), None)):
        own_rows = [list(row) for row in own[1]]
        return Table(titled(runs), own[0], own_rows, numeric_columns(own_rows, range(1, len(own[0]))))
    usual = [study_cells(row) for row in rows]
    if study is None or study.study.columns is None:
        return Table(titled(runs), STUDY_HEADER, usual, range(1, 7))
    header = ("configuration", "seeds", *(name for name, _ in study.study.columns), "outcome")
    cells = []
    for (label, seeds, *_), row, one in zip(usual, rows, configurations, strict=True):
        members = [runs[i] for i in one.members]
        texts = [study.attempt(f"the column {name}", lambda: text(members), "") for name, text in study.study.columns]  # noqa: B023
        cells.append([label, seeds, *texts, row["outcome"]])
    return Table(titled(runs), header, cells, numeric_columns(cells, range(1, len(header) - 1)))


def numeric_columns(rows: Sequence[Sequence[str]], among: Iterable[int]) -> frozenset[int]:
    """Those of some columns that hold numbers alone."""
    return frozenset(i for i in among if all(row[i][:1] in "+-.0123456789" for row in rows))
