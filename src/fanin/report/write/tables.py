"""The tables of a report: the study table, and means with intervals over seeds for each configuration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from fanin.errors import counted
from fanin.record.columns import STATES
from fanin.record.outcome import PARTS, TASKS, Task, metric_words
from fanin.record.run_files import as_number
from fanin.record.summary import INIT, METRICS
from fanin.report.read.configurations import Configuration
from fanin.report.read.folders import Run, task_of
from fanin.report.statistics import Interval, bounds_of, geometric_interval, mean_interval

# Positive quantities that live on a logarithmic scale get geometric means.
GEOMETRIC = ("factor_per_layer", "gradient_first", "gradient_last", "activation_first", "activation_last")
FOLDS = "folds, whose training sets overlap: with the variance factor 1/n + 1/(k - 1) of Nadeau & Bengio (2003)"
INITIALIZATION = (
    "Factors and gradient norms are geometric means over runs. The deviation is that of the last hidden activation "
    "norm from fresh draws of its recipe, by their law or by redraws, in standard deviations of one draw: mean [range]."
)
STUDY_HEADER = (
    "configuration", "seeds", "factor per layer", "theory", "expected at this width",
    "gradient, first layer", "gradient, last layer", "outcome", "verdict", "deviation (sd)",
)  # fmt: skip
Row = dict[str, Any]


class Table(NamedTuple):
    """A table for people: rows of texts below a header; `numeric` are the positions of columns of numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Collection[int] = ()

    @property
    def initialization(self) -> bool:
        """Whether it is the usual one, about initialization."""
        return tuple(self.header) == STUDY_HEADER


def study_rows(runs: Sequence[Run], configurations: Sequence[Configuration]) -> list[Row]:
    """A row per configuration with the columns of table.csv; every run counts, whatever its state.

    Its keys, the number of runs and of different seeds, of runs in each state, outcome and verdict in words, the
    smallest and the largest deviation z of a seed, its `source`; then `_mean`, `_low`, `_high`, `_n` of every number.
    `_gmean` instead of `_mean` says that the mean is geometric; low and high end the 95 % t-interval over seeds, or
    over the `folds` of a cross-validation; `_n` is the number of runs with a finite value. None is what there is not.
    """
    keys = dict.fromkeys(key for one in configurations for key in one.values)
    metrics = dict.fromkeys((*METRICS, *(name for run in runs for name in run.metrics)))
    folds = any(one.folds for one in configurations)
    rows = []
    for one in configurations:
        members = [runs[i] for i in one.members]
        given = (one.label, one.values, one.folds, list(keys), list(metrics), folds, members)
        rows.append(members[0].once("row of its configuration", given, partial(_study_row, *given)))
    return rows


def _study_row(
    label: str,
    values: Mapping[str, Any],
    k: int | None,
    keys: Sequence[str],
    metrics: Sequence[str],
    folds: bool,
    members: Sequence[Run],
) -> Row:
    states, shares = Counter(run.state for run in members), task_of(members).percent
    z = [value for run in members if (value := run.init("z")) is not None and not math.isnan(value)]
    row: Row = {"configuration": label, **{key: values.get(key) for key in keys}, "runs": len(members)}
    row |= {"seeds": len({str(run.seed) for run in members}), **{state: states[state] for state in STATES}}
    verdicts = [run.verdict_of_both for run in members if run.verdict_of_both]
    row |= {"outcome": _outcome(members), "verdict": _by_count(verdicts)}
    row |= {"z_min": min(z, default=None), "z_max": max(z, default=None)}
    row |= {"source": _by_count([run.source for run in members if run.source])}
    for name in metrics:
        bounds = bounds_of(name, percent=shares and name.endswith("_error"))
        row |= _columns(name, mean_interval([run.metric(name) for run in members], k, bounds))
    for name in INIT:
        interval = geometric_interval if name in GEOMETRIC else mean_interval
        row |= _columns(name, interval([run.init(name) for run in members], k))
    return row | ({"folds": k} if folds else {})


def study_cells(row: Row) -> list[str]:
    """The texts of the study table, one for each of STUDY_HEADER."""
    seeds, runs, z, low, high = (row[name] for name in ("seeds", "runs", "z_mean", "z_min", "z_max"))
    more = counted(runs, "run") if seeds != runs else ""
    more = counted(round(runs / seeds), "fold") if row.get("folds") else more
    among = f" [{low:+.2f}, {high:+.2f}]" if low is not None and low < high else ""
    drawn = f" ({row['source']})" if row["source"].startswith("redraw") else ""
    deviation = "" if z is None or math.isnan(z) else f"{z:+.2f}{among}{drawn}"
    factors = [short(row[name], 4) for name in ("factor_per_layer_gmean", "theory_factor_mean", "expected_factor_mean")]
    gradients = [short(row[name], 3) for name in ("gradient_first_gmean", "gradient_last_gmean")]
    first = [row["configuration"], f"{seeds} ({more})" if more else str(seeds)]
    return [*first, *factors, *gradients, row["outcome"], row["verdict"], deviation]


def _columns(name: str, interval: Interval) -> Row:
    """The columns of one number."""
    mean = f"{name}_gmean" if name in GEOMETRIC else f"{name}_mean"
    ends = {f"{name}_{end}": None if math.isnan(value := getattr(interval, end)) else value for end in ("low", "high")}
    return {mean: interval.mean if interval.measured else None, **ends, f"{name}_n": interval.n}


def _outcome(members: Sequence[Run]) -> str:
    """What became of the runs: one phrase where they agree, else "3 of 5 diverged ..., 2 of 5 learn ..."."""
    kinds = [run.outcome if run.outcome and run.state != "pruned" else run.state for run in members]
    by_kind = {kind: [run for run, k in zip(members, kinds, strict=True) if k == kind] for kind in kinds}
    return _by_count(kinds, lambda kind: _phrase(kind, by_kind[kind]))


def _by_count(words: Sequence[str], phrase: Callable[[str], str] = str) -> str:
    """The word that all say, or how many say which."""
    told = [(count, phrase(word)) for word, count in Counter(words).most_common()]
    if len(told) == 1:
        return told[0][1]
    told = [(count, text.replace("learns", "learn", 1) if count > 1 else text) for count, text in told]
    return ", ".join(f"{count} of {len(words)} {text}" for count, text in told)


def _phrase(kind: str, members: Sequence[Run]) -> str:
    """One outcome with its number: where it diverged, what error it reached on average, how far it came."""
    if kind == "diverged":
        at = _steps([run.diverged.get("step") for run in members])
        named = {str(run.diverged["layer"]) for run in members if run.diverged.get("layer")}
        layers = sorted(named, key=lambda name: (len(name), name))  # linear_9 before linear_10
        where = f" ({' to '.join(dict.fromkeys((layers[0], layers[-1])))})" if layers else ""
        return kind + (f" at {span(at)}" if at else "") + where
    if kind in ("running", "interrupted", "paused", "pruned") and len(members) == 1 and members[0].progress:
        return f"{kind} at {members[0].progress}"
    if kind in STATES or kind in ("init only", "no progress"):
        return kind
    task = task_of(members)
    what, share = ("error", True) if task is TASKS["classification"] else ("loss", False)
    for part in PARTS:
        mean = mean_interval([run.metric(f"{part}_{what}") for run in members])
        words = f"{part} {getattr(task, what)}"
        if mean.n:
            told = f"{100 * mean.mean:.1f} % {words}" if share else f"{words} {mean.mean:.3g}"
            return f"{kind}: {told}{_overfitting(members)}"
    return kind


def _overfitting(members: Sequence[Run]) -> str:
    """From which step they overfit, and how many of them where not all do."""
    if not (steps := _steps([run.result.get("overfits_from") for run in members])):
        return ""
    some = f"{len(steps)} of them overfit" if len(steps) < len(members) else "overfits"
    return f", {some} from {span(steps)}"


def _steps(told: Iterable[object]) -> list[int]:
    """Those that are numbers, in order."""
    return sorted(int(step) for one in told if (step := as_number(one)) is not None and math.isfinite(step))


def span(steps: Sequence[int]) -> str:
    """Steps in order as words: "step 3", "steps 3 to 9"."""
    return f"step {steps[0]}" if steps[0] == steps[-1] else f"steps {steps[0]} to {steps[-1]}"


def metric_table(rows: Sequence[Row], task: Task) -> Table | None:
    """The final metrics' means with their intervals, in the words of the runs' task; None where there are none."""
    metrics = [name for name in METRICS if any(row[f"{name}_n"] for row in rows)]
    header = ["configuration", *(metric_words(name, task) for name in metrics)]
    cells = [[row["configuration"], *(interval_text(row, name) for name in metrics)] for row in rows]
    return Table("final metrics", header, cells) if metrics else None


def interval_words(rows: Sequence[Row]) -> str:
    """What the intervals of these configurations are."""
    over = sorted({FOLDS if row.get("folds") else "seeds" for row in rows}, key=len)
    means = [(row, name.removesuffix("_mean")) for row in rows for name in row if name.endswith("_mean")]
    metrics = [(row, name) for row, name in means if name not in INIT and row[f"{name}_mean"] is not None]
    some = ", and from how many of the runs where not from all"
    missing = some * any(row[f"{name}_n"] < row["runs"] for row, name in metrics)
    return f"95 % t-interval over {' or '.join(over)}, within 0 and 1 for shares{missing}"


def interval_text(row: Mapping[str, Any], name: str) -> str:
    """A mean with its interval, e.g. "2.3 [2.2, 2.4]"; "(3 of 5)" where not every run has a finite value."""
    mean, low, high, n = (row[f"{name}_{what}"] for what in ("mean", "low", "high", "n"))
    interval = "" if low is None else f" [{short(low, 4)}, {short(high, 4)}]"
    return "" if mean is None else f"{mean:.4g}{interval}" + (f" ({n} of {row['runs']})" if n < row["runs"] else "")


def short(value: float | None, digits: int) -> str:
    """A number with so many significant digits; nothing for a missing one."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}g}"
