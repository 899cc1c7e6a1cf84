"""search_study, controller_study: searches of equal budgets held against random search, on a table of runs.

Every configuration of a grid is run to its end at every seed; each search is then replayed on that table (see
`fanin.search.replay`), each repetition with a seed of its own for proposals and, while there are more, for runs.
Medians over repetitions have the interval of their order statistics, which asks for no law. What is said of a search
against another is the median of paired differences: lower or higher where its interval lies on one side of 0, else
not told apart.

The rungs of search_study's halving take 27 configurations to 18 of 162 steps, 9 to 54 and 3 to 162: 7 whole runs, 7/16
of the budget with which random search trains 16 of them. Where early ranks are those at the end, the best of 27 is as
good as the best of 16 in 27 of 43 repetitions, and is there before half of the steps. How far they are, the study asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from fanin.errors import UserError, counted
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study
from fanin.search.compared import Searches, median_of, told
from fanin.search.replay import Course, Table, axes_of, replay_of
from fanin.search.settings import DEFAULTS, Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin.report.figures.style import Sheet

HALF = 0.5
"""The share of random search's steps with which halving is to reach its error."""

METRIC = "val_error"


class SearchStudy(Study):
    """Searches of equal budgets on a table of runs.

    Args:
        searches: by name, the keys of `hydra.sweeper` that each has; `method: grid` is a grid that fits the budget.
        budget: of each, in steps of whole runs.
        reference: the search that the others are held against.
        repetitions: of each search; None for as many as there are seeds.
        halves: searches that are to reach its final error with half of its steps.
        below: searches that are to choose configurations with a lower test error.
    """

    caption = (
        "Searches replayed on a table of all runs. Left: the best validation error of a whole run after so many steps, "
        "the median over repetitions. Right: the test error over all seeds of what each repetition chose, with the "
        "median and its interval."
    )
    profiles = False

    def __init__(
        self,
        searches: Mapping[str, Mapping[str, Any]],
        budget: float = 24,
        reference: str = "random",
        repetitions: int | None = None,
        halves: Sequence[str] = (),
        below: Sequence[str] = (),
    ) -> None:
        self.searches = {str(name): dict(given) for name, given in searches.items()}
        self.budget, self.reference, self.repetitions = float(budget), reference, repetitions
        self.halves, self.below = list(halves), list(below)

    def replays(self, evidence: Evidence) -> Searches | None:
        """All searches on the table of these runs; None while runs are missing."""
        if evidence not in _kept:
            table = table_of(evidence)
            _kept[evidence] = None if table is None else self.replayed(table)
        return _kept[evidence]

    def replayed(self, table: Table) -> Searches:
        """All searches on a table."""
        count = self.repetitions or len(table.seeds)
        made = Searches(table, round(self.budget * table.steps), {}, {})
        for name, given in self.searches.items():
            try:
                settings = None if given.get("method") == "grid" else Settings.of(DEFAULTS | given)
                made.found[name] = [
                    replay_of(table, settings, made.budget, repetition).run() for repetition in range(count)
                ]
            except UserError as error:
                made.left_out[name] = str(error)
        return made

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """Who needs half of the steps, who chooses better, and that no search chooses worse than by drawing."""
        made, runs = self.replays(evidence), evidence.runs_with({})
        for name in self.halves:
            text = f"{name} reaches {self.reference} search's final error with at most half of the steps"
            yield self.faster(made, name, text) if made else self.missing(text, runs)
        for name in self.below:
            text = f"{name} chooses configurations of a lower test error than {self.reference} search does"
            yield self.lower(made, name, text) if made else self.missing(text, runs)
        text = f"no search chooses worse than {self.reference} search with as many steps"
        yield self.no_worse(made, text) if made else self.missing(text, runs)

    def missing(self, text: str, runs: Sequence[Run]) -> Claim:
        """A claim for which runs are missing."""
        return Claim.missing(text, f"every configuration at every seed ({counted(len(runs), 'run')} there)")

    def faster(self, made: Searches, name: str, text: str) -> Claim:
        """The share of the budget after which a search is as good as the other one at its end, by repetition."""
        if not {name, self.reference} <= made.found.keys():
            return Claim.missing(text, f"the search {name}")
        pairs = zip(made.found[name], made.found[self.reference], strict=True)
        share = median_of([one.reached(other.value) / other.spent for one, other in pairs])
        return Claim(text, share.middle <= HALF, f"median share of the steps {share}")

    def lower(self, made: Searches, name: str, text: str) -> Claim:
        """The interval of the paired difference lies below 0."""
        if not {name, self.reference} <= made.found.keys():
            return Claim.missing(text, f"the search {name}")
        difference = made.against(name, self.reference)
        return Claim(text, difference.high < 0, f"differs by {difference}: {told(difference)}")

    def no_worse(self, made: Searches, text: str) -> Claim:
        """No interval of a paired difference lies above 0."""
        if self.reference not in made.found:
            return Claim.missing(text, f"the search {self.reference}")
        others = {name: made.against(name, self.reference) for name in made.found if name != self.reference}
        words = ", ".join(f"{name} {told(difference)}" for name, difference in others.items())
        words += "".join(f"; without {name}: {reason}" for name, reason in made.left_out.items())
        return Claim(text, not any(difference.low > 0 for difference in others.values()), words)

    def table(self, evidence: Evidence) -> tuple[Sequence[str], list[list[str]]] | None:
        """A row for each search: medians over repetitions with their intervals."""
        if (made := self.replays(evidence)) is None:
            return None
        header = ("search", "configurations", "whole runs", "best validation error", "its test error",
                  "test error over all seeds", f"against {self.reference}")  # fmt: skip
        rows = []
        for name, found in made.found.items():
            difference = made.against(name, self.reference) if self.reference in made.found else None
            apart = "" if difference is None or name == self.reference else f"{told(difference)}: {difference}"
            rows.append([
                name,
                f"{np.median([one.configurations for one in found]):g}",
                f"{np.median([one.spent / made.table.steps for one in found]):.3g}",
                str(median_of([one.value for one in found])),
                str(median_of([fmean(one.tests) for one in found])),
                str(median_of(made.chosen(name))),
                apart,
            ])  # fmt: skip
        return header, rows

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """The course of every search, and what it chose."""
        made = self.replays(evidence)
        if made is None:
            return None
        from fanin.search.study_figure import searches_figure

        return searches_figure(sheet, made)


_kept: WeakKeyDictionary[Evidence, Searches | None] = WeakKeyDictionary()


def table_of(evidence: Evidence) -> Table | None:
    """The table of a grid's runs; None where a configuration has not ended at every seed of the others."""
    runs = evidence.runs_with({})
    keys = dict.fromkeys(key for one in evidence.configurations for key in one.values)
    values = {key: found for key in keys if len(found := evidence.values(key)) > 1}
    for found in values.values():
        if all(isinstance(value, (int, float)) for value in found):
            found.sort()
    courses, steps = {}, 0
    for run in runs:
        place = tuple(_index(found, evidence, run, key) for key, found in values.items())
        at, errors = evidence.curve(run, METRIC)
        steps = max(steps, int(at[-1]) if len(at) and run.state == "done" else 0)
        test = run.numbers.get("test_error", math.inf) if run.state == "done" else 1.0
        course = Course({int(step): float(error) for step, error in zip(at, errors, strict=True)}, test)
        courses[place, int(run.seed or 0)] = course
    seeds = tuple(sorted({seed for _, seed in courses}))
    if steps == 0 or len(courses) != math.prod(map(len, values.values())) * len(seeds):
        return None
    return Table(tuple(axes_of(values)), courses, seeds, steps)


def _index(values: Sequence[Any], evidence: Evidence, run: Run, key: str) -> int:
    from fanin.report.compare.sides import same_value, value_of

    own = value_of(run, key)
    return next(place for place, value in enumerate(values) if same_value(own, value))
