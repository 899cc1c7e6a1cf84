"""Studies in a report: their claims are judged, their figures drawn and their columns filled.

A study may be a user's code: an exception in it becomes a note and does not stop the report.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fanin.errors import UserError
from fanin.record.csv_file import as_text
from fanin.report.figures.style import Sheet, save
from fanin.report.read.configurations import Configuration, group_runs
from fanin.report.read.folders import Run
from fanin.report.read.series import Metrics, Profiles, read_metrics, read_profiles
from fanin.report.studies import study_of
from fanin.report.studies.base import Claim, Evidence, Study
from fanin.report.write.tables import StudyRow, Table, study_table

T = TypeVar("T")


@dataclass
class Judged:
    """One study of a report.

    Attributes:
        experiment: its name.
        study: what it claims and draws.
        evidence: its runs.
        claims: judged.
        notes: the exceptions of its code, a line each.
    """

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

        def judged() -> None:
            self.evidence.awaited.clear()
            said = self.study.claims(self.evidence)
            common = [] if isinstance(said, Iterator) else list(self.evidence.awaited)
            for claim in said:
                self.claims.append(claim.until(common or list(self.evidence.awaited)))
                self.evidence.awaited.clear()

        self.attempt("judging its claims", judged, None)

    def draw(self, setting: Callable[[Sequence[Run], Sequence[Configuration]], str], out: Path) -> list[Path]:
        """Draw the study's own figure into a folder; `setting` says what its runs share. The files written."""
        evidence = self.evidence

        def drawn() -> list[Path]:
            sheet = Sheet(self.experiment, setting(evidence.runs, evidence.configurations), evidence.configurations)
            made = self.study.figure(sheet, evidence)
            return [] if made is None else save(made, out, self.experiment)

        return self.attempt("the study's figure", drawn, [])

    def table(self, rows: Sequence[StudyRow], members: Sequence[Sequence[Run]]) -> Table | None:
        """The study's table, of the rows' labels, seeds and outcomes with its own columns between; None for the usual.

        Args:
            rows: one for each configuration.
            members: the runs of each.
        """
        if self.study.columns is None:
            return None
        header = ("configuration", "seeds", *(name for name, _ in self.study.columns), "outcome")
        cells = []
        for row, runs in zip(rows, members, strict=True):
            label, seeds, *_ = row.cells()
            own = [self._cell(name, text, list(runs)) for name, text in self.study.columns]
            cells.append([label, seeds, *own, row.outcome])
        middle = range(1, len(header) - 1)
        numbers = (i for i in middle if all(row[i][:1] in "+-.0123456789" for row in cells))
        return Table(header, cells, frozenset(numbers))

    def _cell(self, name: str, text: Callable[[list[Run]], str], runs: list[Run]) -> str:
        return self.attempt(f"the column {name}", lambda: text(runs), "")


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
        try:
            own = [run for run in runs if run.experiment == experiment]
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
            profiles, metrics = read_profiles(own), read_metrics(own)
        evidence = Evidence(own, group_runs(own), profiles, metrics)
        one = Judged(experiment, study, evidence)
        one.judge()
        studies.append(one)
    return studies, notes


def only(studies: Sequence[Judged], runs: Sequence[Run]) -> Judged | None:
    """The study that all runs belong to, None if there is none."""
    return studies[0] if studies and {run.experiment for run in runs} == {studies[0].experiment} else None


def table_of(studies: Sequence[Judged], runs: Sequence[Run], configurations: Sequence[Configuration]) -> Table:
    """The table of a report: that of its study where all runs belong to one and it has columns, else the usual one."""
    rows, study = study_table(runs, configurations), only(studies, runs)
    own = study.table(rows, [[runs[i] for i in one.members] for one in configurations]) if study else None
    return own or Table.usual(rows)


def write_claims(path: Path, studies: Sequence[Judged]) -> None:
    """A row per claim: experiment, verdict, claim, evidence."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("experiment", "verdict", "claim", "evidence"))
        for one in studies:
            for claim in one.claims:
                row = (one.experiment, claim.verdict, claim.text, claim.evidence)
                writer.writerow([as_text(value) for value in row])
