"""Paired comparison of configurations: `fanin-report FOLDER --compare optimizer=sgd optimizer=adam`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fanin.errors import UserError, counted, did_you_mean
from fanin.record.csv_file import write_table
from fanin.report.compare.ranking import Ranking, rank
from fanin.report.compare.ranking_figure import ranking_figure
from fanin.report.compare.sides import Match, Matched, Side, match, read_sides
from fanin.report.figures.encoding import GREY, OKABE_ITO, entry, plain
from fanin.report.figures.saving import save
from fanin.report.figures.style import Sheet, look
from fanin.report.rank_statistics import holm, rank_biserial, standardized
from fanin.report.read.configurations import FOLD, folds_of
from fanin.report.read.folders import grid_of, read_runs, titled
from fanin.report.statistics import Paired, paired
from fanin.report.write.formats import Grid, formats_there, write_formats
from fanin.report.write.templates import write_template
from fanin.report.write.terminal import line, near

MOST_PAIRS = 200
MOST_REASONS = 6
MOST_LETTERS = 30
SPREADS = {"mean": "mean", "sd": "std", "median": "median"}
LOST = {
    "diverged": "pairs with a diverged run, which are not counted as lost; diverged",
    "unfinished": "pairs with an unfinished run; unfinished or failed",
    "without value": "pairs without a finite {metric}; without",
}
"""Why a run has no number to compare, and how that is said."""


@dataclass(frozen=True)
class Comparison:
    """One side against the first.

    Attributes:
        first, side: the sides, with all their runs.
        matched: which run belongs to which, and what is left out.
        values: of the metric, a row for each pair that counts, both runs done with a finite value: what tells the pair
            from the others, first, side and their difference.
        lost: how many paired runs have no number to compare, by the reason and by the side.
        statistics: of the differences, side - first; None with fewer than two pairs.
        corrected: with three sides or more the p values of both tests, t's and Wilcoxon's, by Holm's method over all
            comparisons.
        folds: k where pairs are folds of a cross-validation, else None.
        notes: what was matched, what was left out and how to read the rest, a line each.
    """

    first: Side
    side: Side
    matched: Matched
    values: pd.DataFrame
    lost: pd.DataFrame
    statistics: Paired | None
    folds: int | None
    notes: list[str]
    corrected: tuple[float, float] | None = None

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows for people; no rows with fewer than two pairs, for a bare mean says nothing."""
        header = [counted(len(self.values), "pair"), self.first.text, self.side.text, "difference"]
        found = self.statistics
        if found is None:
            return header, []
        spread = self.values[["first", "side"]].agg(["mean", "std", "median"])
        means = [f"{mean:.4g} ± {sd:.2g}" for mean, sd in zip(spread.loc["mean"], spread.loc["std"], strict=True)]
        t_p, wilcoxon_p = self.corrected or (None, None)
        d = self.values["difference"].to_numpy()
        effect = [["effect size", "", "", f"d = {standardized(d):+.2g}, r = {rank_biserial(d):+.2g}"]]
        return header, [
            ["mean ± sd", *means, f"{found.mean:+.4g} ± {found.sd:.2g}"],
            ["95 % interval", "", "", f"[{found.low:+.3g}, {found.high:+.3g}]"],
            ["median", *(f"{median:.4g}" for median in spread.loc["median"]), f"{found.median:+.4g}"],
            ["signs", "", "", f"{found.below} below, {found.above} above 0"],
            *(effect if self.corrected else []),
            ["paired t-test", "", "", _p(found.t_p, t_p)],
            ["Wilcoxon", "", "", _p(found.wilcoxon_p, wilcoxon_p)],
        ]

    def rows(self) -> list[list[str]]:
        """The pairs for people."""
        shown = self.values.head(MOST_PAIRS).itertuples(index=False)
        return [[pair, f"{a:.6g}", f"{b:.6g}", f"{gap:+.6g}"] for pair, a, b, gap in shown]

    def row(self, metric: str) -> dict[str, object]:
        """The same numbers by their columns of compare.csv, and how many runs of either side were left out."""
        found, sides = self.statistics, {"first": self.first, "side": self.side}
        row: dict[str, object] = {"first": self.first.text, "side": self.side.text, "metric": metric}
        row["pairs"] = len(self.values)
        for name in ("mean", "low", "high", "sd", "median", "t_p", "wilcoxon_p", "below", "above"):
            row[f"{name}_difference" if name in SPREADS else name] = getattr(found, name, None)
        if self.corrected:
            d = self.values["difference"].to_numpy()
            row |= {"effect": standardized(d) if found else None, "rank_biserial": rank_biserial(d) if found else None}
            row |= dict(zip(("t_p_holm", "wilcoxon_p_holm"), self.corrected if found else (None, None), strict=True))
        for name in sides:
            of = self.values[name].agg(list(SPREADS.values())).to_dict() if found else {}
            row |= {f"{name}_{word}": of.get(how) for word, how in SPREADS.items()}
        row["folds"] = self.folds
        for name, side in sides.items():
            row |= {f"{name}_runs": len(side.runs), f"{name}_unpaired": len(side.runs) - len(self.matched.pairs)}
            row |= {f"{name}_{why.replace(' ', '_')}": int(self.lost[name][why]) for why in LOST}
        return row


class Compared(NamedTuple):
    """A written comparison; `ranking` of three sides or more that have two blocks or more in common."""

    title: str
    metric: str
    comparisons: list[Comparison]
    ranking: Ranking | None
    out: Path
    tables: list[Path]
    figures: list[Path]


def compare(
    folders: Sequence[Path],
    sides: Sequence[str],
    metric: str | None = None,
    out: Path | None = None,
    *,
    reference: str | None = None,
    formats: Sequence[str] = (),
    style: str = "screen",
) -> Compared:
    """Compare the runs of each side with those of the first and write compare.csv, compare.md and the figure.

    Three sides or more are ranked too, in compare_ranks.csv and a figure of its own.

    Two runs are a pair if they agree in everything but what the sides say: the same seed, the same fold. A pair counts
    if both runs are done and have a finite value; a pair with a diverged run is left out and said, for a difference to
    a run without an end means nothing, so that the mean difference is one among runs that converge.

    Args:
        folders: run folders or folders that hold some.
        sides: two or more of the form key=value[,key=value...].
        metric: a number of result.json; by default val_error where the runs of a side are folds, else test_error.
        out: where to write; by default `report` in the folder common to all runs.
        reference: the side that the others are held against, as it stands among the sides; by default the first.
        formats: of the numbers beside CSV and Markdown, see write.formats; one that is there already is written again.
        style: of the figures, see figures.paper.

    Raises:
        UserError: see read_sides and match; a reference that is no side; a metric that no run has; no comparison with
            two pairs.
        OSError: a folder that cannot be written.
    """
    grid, found = grid_of(folders)
    first, *others = read_sides(_reference_first(sides, reference), read_runs(found, grid))
    chosen = [run for side in (first, *others) for run in side.runs]
    matches = [match(first, side) for side in others]
    cross_validated = any(pair.first.overrides.get(FOLD) is not None for one in matches for pair in one.pairs)
    metric = metric or ("val_error" if cross_validated else "test_error")
    names = sorted({name for run in chosen for name in run.numbers})
    if metric not in names:
        fix = did_you_mean(metric, names) or f"they have {', '.join(names) or 'none'}"
        raise UserError(f"--metric {metric}: none of these runs has it; {fix}")
    comparisons = [_compared(first, side, one, metric) for side, one in zip(others, matches, strict=True)]
    if all(one.statistics is None for one in comparisons):
        one = comparisons[0]
        raise UserError(f"{one.side.text} against {one.first.text}: {'; '.join(one.notes)}")
    comparisons = _corrected(comparisons) if len(comparisons) > 1 else comparisons
    ranking = rank((first, *others), matches, metric) if len(comparisons) > 1 else None
    place = grid / "report" if out is None else out.resolve()
    place.mkdir(parents=True, exist_ok=True)
    tables = [place / "compare.csv", place / "compare.md"]
    rows = [one.row(metric) for one in comparisons]
    write_table(tables[0], list(rows[0]), [list(row.values()) for row in rows])
    title = titled(chosen)
    write_template(tables[1], "compare.md", title=title, metric=metric, comparisons=comparisons, ranking=ranking)
    grids = [Grid(f"{one.side.text} against {one.first.text}", *one.table()) for one in comparisons if one.statistics]
    for ending in ("csv", "png", "svg", "pdf"):  # of an earlier comparison
        (place / f"compare_ranks.{ending}").unlink(missing_ok=True)
    if ranking:
        tables.append(place / "compare_ranks.csv")
        ranks = ranking.rows()
        write_table(tables[-1], list(ranks[0]), [list(row.values()) for row in ranks])
        grids.append(Grid("ranks", *ranking.table()))
    tables += write_formats({*formats, *formats_there(place, "compare")}, place, "compare", grids, rows)
    with look(style):
        figures = save(_figure(Sheet(title, metric, []), comparisons), place, "compare")
        if ranking:
            figures += save(ranking_figure(Sheet(title, metric, []), ranking), place, "compare_ranks")
    return Compared(title, metric, comparisons, ranking, place, tables, figures)


def print_compared(result: Compared, console: Console) -> None:
    """Print what was matched and left out, then the comparisons, and the files written."""
    console.print(Text(f"{result.title}: {result.metric}", style="bold"))
    for one in result.comparisons:
        header, rows = one.table()
        about = "" if len(result.comparisons) == 1 else f"{one.side.text} against {one.first.text}: "
        for note in one.notes:
            console.print(Text(f"{about}{note}", style="yellow"))
        _print_table(header, rows, console)
    if result.ranking:
        for note in result.ranking.notes:
            console.print(Text(note, style="yellow"))
        _print_table(*result.ranking.table(), console)
        console.print(Text(result.ranking.words))
    figures = [("figure", path) for path in result.figures if path.suffix == ".png"]
    for name, path in (("table", result.tables[0]), ("text", result.tables[1]), *figures):
        line(console, f"{name:<12}{near(path)}")


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """The names of sides are not broken where there is room for the rest."""
    if rows:
        whole = max(len(row[0]) for row in rows) <= MOST_LETTERS
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
        for position, name in enumerate(header):
            table.add_column(
                Text(name), justify="right" if position else "left", overflow="fold", no_wrap=whole and not position
            )
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)


def _reference_first(sides: Sequence[str], reference: str | None) -> Sequence[str]:
    """The sides with the reference in front."""
    if reference is None:
        return sides
    if reference not in sides:
        fix = did_you_mean(reference, sides) or f"the sides are {', '.join(sides) or 'missing'}"
        raise UserError(f"--reference {reference}: is none of the sides of --compare; {fix}")
    return [reference, *(side for side in sides if side != reference)]


def _corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with the p values of all of them corrected together."""
    found = [one.statistics for one in comparisons]
    tests = [[math.nan if one is None else getattr(one, name) for one in found] for name in ("t_p", "wilcoxon_p")]
    both = zip(*map(holm, tests), strict=True)
    return [replace(one, corrected=pair) for one, pair in zip(comparisons, both, strict=True)]


def _compared(first: Side, side: Side, matched: Matched, metric: str) -> Comparison:
    pairs = pd.DataFrame(matched.pairs, columns=Match._fields)
    both = pairs[["first", "side"]]
    values = both.map(lambda run: run.numbers.get(metric, math.nan)).astype(float)
    why = both.map(lambda run: {"done": "without value", "diverged": "diverged"}.get(run.state, "unfinished"))
    why = why.where((why != "without value") | ~np.isfinite(values), "")
    counts = (why == "").all(axis=1)
    values = pd.concat([pairs["pair"], values], axis=1).assign(difference=values["side"] - values["first"])[counts]
    lost = pd.DataFrame({one: {reason: (why[one] == reason).sum() for reason in LOST} for one in both})
    folds = folds_of(both.to_numpy().ravel().tolist())
    statistics = paired(values["difference"].tolist(), folds) if len(values) > 1 else None
    notes = [f"matched on {', '.join(matched.keys)}" if matched.keys else "one run on each side, alike in all else"]
    for one, reasons in zip((first, side), matched.left_out, strict=True):
        told = sorted(reasons.items(), key=lambda item: -item[1])
        notes += [f"left out: {counted(count, 'run')} of {one.text}: {reason}" for reason, count in told[:MOST_REASONS]]
        if rest := sum(count for _, count in told[MOST_REASONS:]):
            notes.append(f"left out: {counted(rest, 'run')} more of {one.text} without a partner")
    for reason, text in LOST.items():
        if (found := lost.loc[reason]).any():
            text = text.format(metric=metric)
            notes.append(f"left out: {text}: {found['first']} of {first.text}, {found['side']} of {side.text}")
    others = [key for key in matched.varying if key not in ("seed", FOLD)]
    if not statistics:
        notes.append(f"{counted(len(values), 'pair')} left; an interval needs at least two pairs")
    if statistics and folds:
        notes.append(
            "pairs are folds, whose training sets overlap: interval and t-test have the variance factor "
            f"1/n + 1/(k-1), k = {folds} (Nadeau & Bengio 2003); Wilcoxon's p is not corrected"
        )
    if statistics and others:
        notes.append(f"pairs differ in {', '.join(others)} too: the mean is over these settings as much as over seeds")
    return Comparison(first, side, matched, values, lost, statistics, folds, notes)


def _figure(sheet: Sheet, comparisons: Sequence[Comparison]) -> Figure:
    """A row for each comparison of two pairs or more: the differences as dots, below them mean and interval."""
    drawn = [(one, one.statistics) for one in comparisons if one.statistics is not None]
    figure, (axes,) = sheet.figure(1, 1, 7.5, 1.9 + 0.75 * len(drawn))
    dot: dict[str, Any] = {"color": GREY, "marker": "o", "ls": "", "ms": 3.5}
    mean: dict[str, Any] = {"color": OKABE_ITO[0], "marker": "D", "lw": 2.2, "ms": 5.5}
    for row, (one, found) in enumerate(drawn):
        heights = row + np.linspace(-0.32, 0.08, found.n)
        axes.plot(one.values["difference"], heights, alpha=max(0.25, min(0.7, 20 / found.n)), mew=0, **dot)
        axes.plot([found.low, found.high], [row + 0.27] * 2, solid_capstyle="butt", **mean | {"marker": ""})
        axes.plot([found.mean], [row + 0.27], **mean | {"ls": ""})
    axes.axvline(0, color="black", lw=0.8, zorder=1)
    names = [f"{plain(one.side.text, 36)}\n{counted(found.n, 'pair')}" for one, found in drawn]
    axes.set_yticks(range(len(drawn)), names)
    axes.set_ylim(len(drawn) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{plain(sheet.setting)}: difference to {plain(drawn[0][0].first.text, 60)}")
    sheet.legend(figure, [axes], [entry("one pair", **dot), entry("mean and 95 % t-interval", **mean)])
    return figure


def _p(value: float, corrected: float | None) -> str:
    more = "" if corrected is None else f" (Holm {corrected:.2g})"
    return "no p: all equal" if math.isnan(value) else f"p = {value:.2g}{more}"
