"""What a sweep, a search or a comparison says, on axes of one's own: the panels of the report's pictures of it.

Every function returns the axes, takes `axes=None` for new ones of pyplot, and raises UserError, in one line, where the
runs have nothing of what is asked for. `fanin.plots` has all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fanin.api.drawn_runs import Read, Runs, drawn, runs_of
from fanin.errors import OptionError, UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fanin.report.answers.answer import Answer
    from fanin.report.compare.comparison import Held
    from fanin.report.compare.ranking import Ranking
    from fanin.report.compare.time_to_target import TimeToTarget
    from fanin.report.read.axes import Axis
    from fanin.report.search.told import SearchTold


def best(runs: Runs, axes: Axes | None = None, *, metric: str | None = None) -> Axes:
    """The best configurations, the best on top: the mean of each with its 95 % t-interval, its runs as dots above.

    Filled: told from the best at 5 % after Holm's correction, or the best itself; hollow: not told, or not tested.

    Args:
        runs: of one experiment and data set.
        axes: to draw on.
        metric: a number of result.json; by default what was searched for, else the test error or what there is.

    Raises:
        UserError: no two configurations with a number, several data sets, or a metric that no run has.
    """
    from fanin.report.figures.best import label_of

    return _of_answer("best", runs, axes, metric, "mean", label_of)


def differences(runs: Runs, axes: Axes | None = None, *, metric: str | None = None) -> Axes:
    """How far each of the best configurations is from the best of all, paired over the seeds that both have.

    Args:
        runs, axes, metric: see `best`.

    Raises:
        UserError: see `best`; or no two runs that a test could take.
    """
    from fanin.report.figures.best import difference_label

    return _of_answer("differences", runs, axes, metric, "difference", difference_label)


def ranks(runs: Runs, axes: Axes | None = None, *, metric: str | None = None) -> Axes:
    """The mean rank of each of the best configurations over the seeds that all have, with its bootstrap interval.

    Args:
        runs, axes, metric: see `best`.

    Raises:
        UserError: see `best`; or fewer than two runs that all have.
    """
    return _of_answer("ranks", runs, axes, metric, "rank", lambda _: "mean rank")


def sensitivity(
    runs: Runs, key: str | None = None, axes: Axes | None = None, *, by: str | None = None, metric: str | None = None
) -> Axes:
    """The metric over a number, the best over all that is not shown, with its 95 % t-interval.

    Args:
        runs: see `best`.
        key: the number, such as optimizer.lr; by default the first that varies.
        axes: to draw on.
        by: a choice that has a curve for each of its values; by default the first that varies, if any.
        metric: see `best`.

    Raises:
        UserError: see `best`; or no such key varies.
    """
    from fanin.report.figures.best import label_of
    from fanin.report.figures.by_axis import choice_of, curves_panel, over_words

    answer = _answer("sensitivity", runs_of(runs), metric)
    number = _axis("sensitivity", answer, key, lambda axis: axis.kind == "number")
    choice = choice_of(answer) if by is None else _axis("sensitivity", answer, by, lambda axis: axis.kind != "number")
    entries: list[Any] = []

    def draw(place: Axes) -> None:
        entries.extend(curves_panel(place, answer, number, choice))

    title = over_words(answer, [number, *([choice] if choice else [])])
    return drawn(axes, draw, legend=entries, xlabel=number.title, ylabel=label_of(answer), title=title)


def heat_map(
    runs: Runs,
    down: str | None = None,
    across: str | None = None,
    axes: Axes | None = None,
    *,
    metric: str | None = None,
) -> Axes:
    """The metric at each pair of values of two keys, the best over all that is not shown, a star on the best of all.

    Args:
        runs: see `best`.
        down, across: the keys; by default the first that vary, choices before numbers.
        axes: to draw on.
        metric: see `best`.

    Raises:
        UserError: see `best`; or no such two keys vary.
    """
    from fanin.report.figures.by_axis import map_panel, over_words

    return _of_pair("heat_map", runs, (down, across), axes, metric, map_panel, over_words)


def diverged(
    runs: Runs,
    down: str | None = None,
    across: str | None = None,
    axes: Axes | None = None,
    *,
    metric: str | None = None,
) -> Axes:
    """The share of runs that diverged at each pair of values of two keys, in per cent.

    Args:
        runs, down, across, axes, metric: see `heat_map`.

    Raises:
        UserError: see `heat_map`.
    """
    from fanin.report.figures.by_axis import diverged_panel

    title = "share of runs that diverged"
    return _of_pair("diverged", runs, (down, across), axes, metric, diverged_panel, lambda *_: title)


def importance(runs: Runs, axes: Axes | None = None, *, metric: str | None = None) -> Axes:
    """The share of the variance that each axis explains alone, with its interval; open marks: of the best fifth.

    Args:
        runs: of a search, or of a grid of eight configurations or more over two keys or more.
        axes: to draw on.
        metric: a number of result.json; by default the test error or what there is. A search has its own.

    Raises:
        UserError: too few configurations to say it; a metric that no run has, or by which a search did not go.
    """
    from fanin.report.search.figures import importance_panel

    told = _search("importance", runs, metric)
    if not told.shares:
        raise UserError("importance: too few configurations, or several metrics")
    draw = partial(importance_panel, shares=told.shares, good=told.good)
    return drawn(axes, draw, xlabel="share of the variance; open: of the best fifth")


def best_so_far(runs: Runs, axes: Axes | None = None) -> Axes:
    """The metric of every trial of a search, and the best so far.

    Args:
        runs: the folder of a search, or its runs.
        axes: to draw on.

    Raises:
        UserError: no search.
    """
    from fanin.report.search.figures import course_panel

    told = _search("best_so_far", runs, searched=True)
    draw = partial(course_panel, found=told.found, sign=float(told.signs[0]))
    return drawn(axes, draw, xlabel="trial", ylabel=told.metrics[0])


def slices(runs: Runs, key: str, axes: Axes | None = None, *, metric: str | None = None) -> Axes:
    """The metric of every configuration over one axis of a search or a grid, early trials dark.

    Args:
        runs: see `importance`.
        key: the axis, as it was typed.
        axes: to draw on.
        metric: see `importance`.

    Raises:
        UserError: see `importance`; or no such axis.
    """
    from fanin.report.search.figures import slice_panel

    told = _search("slices", runs, metric)
    names = [axis.name for axis in told.found.axes]
    if key not in names:
        raise OptionError("key", key, f"one of {', '.join(names)}")
    draw = partial(slice_panel, found=told.found, index=names.index(key))
    return drawn(axes, draw, xlabel=key, ylabel=told.metrics[0])


def parallel(runs: Runs, axes: Axes | None = None, *, metric: str | None = None) -> Axes:
    """Parallel coordinates: a line for each configuration through its place on every axis, the best fifth in colour.

    Args:
        runs, axes, metric: see `importance`.

    Raises:
        UserError: see `importance`.
    """
    from fanin.report.search.figures import parallel_panel

    told = _search("parallel", runs, metric)
    return drawn(axes, lambda place: parallel_panel(place, told.found, told.metrics[0], float(told.signs[0])))


def rungs(runs: Runs, axes: Axes | None = None, *, bracket: int = 0) -> Axes:
    """The metric of every configuration at the end of each rung of a bracket, a cross where it was left.

    Args:
        runs: the folder of a search, or its runs.
        axes: to draw on.
        bracket: of Hyperband's, from 0.

    Raises:
        UserError: no search, or no such bracket.
    """
    from fanin.report.search.figures import rungs_panel

    told = _search("rungs", runs, searched=True)
    known = sorted({row.bracket for row in told.rows})
    if bracket not in known:
        raise OptionError("bracket", bracket, f"one of {', '.join(map(str, known))}")
    draw = partial(rungs_panel, rows=[row for row in told.rows if row.bracket == bracket])
    return drawn(axes, draw, xlabel="steps", ylabel=told.metrics[0])


def pareto(runs: Runs, x: str | None = None, y: str | None = None, axes: Axes | None = None) -> Axes:
    """Every configuration of a search by two of its metrics, its Pareto front in colour.

    Args:
        runs: the folder of a search for several metrics, or its runs.
        x, y: metrics of it; by default the first and the second.
        axes: to draw on.

    Raises:
        UserError: no search for several metrics, or no such metric.
    """
    from fanin.report.search.figures import pareto_panel

    told = _search("pareto", runs, searched=True)
    if len(told.metrics) < 2:
        raise UserError(f"pareto: the search is for {told.metrics[0]} alone")
    for name, metric in (("x", x), ("y", y)):
        if metric is not None and metric not in told.metrics:
            raise OptionError(name, metric, f"one of {', '.join(told.metrics)}")
    first, second = x or told.metrics[0], y or told.metrics[1]
    place, best_ones = (told.metrics.index(first), told.metrics.index(second)), told.found.front(told.signs)
    return drawn(axes, lambda one: pareto_panel(one, told.found, best_ones, *place), xlabel=first, ylabel=second)


def pairs(
    runs: Runs,
    sides: Sequence[str],
    axes: Axes | None = None,
    *,
    metric: str | None = None,
    reference: str | None = None,
) -> Axes:
    """Differences of paired runs of each side to the reference as dots, below them the mean with its 95 % t-interval.

    Args:
        runs: what is compared.
        sides: two or more, as fanin-report --compare takes them: "optimizer=sgd", "optimizer=adam".
        axes: to draw on.
        metric: a number of result.json; by default the test error, over folds the validation error.
        reference: one of the sides; by default the first.

    Raises:
        UserError: no two pairs, or what is wrong with the sides.
    """
    from fanin.report.compare.comparison_figures import entries, pairs_panel

    held = _held(runs, sides, metric, reference)
    draw, label = partial(pairs_panel, comparisons=held.comparisons), held.comparisons[0].first.text
    return drawn(axes, draw, legend=entries(), xlabel=f"{held.metric}: difference to {label}")


def critical_differences(runs: Runs, sides: Sequence[str], axes: Axes | None = None, **more: str | None) -> Axes:
    """Mean ranks of three sides or more with their intervals; a bar joins what the critical difference does not part.

    Args:
        runs, sides, axes, more: see `pairs`.

    Raises:
        UserError: see `pairs`; or no two blocks that all sides have.
    """
    from fanin.report.compare.comparison_figures import critical_differences_panel

    ranking = _ranking("critical_differences", runs, sides, more)
    return drawn(axes, partial(critical_differences_panel, ranking=ranking))


def improvement(runs: Runs, sides: Sequence[str], axes: Axes | None = None, **more: str | None) -> Axes:
    """The probability that a run of each side is better than one of the reference, with its interval.

    Args:
        runs, sides, axes, more: see `pairs`.

    Raises:
        UserError: see `critical_differences`.
    """
    from fanin.report.compare.comparison_figures import improvement_panel

    ranking = _ranking("improvement", runs, sides, more)
    return drawn(axes, partial(improvement_panel, ranking=ranking))


def time_to_target(runs: Runs, sides: Sequence[str], axes: Axes | None = None, **more: str | None) -> Axes:
    """The share of runs of each side that are at the target after so many updates.

    Args:
        runs, sides, axes, more: see `pairs`.

    Raises:
        UserError: see `critical_differences`; or nothing was logged on the way.
    """
    from fanin.report.compare.comparison_figures import time_to_target_panel

    return _of_times("time_to_target", runs, sides, axes, more, time_to_target_panel)


def performance_profile(runs: Runs, sides: Sequence[str], axes: Axes | None = None, **more: str | None) -> Axes:
    """The share of blocks in which a side takes at most so many times the updates of the best to the target.

    Args:
        runs, sides, axes, more: see `pairs`.

    Raises:
        UserError: see `time_to_target`.
    """
    from fanin.report.compare.comparison_figures import profile_panel

    return _of_times("performance_profile", runs, sides, axes, more, profile_panel)


def _answer(what: str, found: Read, metric: str | None) -> Answer:
    """The answer of these runs, by the metric that was asked for or searched for."""
    from fanin.report.answers.answer import answers_of
    from fanin.report.search.told import sought_in

    answers = answers_of(found.runs, found.sheet.configurations, metric, sought=sought_in(found.grid))
    if not answers:
        raise UserError(f"{what}: no two configurations have a number to be held against each other")
    if len(answers) > 1:
        raise UserError(f"{what}: there are {'; '.join(one.subject for one in answers)}; give the runs of one")
    return answers[0]


def _of_answer(
    what: str,
    runs: Runs,
    axes: Axes | None,
    metric: str | None,
    of: str,
    label: Callable[[Answer], str],
) -> Axes:
    from fanin.report.figures.best import rows_panel

    answer = _answer(what, runs_of(runs), metric)
    if what == "differences" and not answer.contest.tested:
        raise UserError("differences: no test has two runs that vary")
    if what == "ranks" and answer.contest.ranks is None:
        raise UserError("ranks: the configurations have fewer than two runs in common")
    return drawn(axes, lambda place: rows_panel(place, answer, of), xlabel=label(answer))


def _of_pair(
    what: str,
    runs: Runs,
    keys: tuple[str | None, str | None],
    axes: Axes | None,
    metric: str | None,
    draw: Callable[[Axes, Answer, Axis, Axis], None],
    title: Callable[[Answer, Sequence[Axis]], str],
) -> Axes:
    answer = _answer(what, runs_of(runs), metric)
    pair = _pair(what, answer, *keys)
    words = {"xlabel": pair[1].title, "ylabel": pair[0].title, "title": title(answer, pair)}
    return drawn(axes, lambda place: draw(place, answer, *pair), **words)


def _axis(what: str, answer: Answer, key: str | None, kind: Callable[[Axis], bool]) -> Axis:
    """The axis of this key or short name, or the first of a kind."""
    there = [axis for axis in answer.varying if kind(axis)]
    found = [axis for axis in there if key in (None, axis.key, axis.name)]
    if not found:
        known = f"one of {', '.join(axis.key for axis in there)}" if there else "nothing of the kind varies"
        raise UserError(f"{what}: {f'key {key!r}: ' if key else ''}{known}")
    return found[0]


def _pair(what: str, answer: Answer, down: str | None, across: str | None) -> tuple[Axis, Axis]:
    from fanin.report.figures.by_axis import mapped_of

    usual = mapped_of(answer)
    if not usual and (down is None or across is None):
        raise UserError(f"{what}: needs two keys that vary")

    def anything(axis: Axis) -> bool:
        return True

    first = usual[0] if down is None else _axis(what, answer, down, anything)
    second = next((one for one in usual if one is not first), None) if across is None else None
    second = second or _axis(what, answer, across, lambda axis: axis is not first)
    return first, second


def _search(what: str, runs: Runs, metric: str | None = None, *, searched: bool = False) -> SearchTold:
    from fanin.report.read.folders import check_metric
    from fanin.report.search.told import search_told

    found = runs_of(runs)
    check_metric(found.runs, metric)
    told = search_told(found.grid, found.runs, found.sheet.configurations, metric)
    if told is None or (searched and not told.rows):
        raise UserError(f"{what}: {'no search' if searched else 'no search, nor a large enough grid,'} in {found.grid}")
    if metric is not None and told.metrics != [metric]:
        raise UserError(
            f"{what}: metric {metric!r}: the search went by {', '.join(told.metrics)}, which is the default"
        )
    return told


def _held(runs: Runs, sides: Sequence[str], metric: str | None, reference: str | None) -> Held:
    from fanin.report.compare.comparison import hold

    return hold([run.folder for run in runs_of(runs).runs], sides, metric, reference=reference)


def _ranking(what: str, runs: Runs, sides: Sequence[str], more: dict[str, str | None]) -> Ranking:
    if unknown := more.keys() - {"metric", "reference"}:
        raise TypeError(f"{what}() got an unexpected keyword argument {min(unknown)!r}")
    found = _held(runs, sides, more.get("metric"), more.get("reference")).ranking
    if found is None:
        raise UserError(f"{what}: needs three sides or more with two blocks or more that all of them have")
    return found


def _of_times(
    what: str,
    runs: Runs,
    sides: Sequence[str],
    axes: Axes | None,
    more: dict[str, str | None],
    draw: Callable[[Axes, TimeToTarget], None],
) -> Axes:
    from fanin.report.compare.comparison_figures import entries_of

    ranking = _ranking(what, runs, sides, more)
    times = ranking.times
    if times is None:
        raise UserError(f"{what}: the metric was not logged at two steps or more of every run")
    return drawn(axes, lambda place: draw(place, times), legend=entries_of(ranking))
