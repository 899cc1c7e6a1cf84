"""Paired comparison of configurations: which runs are pairs, and what their differences say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fanin.errors import UserError, counted, did_you_mean
from fanin.report.compare.ranking import Ranking, rank
from fanin.report.compare.sides import Match, Matched, Side, match, read_sides
from fanin.report.rank_statistics import holm, rank_biserial, standardized
from fanin.report.read.configurations import FOLD, REPEAT, folds_of
from fanin.report.read.folders import check_metric, grid_of, read_runs, titled
from fanin.report.statistics import Paired, paired
from fanin.report.write.tables import Table

MOST_PAIRS = 200
MOST_REASONS = 6
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

    def table(self) -> Table | None:
        """For people; None with fewer than two pairs, for a bare mean says nothing."""
        header = [counted(len(self.values), "pair"), self.first.text, self.side.text, "difference"]
        found = self.statistics
        if found is None:
            return None
        spread = self.values[["first", "side"]].agg(["mean", "std", "median"])
        means = [f"{mean:.4g} ± {sd:.2g}" for mean, sd in zip(spread.loc["mean"], spread.loc["std"], strict=True)]
        t_p, wilcoxon_p = self.corrected or (None, None)
        d = self.values["difference"].to_numpy()
        effect = [["effect size", "", "", f"d = {standardized(d):+.2g}, r = {rank_biserial(d):+.2g}"]]
        rows = [
            ["mean ± sd", *means, f"{found.mean:+.4g} ± {found.sd:.2g}"],
            ["95 % interval", "", "", f"[{found.low:+.3g}, {found.high:+.3g}]"],
            ["median", *(f"{median:.4g}" for median in spread.loc["median"]), f"{found.median:+.4g}"],
            ["signs", "", "", f"{found.below} below, {found.above} above 0"],
            *(effect if self.corrected else []),
            ["paired t-test", "", "", _p(found.t_p, t_p)],
            ["Wilcoxon", "", "", _p(found.wilcoxon_p, wilcoxon_p)],
        ]
        return Table(f"{self.side.text} against {self.first.text}", header, rows)

    def pairs(self) -> Table:
        """The pairs for people."""
        shown = self.values.head(MOST_PAIRS).itertuples(index=False)
        rows = [[pair, f"{a:.6g}", f"{b:.6g}", f"{gap:+.6g}"] for pair, a, b, gap in shown]
        return Table("pairs", ["pair", self.first.text, self.side.text, "difference"], rows)

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


class Held(NamedTuple):
    """Sides held against the first; `ranking` of three sides or more that have two blocks or more in common."""

    title: str
    metric: str
    grid: Path
    comparisons: list[Comparison]
    ranking: Ranking | None


def hold(
    folders: Sequence[Path], sides: Sequence[str], metric: str | None = None, *, reference: str | None = None
) -> Held:
    """Hold the runs of each side against those of the first.

    Two runs are a pair if they agree in everything but what the sides say: the same seed, the same fold. A pair counts
    if both runs are done and have a finite value; a pair with a diverged run is left out and said, for a difference to
    a run without an end means nothing, so that the mean difference is one among runs that converge.

    Args:
        folders: run folders or folders that hold some.
        sides: two or more of the form key=value[,key=value...].
        metric: a number of result.json; by default val_error where the runs of a side are folds, else test_error.
        reference: the side that the others are held against, as it stands among the sides; by default the first.

    Raises:
        UserError: see read_sides and match; a reference that is no side; a metric that no run has; no comparison with
            two pairs.
    """
    grid, found = grid_of(folders)
    first, *others = read_sides(_reference_first(sides, reference), read_runs(found, grid))
    chosen = [run for side in (first, *others) for run in side.runs]
    matches = [match(first, side) for side in others]
    cross_validated = any(pair.first.overrides.get(FOLD) is not None for one in matches for pair in one.pairs)
    metric = metric or ("val_error" if cross_validated else "test_error")
    check_metric(chosen, metric)
    comparisons = [_compared(first, side, one, metric) for side, one in zip(others, matches, strict=True)]
    if all(one.statistics is None for one in comparisons):
        one = comparisons[0]
        raise UserError(f"{one.side.text} against {one.first.text}: {'; '.join(one.notes)}")
    comparisons = _corrected(comparisons) if len(comparisons) > 1 else comparisons
    ranking = rank((first, *others), matches, metric) if len(comparisons) > 1 else None
    return Held(titled(chosen), metric, grid, comparisons, ranking)


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
    others = [key for key in matched.varying if key not in ("seed", FOLD, REPEAT)]
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


def _p(value: float, corrected: float | None) -> str:
    more = "" if corrected is None else f" (Holm {corrected:.2g})"
    return "no p: all equal" if math.isnan(value) else f"p = {value:.2g}{more}"
