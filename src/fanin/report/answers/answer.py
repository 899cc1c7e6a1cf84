"""The answers of a report: one for each experiment and data set, which alone can be held against each other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fanin.record.overrides import display
from fanin.report.answers.best import Contest, contest
from fanin.report.answers.by_axis import ByAxis, by_axis
from fanin.report.answers.scores import Metric, metric_of, scores_of
from fanin.report.read.axes import Axis, axes_of
from fanin.report.read.configurations import Configuration
from fanin.report.read.folders import Run, check_metric


@dataclass(frozen=True)
class Answer:
    """What a sweep says.

    Attributes:
        subject: of which experiment and data set where there are several, else "".
        metric: by which its configurations are judged.
        contest: all of them against the best.
        axes: what varies between them, value by value.
        varying: all axes, those with many values, too.
        ended: for each configuration how many runs ended, and how many of those diverged.
        configurations, runs, diverged: how many there are, whatever became of them.
    """

    subject: str
    metric: Metric
    contest: Contest
    axes: list[ByAxis]
    varying: list[Axis]
    ended: dict[int, tuple[int, int]]
    configurations: int
    runs: int
    diverged: int


def answers_of(
    runs: Sequence[Run],
    configurations: Sequence[Configuration],
    metric: str | None = None,
    without: Collection[str] = (),
    sought: tuple[str, bool] | None = None,
) -> list[Answer]:
    """An answer for each experiment and data set with two configurations or more that have a number.

    Args:
        runs: of the report, in the order of its configurations.
        configurations: of the report.
        metric: a number of result.json; by default the test error, over folds the validation error, or what there is.
        without: experiments that are studies, whose claims are their answers.
        sought: what a search went by where no metric is asked for, and whether more of it is better; left aside where
            no run has it.

    Raises:
        UserError: a metric that no run has.
    """
    check_metric(runs, metric)
    larger = None
    if metric is None and sought and any(sought[0] in run.numbers for run in runs):
        metric, larger = sought
    groups: dict[tuple[str, str], list[int]] = {}
    for place, one in enumerate(configurations):
        if one.experiment not in without:
            data = display(runs[one.members[0]].value("data"))
            groups.setdefault((one.experiment, data), []).append(place)
    axes = axes_of(configurations) if groups else []
    answers = []
    for (experiment, data), places in groups.items():
        own = [runs[i] for place in places for i in configurations[place].members]
        by = metric_of(own, metric, larger=larger)
        scores = scores_of(runs, configurations, places, by) if by else []
        if by is None or len(scores) < 2:
            continue
        named = [experiment] if len({one for one, _ in groups}) > 1 else []
        named += [f"data={data}"] if len({one for _, one in groups}) > 1 else []
        varying = [axis for axis in axes if len({axis.ranks[place] for place in places}) > 1]
        ended = {place: _ended([runs[i] for i in configurations[place].members]) for place in places}
        diverged = sum(count for _, count in ended.values())
        found = by_axis(scores, varying, by, ended)
        answers.append(
            Answer(", ".join(named), by, contest(scores, by), found, varying, ended, len(places), len(own), diverged)
        )
    return answers


def _ended(runs: Sequence[Run]) -> tuple[int, int]:
    """How many came to an end, and how many of those diverged."""
    diverged = sum(run.state == "diverged" for run in runs)
    return sum(run.state == "done" for run in runs) + diverged, diverged
