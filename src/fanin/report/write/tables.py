"""The tables of a report: the study table, and means with intervals over seeds for each configuration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.errors import counted
from fanin.record.columns import STATES
from fanin.record.csv_file import write_table
from fanin.record.outcome import TASKS, Task
from fanin.record.run_files import as_number
from fanin.record.summary import INIT, METRICS
from fanin.report.read.configurations import Configuration
from fanin.report.read.folders import Run, task_of
from fanin.report.statistics import NOTHING, Interval, geometric_interval, mean_interval

if TYPE_CHECKING:
    from fanin.report.studies.base import Claim

# Positive quantities that live on a logarithmic scale get geometric means.
GEOMETRIC = ("factor_per_layer", "gradient_first", "gradient_last", "activation_first", "activation_last")
PARTS = ("train", "val", "test")
SEEDS = "seeds"
FOLDS = "folds, whose training sets overlap: with the variance factor 1/n + 1/(k - 1) of Nadeau & Bengio (2003)"
MISSING = ", and from how many of the runs where not from all"
INITIALIZATION = (
    "Factors and gradient norms are geometric means over runs. The deviation is that of the last hidden activation "
    "norm from theory's median, in standard deviations of the finite-width band of one seed: mean [range]."
)

STUDY_HEADER = (
    "configuration", "seeds", "factor per layer", "theory", "expected at this width",
    "gradient, first layer", "gradient, last layer", "outcome", "verdict", "deviation (sd)",
)  # fmt: skip


@dataclass(frozen=True)
class StudyRow:
    """One configuration in the study table.

    Attributes:
        label, values: its short name, and the keys it sets.
        runs, seeds: number of runs and of different seeds among them.
        states: number of runs in each state.
        metrics: arithmetic mean over seeds and interval of each final metric.
        init: the same of each quantity at initialization, geometric for norms and factors.
        z_range: smallest and largest deviation of a seed, in standard deviations of the band of theory.
        outcome, verdict: in words, with counts where the seeds disagree.
        folds: k where the runs are folds of a cross-validation, whose intervals are the wider for it.
    """

    label: str
    values: dict[str, Any]
    runs: int
    seeds: int
    states: dict[str, int]
    metrics: dict[str, Interval]
    init: dict[str, Interval]
    z_range: tuple[float, float]
    outcome: str
    verdict: str
    folds: int | None = None

    def cells(self) -> list[str]:
        """The texts of the study table, one for each of STUDY_HEADER."""
        factor, theory, expected = (
            short(self.init[name].mean, 4) for name in ("factor_per_layer", "theory_factor", "expected_factor")
        )
        gradients = [short(self.init[name].mean, 3) for name in ("gradient_first", "gradient_last")]
        return [
            self.label, self.number, factor, theory, expected, *gradients, self.outcome, self.verdict, self.deviation,
        ]  # fmt: skip

    @property
    def number(self) -> str:
        """How many seeds, e.g. "3", "1 (5 folds)", "3 (6 runs)"."""
        if self.folds:
            return f"{self.seeds} ({counted(round(self.runs / self.seeds), 'fold')})"
        return str(self.seeds) if self.seeds == self.runs else f"{self.seeds} ({counted(self.runs, 'run')})"

    @property
    def deviation(self) -> str:
        """Mean deviation and its range over seeds, e.g. "+0.31 [-0.80, +1.42]"."""
        z = self.init["z"]
        if math.isnan(z.mean):
            return ""
        low, high = self.z_range
        return f"{z.mean:+.2f}" + (f" [{low:+.2f}, {high:+.2f}]" if low < high else "")


@dataclass(frozen=True)
class Table:
    """A table for people: texts below a header; `numeric` are the positions of columns of numbers."""

    header: tuple[str, ...]
    rows: list[list[str]]
    numeric: frozenset[int]

    @property
    def initialization(self) -> bool:
        """Whether it is the usual one, about initialization."""
        return self.header == STUDY_HEADER

    @classmethod
    def usual(cls, rows: Sequence[StudyRow]) -> Table:
        """The study table: factors, gradients, outcome, verdict, deviation."""
        return cls(STUDY_HEADER, [row.cells() for row in rows], frozenset(range(1, 7)))


def study_table(runs: Sequence[Run], configurations: Sequence[Configuration]) -> list[StudyRow]:
    """One row per configuration; every run counts, whatever its state."""
    return [_study_row([runs[i] for i in one.members], one) for one in configurations]


def _study_row(members: Sequence[Run], one: Configuration) -> StudyRow:
    files = [run.files for run in members]
    names = dict.fromkeys((*METRICS, *(name for file in files for name in file.metrics)))
    z = [value for value in (file.init("z") for file in files) if value is not None and not math.isnan(value)]
    states = Counter(run.state for run in members)
    shares = task_of(members).percent

    def final(name: str) -> Interval:
        share = shares and name.endswith("_error")
        return mean_interval([file.metric(name) for file in files], one.folds, share=share)

    def initial(name: str) -> Interval:
        interval = geometric_interval if name in GEOMETRIC else mean_interval
        return interval([file.init(name) for file in files], one.folds)

    return StudyRow(
        label=one.label,
        values=one.values,
        runs=len(members),
        seeds=len({str(run.seed) for run in members}),
        states={state: states[state] for state in STATES},
        metrics={name: final(name) for name in names},
        init={name: initial(name) for name in INIT},
        z_range=(min(z, default=math.nan), max(z, default=math.nan)),
        outcome=_outcome(members),
        verdict=_counted([run.verdict for run in members if run.verdict], str),
        folds=one.folds,
    )


def _outcome(members: Sequence[Run]) -> str:
    """What became of the runs: one phrase where they agree, else "3 of 5 diverged ..., 2 of 5 learns ..."."""
    kinds = [run.files.outcome if run.files.outcome and run.state != "pruned" else run.state for run in members]
    by_kind = {kind: [run for run, k in zip(members, kinds, strict=True) if k == kind] for kind in kinds}
    return _counted(kinds, lambda kind: _phrase(kind, by_kind[kind]))


def _counted(words: Sequence[str], phrase: Callable[[str], str]) -> str:
    counts = Counter(words).most_common()
    if len(counts) == 1:
        return phrase(words[0])
    phrases = [(count, phrase(word)) for word, count in counts]
    phrases = [(count, text.replace("learns", "learn", 1) if count > 1 else text) for count, text in phrases]
    return ", ".join(f"{count} of {len(words)} {text}" for count, text in phrases)


def _phrase(kind: str, members: Sequence[Run]) -> str:
    """One outcome with its number: where it diverged, what error it reached, how far it came."""
    if kind == "diverged":
        numbers = (as_number(run.files.diverged.get("step")) for run in members)
        steps = sorted({int(step) for step in numbers if step is not None and math.isfinite(step)})
        named = {str(run.files.diverged["layer"]) for run in members if run.files.diverged.get("layer")}
        layers = sorted(named, key=lambda name: (len(name), name))  # linear_9 before linear_10
        at = "" if not steps else f" at step {steps[0]}" if len(steps) == 1 else f" at steps {steps[0]} to {steps[-1]}"
        return kind + at + (f" ({' to '.join(dict.fromkeys((layers[0], layers[-1])))})" if layers else "")
    if kind in ("running", "interrupted", "pruned") and len(members) == 1 and members[0].progress:
        return f"{kind} at {members[0].progress}"
    if kind == "failed" or kind in STATES or kind == "init only":
        return kind
    return f"{kind}: {number}" if kind != "no progress" and (number := _reached(members)) else kind


def _reached(members: Sequence[Run]) -> str:
    """What training came to on average, e.g. "6.2 % train error"; a function that is descended has a value instead."""
    task = task_of(members)
    what, share = ("error", True) if task is TASKS["classification"] else ("loss", False)
    for part in PARTS:
        mean = mean_interval([run.files.metric(f"{part}_{what}") for run in members])
        words = f"{part} {getattr(task, what)}"
        if mean.n:
            return f"{100 * mean.mean:.1f} % {words}" if share else f"{words} {mean.mean:.3g}"
    return ""


def metric_words(name: str, task: Task) -> str:
    """A final metric in the words of its task: "train loss", "train value"."""
    part, _, what = name.partition("_")
    return f"{part} {getattr(task, what)}" if part in PARTS and what in ("loss", "error") else name.replace("_", " ")


def write_table_csv(path: Path, rows: Sequence[StudyRow]) -> None:
    """One row per configuration: its keys, number of runs in each state, and `_mean`, `_low`, `_high`, `_n`.

    `_gmean` instead of `_mean` says that the mean is geometric; low and high end the 95 % t-interval over seeds, or
    over the `folds` of a cross-validation; `_n` is the number of runs with a finite value.
    """
    folds = any(row.folds for row in rows)
    keys = list(dict.fromkeys(key for row in rows for key in row.values))
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    means = [(name, f"{name}_gmean" if name in GEOMETRIC else f"{name}_mean") for name in (*metrics, *INIT)]
    header = ["configuration", *keys, "runs", "seeds", *STATES, "outcome", "verdict", "z_min", "z_max"]
    header += [column for name, mean in means for column in (mean, f"{name}_low", f"{name}_high", f"{name}_n")]
    lines: list[list[object]] = []
    for row in rows:
        line: list[object] = [row.label, *(row.values.get(key) for key in keys), row.runs, row.seeds]
        line += [*row.states.values(), row.outcome, row.verdict, *(_or_empty(end) for end in row.z_range)]
        for name, _ in means:
            interval = (row.init if name in INIT else row.metrics).get(name, NOTHING)
            ends = (interval.mean if interval.measured else None, _or_empty(interval.low), _or_empty(interval.high))
            line += [*ends, interval.n]
        lines.append([*line, row.folds] if folds else line)
    write_table(path, [*header, "folds"] if folds else header, lines)


def write_table_markdown(
    path: Path, title: str, rows: Sequence[StudyRow], table: Table, claims: Sequence[Claim], task: Task
) -> None:
    """The claims with their verdicts, the table and the final metrics in Markdown, in the words of the runs' task."""
    metrics = [name for name in METRICS if any(row.metrics[name].n for row in rows)]
    lines = [f"# {_escape(title)}", ""]
    if claims:
        told = [f"- claim **{claim.verdict}**: {_escape(f'{claim.text} ({claim.evidence})')}" for claim in claims]
        lines += ["## Claims", "", *told, "", "## Configurations", ""]
    lines += markdown(table.header, table.rows)
    lines += ["", INITIALIZATION] if table.initialization else []
    if metrics:
        cells = [[row.label, *(interval_text(row.metrics[name], row.runs) for name in metrics)] for row in rows]
        header = ["configuration", *(metric_words(name, task) for name in metrics)]
        lines += ["", "## Final metrics", "", *markdown(header, cells), "", f"Mean [{interval_words(rows)}]."]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def interval_words(rows: Sequence[StudyRow]) -> str:
    """What the intervals of these configurations are."""
    over = sorted({FOLDS if row.folds else SEEDS for row in rows}, key=len)
    some = any(one.n < row.runs for row in rows for one in row.metrics.values() if one.measured)
    return f"95 % t-interval over {' or '.join(over)}, within 0 and 1 for shares" + MISSING * some


def interval_text(interval: Interval, runs: int) -> str:
    """A mean with its interval, e.g. "2.3 [2.2, 2.4]"; "(3 of 5)" where not every run has a finite value."""
    if not interval.measured:
        return ""
    text = f"{interval.mean:.4g}"
    if not math.isnan(interval.low):
        text += f" [{short(interval.low, 4)}, {short(interval.high, 4)}]"
    return text + (f" ({interval.n} of {runs})" if interval.n < runs else "")


def short(value: float | None, digits: int) -> str:
    """A number with so many significant digits; nothing for a missing one."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}g}"


def _or_empty(value: float) -> float | None:
    return None if math.isnan(value) else value


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown, a text for each line."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines]


def _escape(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
