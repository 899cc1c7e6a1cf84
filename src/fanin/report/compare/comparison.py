"""Paired comparison of configurations: `fanin-report FOLDER --compare optimizer=sgd optimizer=adam`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fanin.errors import UserError, counted, did_you_mean
from fanin.record.csv_file import write_table
from fanin.report.compare.paired import Paired, paired
from fanin.report.compare.sides import Matched, Side, match, read_sides
from fanin.report.figures.encoding import GREY, OKABE_ITO, plain
from fanin.report.figures.style import Sheet, look, save
from fanin.report.read.configurations import FOLD, folds_of
from fanin.report.read.folders import Run, grid_of, read_runs, titled
from fanin.report.write.tables import markdown
from fanin.report.write.terminal import line, near

TOO_FEW = "an interval needs at least two pairs"
MOST_PAIRS = 200
MOST_REASONS = 6
LEGEND = (
    "Difference: the side minus the first, over pairs of runs that agree in everything else; 95 % t-interval of its "
    "mean. p values are two-sided: of a mean difference of zero (paired t-test), and of differences that are symmetric "
    "about zero (Wilcoxon's signed-rank test). sd: over runs, and over differences."
)


@dataclass(frozen=True)
class Comparison:
    """One side against the first.

    Attributes:
        first, side: the sides, with all their runs.
        matched: which run belongs to which, and what is left out.
        counted: positions of the pairs that count: both runs done, with a finite value.
        values: of the metric, [counted][first, side].
        statistics: of the differences, side - first; None with fewer than two pairs.
        folds: k where pairs are folds of a cross-validation, else None.
        notes: what was matched, what was left out and how to read the rest, a line each.
    """

    first: Side
    side: Side
    matched: Matched
    counted: list[int]
    values: list[tuple[float, float]]
    statistics: Paired | None
    folds: int | None
    notes: list[str]

    @property
    def differences(self) -> list[float]:
        """One for each pair that counts."""
        return [b - a for a, b in self.values]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows for people; no rows with fewer than two pairs, for a bare mean says nothing."""
        header = [counted(len(self.values), "pair"), self.first.text, self.side.text, "difference"]
        found = self.statistics
        if found is None:
            return header, []
        columns = np.array(self.values).T
        means = [f"{column.mean():.4g} ± {column.std(ddof=1):.2g}" for column in columns]
        medians = [f"{np.median(column):.4g}" for column in columns]
        return header, [
            ["mean ± sd", *means, f"{found.mean:+.4g} ± {found.sd:.2g}"],
            ["95 % interval", "", "", f"[{found.low:+.3g}, {found.high:+.3g}]"],
            ["median", *medians, f"{found.median:+.4g}"],
            ["signs", "", "", f"{found.below} below, {found.above} above 0"],
            ["paired t-test", "", "", _p(found.t_p)],
            ["Wilcoxon", "", "", _p(found.wilcoxon_p)],
        ]

    def row(self, metric: str) -> dict[str, object]:
        """The same numbers by their columns of compare.csv, and how many runs of either side were left out."""
        row: dict[str, object] = {"first": self.first.text, "side": self.side.text, "metric": metric}
        row |= {"pairs": len(self.values)} | dict.fromkeys(STATISTICS)
        sides = {"first": self.first, "side": self.side}
        for name, column in zip(sides, np.array(self.values).reshape(-1, 2).T, strict=True):
            row |= dict.fromkeys(f"{name}_{what}" for what in SPREADS)
            if self.statistics is not None:
                row |= {f"{name}_mean": column.mean(), f"{name}_sd": column.std(ddof=1)}
                row |= {f"{name}_median": np.median(column)}
        if self.statistics is not None:
            row |= {column: getattr(self.statistics, name) for column, name in STATISTICS.items()}
        row["folds"] = self.folds
        for name, side, lost in zip(sides, sides.values(), _lost(self.matched, metric), strict=True):
            unpaired = len(side.runs) - len(self.matched.pairs)
            row |= {f"{name}_runs": len(side.runs), f"{name}_unpaired": unpaired}
            row |= {f"{name}_{why.replace(' ', '_')}": count for why, count in lost.items()}
        return {key: float(value) if isinstance(value, np.floating) else value for key, value in row.items()}


STATISTICS = {
    "mean_difference": "mean", "low": "low", "high": "high", "sd_difference": "sd", "median_difference": "median",
    "t_p": "t_p", "wilcoxon_p": "wilcoxon_p", "below": "below", "above": "above",
}  # fmt: skip
SPREADS = ("mean", "sd", "median")


@dataclass(frozen=True)
class Compared:
    """A written comparison."""

    title: str
    metric: str
    comparisons: list[Comparison]
    out: Path
    tables: list[Path]
    figures: list[Path]


def compare(
    folders: Sequence[Path], sides: Sequence[str], metric: str | None = None, out: Path | None = None
) -> Compared:
    """Compare the runs of each side with those of the first and write compare.csv, compare.md and the figure.

    Two runs are a pair if they agree in everything but what the sides say: the same seed, the same fold. A pair counts
    if both runs are done and have a finite value; a pair with a diverged run is left out and said, for a difference to
    a run without an end means nothing, so that the mean difference is one among runs that converge.

    Args:
        folders: run folders or folders that hold some.
        sides: two or more of the form key=value[,key=value...].
        metric: a number of result.json; by default val_error where the runs of a side are folds, else test_error.
        out: where to write; by default `report` in the folder common to all runs.

    Raises:
        UserError: see read_sides and match; a metric that no run has; no comparison with two pairs.
        OSError: a folder that cannot be written.
    """
    grid, found = grid_of(folders)
    read = read_sides(sides, read_runs(found, grid))
    chosen = [run for side in read for run in side.runs]
    matches = [match(read[0], side) for side in read[1:]]
    metric = _metric(chosen, matches, metric)
    comparisons = [_compared(read[0], side, one, metric) for side, one in zip(read[1:], matches, strict=True)]
    if all(one.statistics is None for one in comparisons):
        one = comparisons[0]
        raise UserError(f"{one.side.text} against {one.first.text}: {'; '.join(one.notes)}")
    if len(comparisons) > 1:
        comparisons[-1].notes.append(f"the p values are not corrected for {len(comparisons)} comparisons")
    place = grid / "report" if out is None else out.resolve()
    place.mkdir(parents=True, exist_ok=True)
    tables = [place / "compare.csv", place / "compare.md"]
    rows = [one.row(metric) for one in comparisons]
    write_table(tables[0], list(rows[0]), [list(row.values()) for row in rows])
    title = titled(chosen)
    tables[1].write_text(_markdown(title, metric, comparisons), encoding="utf-8")
    with look():
        figures = save(_figure(Sheet(title, metric, []), comparisons), place, "compare")
    return Compared(title, metric, comparisons, place, tables, figures)


def print_compared(result: Compared, console: Console) -> None:
    """Print what was matched and left out, then the comparisons, and the files written."""
    console.print(Text(f"{result.title}: {result.metric}", style="bold"))
    for one in result.comparisons:
        header, rows = one.table()
        about = "" if len(result.comparisons) == 1 else f"{one.side.text} against {one.first.text}: "
        for note in one.notes:
            console.print(Text(f"{about}{note}", style="yellow"))
        if rows:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
            for position, name in enumerate(header):
                table.add_column(Text(name), justify="right" if position else "left", overflow="fold")
            for row in rows:
                table.add_row(*map(Text, row))
            console.print(table)
    for name, path in (("table", result.tables[0]), ("text", result.tables[1]), ("figure", result.figures[0])):
        line(console, f"{name:<12}{near(path)}")


def _metric(runs: Sequence[Run], matches: Sequence[Matched], asked: str | None) -> str:
    """The metric to compare, one that some run has."""
    paired_folds = any(pair.first.files.overrides.get(FOLD) is not None for one in matches for pair in one.pairs)
    metric = asked or ("val_error" if paired_folds else "test_error")
    if not any(metric in run.files.numbers for run in runs):
        names = sorted({name for run in runs for name in run.files.numbers})
        fix = did_you_mean(metric, names) or f"they have {', '.join(names) or 'none'}"
        raise UserError(f"--metric {metric}: none of these runs has it; {fix}")
    return metric


def _compared(first: Side, side: Side, matched: Matched, metric: str) -> Comparison:
    both = [(pair.first, pair.second) for pair in matched.pairs]
    finite = [i for i, pair in enumerate(both) if not any(_why_not(run, metric) for run in pair)]
    values = [(both[i][0].files.numbers[metric], both[i][1].files.numbers[metric]) for i in finite]
    folds = folds_of([run for pair in both for run in pair])
    statistics = paired([b - a for a, b in values], folds) if len(values) > 1 else None
    notes = _notes(first, side, matched, metric)
    notes += [] if statistics else [f"{counted(len(values), 'pair')} left; {TOO_FEW}"]
    if statistics and folds:
        notes.append(
            "pairs are folds, whose training sets overlap: interval and t-test have the variance factor "
            f"1/n + 1/(k-1), k = {folds} (Nadeau & Bengio 2003); Wilcoxon's p is not corrected"
        )
    others = [key for key in matched.varying if key not in ("seed", FOLD)]
    if statistics and others:
        notes.append(f"pairs differ in {', '.join(others)} too: the mean is over these settings as much as over seeds")
    return Comparison(first, side, matched, finite, values, statistics, folds, notes)


def _why_not(run: Run, metric: str) -> str:
    """Why a run's pair does not count, or nothing."""
    if run.state == "done":
        return "" if math.isfinite(run.files.numbers.get(metric, math.nan)) else "without value"
    return "diverged" if run.state == "diverged" else "unfinished"


def _lost(matched: Matched, metric: str) -> list[dict[str, int]]:
    """For either side how many of its paired runs have no number to compare, by the reason."""
    sides = [[pair.first for pair in matched.pairs], [pair.second for pair in matched.pairs]]
    whys = [[_why_not(run, metric) for run in runs] for runs in sides]
    return [{why: each.count(why) for why in ("diverged", "unfinished", "without value")} for each in whys]


def _notes(first: Side, side: Side, matched: Matched, metric: str) -> list[str]:
    """What the sides are matched on, and what is left out and why."""
    notes = [f"matched on {', '.join(matched.keys)}" if matched.keys else "one run on each side, alike in all else"]
    for one, reasons in zip((first, side), matched.left_out, strict=True):
        told = sorted(reasons.items(), key=lambda item: -item[1])
        notes += [f"left out: {counted(count, 'run')} of {one.text}: {reason}" for reason, count in told[:MOST_REASONS]]
        if rest := sum(count for _, count in told[MOST_REASONS:]):
            notes.append(f"left out: {counted(rest, 'run')} more of {one.text} without a partner")
    words = {
        "diverged": "pairs with a diverged run, which are not counted as lost; diverged",
        "unfinished": "pairs with an unfinished run; unfinished or failed",
        "without value": f"pairs without a finite {metric}; without",
    }
    lost = _lost(matched, metric)
    for why, text in words.items():
        if any(each[why] for each in lost):
            notes.append(f"left out: {text}: {lost[0][why]} of {first.text}, {lost[1][why]} of {side.text}")
    return notes


def _markdown(title: str, metric: str, comparisons: Sequence[Comparison]) -> str:
    """What was matched and left out, the tables and the pairs."""
    lines = [f"# {title}: paired comparison of {metric.replace('_', ' ')}", ""]
    for one in comparisons:
        header, rows = one.table()
        lines += [f"## {one.side.text} against {one.first.text}", "", *(f"- {note}" for note in one.notes), ""]
        pairs = [
            [one.matched.pairs[i].label, f"{a:.6g}", f"{b:.6g}", f"{b - a:+.6g}"]
            for i, (a, b) in list(zip(one.counted, one.values, strict=True))[:MOST_PAIRS]
        ]
        named = ["pair", one.first.text, one.side.text, "difference"]
        lines += [*markdown(header, rows), "", *markdown(named, pairs), ""] if rows else []
    return "\n".join([*lines, LEGEND]) + "\n"


def _figure(sheet: Sheet, comparisons: Sequence[Comparison]) -> Figure:
    """A row for each comparison of two pairs or more: the differences as dots, below them mean and interval."""
    drawn = [(one, one.statistics) for one in comparisons if one.statistics is not None]
    figure, (axes,) = sheet.figure(1, 1, 7.5, 1.9 + 0.75 * len(drawn))
    colour = OKABE_ITO[0]
    for row, (one, found) in enumerate(drawn):
        heights = row + np.linspace(-0.32, 0.08, found.n)
        axes.plot(one.differences, heights, "o", color=GREY, ms=3.5, alpha=max(0.25, min(0.7, 20 / found.n)), mew=0)
        axes.plot([found.low, found.high], [row + 0.27] * 2, color=colour, lw=2.2, solid_capstyle="butt")
        axes.plot([found.mean], [row + 0.27], "D", color=colour, ms=5.5)
    axes.axvline(0, color="black", lw=0.8, zorder=1)
    names = [f"{plain(one.side.text, 36)}\n{counted(found.n, 'pair')}" for one, found in drawn]
    axes.set_yticks(range(len(drawn)), names)
    axes.set_ylim(len(drawn) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{plain(sheet.setting)}: difference to {plain(drawn[0][0].first.text, 60)}")
    handles = [
        Line2D([], [], color=GREY, marker="o", ls="", ms=3.5, label="one pair"),
        Line2D([], [], color=colour, marker="D", lw=2.2, ms=5.5, label="mean and 95 % t-interval"),
    ]
    sheet.legend(figure, [axes], handles)
    return figure


def _p(value: float) -> str:
    return "no p: all equal" if math.isnan(value) else f"p = {value:.2g}"
