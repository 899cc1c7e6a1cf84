"""Paired comparison of configurations: `fanin-report FOLDER --compare optimizer=sgd optimizer=adam`."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fanin.errors import UserError, did_you_mean
from fanin.record.csv_file import as_text
from fanin.report.compare.comparison import Compared, Comparison, Spread
from fanin.report.compare.figure import compare_figure
from fanin.report.compare.paired import paired
from fanin.report.compare.sides import Matched, Side, match, read_sides, value_of
from fanin.report.compare.text import write_markdown
from fanin.report.figures.style import Sheet, look, save
from fanin.report.read.folders import Run, grid_of, read_runs, titled

FOLD, FOLDS = "data.fold", "data.folds"
TOO_FEW = "an interval needs at least two pairs"


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
    runs = read_runs(found, grid)
    read = read_sides(sides, runs)
    chosen = [run for side in read for run in side.runs]
    metric = _metric(chosen, metric)
    comparisons = [_comparison(read[0], side, metric) for side in read[1:]]
    if all(one.statistics is None for one in comparisons):
        one = comparisons[0]
        raise UserError(f"{one.side} against {one.first}: {'; '.join(one.notes)}")
    if len(comparisons) > 1:
        comparisons[-1].notes.append(f"the p values are not corrected for {len(comparisons)} comparisons")
    place = grid / "report" if out is None else out.resolve()
    place.mkdir(parents=True, exist_ok=True)
    tables = [place / "compare.csv", place / "compare.md"]
    result = Compared(titled(chosen), metric, comparisons, place, tables, [])
    _write_csv(tables[0], result)
    write_markdown(tables[1], result)
    with look():
        result.figures.extend(save(compare_figure(Sheet(result.title, metric, []), comparisons), place, "compare"))
    return result


def _metric(runs: Sequence[Run], asked: str | None) -> str:
    """The metric to compare, one that some run has."""
    metric = asked or ("val_error" if any(value_of(run, FOLD) is not None for run in runs) else "test_error")
    if not any(metric in run.files.numbers for run in runs):
        names = sorted({name for run in runs for name in run.files.numbers})
        fix = did_you_mean(metric, names) or f"they have {', '.join(names) or 'none'}"
        raise UserError(f"--metric {metric}: none of these runs has it; {fix}")
    return metric


def _comparison(first: Side, side: Side, metric: str) -> Comparison:
    matched = match(first, side)
    both = [[pair.first, pair.second] for pair in matched.pairs]
    numbers = [[run.files.numbers.get(metric, math.nan) for run in pair] for pair in both]
    states = [[run.state for run in pair] for pair in both]
    counted = [
        set(state) == {"done"} and all(map(math.isfinite, number))
        for state, number in zip(states, numbers, strict=True)
    ]
    pairs = [pair for pair, counts in zip(matched.pairs, counted, strict=True) if counts]
    values = [(a, b) for (a, b), counts in zip(numbers, counted, strict=True) if counts]
    folds = _folds(matched)
    differences = [b - a for a, b in values]
    statistics = paired(differences, 1 / (folds - 1) if folds else 0.0) if len(pairs) > 1 else None
    counts = {"pairs": len(pairs)}
    for name, one, position in (("first", first, 0), ("side", side, 1)):
        counts |= {
            f"{name}_runs": len(one.runs),
            f"{name}_unpaired": len(one.runs) - len(matched.pairs),
            f"{name}_diverged": sum(state[position] == "diverged" for state in states),
            f"{name}_unfinished": sum(state[position] not in ("done", "diverged") for state in states),
            f"{name}_without_value": sum(
                state[position] == "done" and not math.isfinite(number[position])
                for state, number in zip(states, numbers, strict=True)
            ),
        }
    spreads = (_spread([a for a, _ in values]), _spread([b for _, b in values])) if statistics else None
    notes = _notes(first, side, matched, counts, metric, folds)
    return Comparison(first.text, side.text, pairs, values, statistics, spreads, notes, counts, folds)


def _folds(matched: Matched) -> int | None:
    """k, where pairs are folds; of several k the smallest, whose training sets leave out most."""
    if FOLD not in matched.keys:
        return None
    numbers = [value_of(run, FOLDS) for pair in matched.pairs for run in (pair.first, pair.second)]
    known = [number for number in numbers if isinstance(number, int) and number > 1]
    return min(known) if known else len({str(pair.values[FOLD]) for pair in matched.pairs})


def _spread(values: Sequence[float]) -> Spread:
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)), float(np.median(values)))


def _notes(
    first: Side, side: Side, matched: Matched, counts: dict[str, int], metric: str, folds: int | None
) -> list[str]:
    """What is left out, and how to read the rest."""

    def each(name: str) -> str:
        return f"{counts[f'first_{name}']} of {first.text}, {counts[f'side_{name}']} of {side.text}"

    def some(name: str) -> bool:
        return counts[f"first_{name}"] + counts[f"side_{name}"] > 0

    notes = []
    if counts["pairs"] < 2:
        notes.append(f"{counts['pairs']} pair{'s' * (counts['pairs'] != 1)}; {TOO_FEW}")
    notes += [f"the sides also differ in {key}: {words}; name it in every side" for key, words in matched.apart.items()]
    if some("unpaired"):
        notes.append(f"runs without a partner on the other side, left out: {each('unpaired')}")
    if some("diverged"):
        notes.append(f"pairs with a diverged run are left out, not counted as lost; diverged: {each('diverged')}")
    if some("unfinished"):
        notes.append(f"pairs with an unfinished run are left out; unfinished or failed: {each('unfinished')}")
    if some("without_value"):
        notes.append(f"pairs without a finite {metric} are left out; without: {each('without_value')}")
    if folds and counts["pairs"] > 1:
        notes.append(
            "pairs are folds, whose training sets overlap: interval and t-test have the variance factor "
            f"1/n + 1/(k-1), k = {folds} (Nadeau & Bengio 2003); Wilcoxon's p is not corrected"
        )
    others = [key for key in matched.keys if key not in ("seed", FOLD)]
    if others and counts["pairs"] > 1:
        notes.append(f"pairs differ in {', '.join(others)} too: the mean is over these settings as much as over seeds")
    return notes


def _write_csv(path: Path, result: Compared) -> None:
    """One row per comparison: the paired differences, each side, and what was left out."""
    rows: list[dict[str, object]] = []
    for one in result.comparisons:
        row: dict[str, object] = {
            "first": one.first,
            "side": one.side,
            "metric": result.metric,
            "pairs": len(one.pairs),
        }
        if one.statistics is not None and one.spreads is not None:
            found = one.statistics
            row |= {
                "mean_difference": found.mean, "low": found.low, "high": found.high, "sd_difference": found.sd,
                "median_difference": found.median, "t_p": found.t_p, "wilcoxon_p": found.wilcoxon_p,
                "below": found.below, "above": found.above,
            }  # fmt: skip
            for name, spread in zip(("first", "side"), one.spreads, strict=True):
                row |= {f"{name}_{what}": value for what, value in spread._asdict().items()}
        rows.append(row | {"folds": one.folds} | one.counts)
    columns = max((list(row) for row in rows), key=len)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([as_text(row.get(column)) for column in columns] for row in rows)
