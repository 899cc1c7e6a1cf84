"""Answers in words and tables, and their rows of best.csv and best_by_axis.csv."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fanin.errors import counted
from fanin.record.columns import names
from fanin.record.report_columns import BEST, BEST_BY_AXIS, MEAN
from fanin.report.answers.answer import Answer
from fanin.report.answers.best import Contest
from fanin.report.answers.by_axis import ByAxis, Option
from fanin.report.answers.scores import Metric, Score
from fanin.report.statistics import bounded
from fanin.report.write.formats import replace_table
from fanin.report.write.tables import Table

MOST_NAMED = 3
MOST_ROWS = 20
Row = dict[str, Any]


class Told(NamedTuple):
    """An answer for people: of what, in lines, the best configurations, the values of each axis."""

    subject: str
    lines: list[str]
    best: Table
    axes: list[Table]

    @property
    def tables(self) -> list[Table]:
        """All tables."""
        return [self.best, *self.axes]


def told(answers: Sequence[Answer]) -> list[Told]:
    """The answers for people."""
    return [Told(one.subject, lines_of(one), best_table(one), axis_tables(one)) for one in answers]


def write_answers(out: Path, answers: Sequence[Answer]) -> list[Path]:
    """Write best.csv and best_by_axis.csv into a folder, in the place of those of an earlier report; the files."""
    best, by_axis = ([*map(_there, rows)] for rows in (best_rows(answers), axis_rows(answers)))
    written = replace_table(out / "best.csv", names(BEST), best)
    return written + replace_table(out / "best_by_axis.csv", names(BEST_BY_AXIS), by_axis)


def lines_of(answer: Answer) -> list[str]:
    """The answer, a line each: the best, the second, what is not told from the best, how sure that is."""
    found, by = answer.contest, answer.metric
    of = f" on {answer.subject}" if answer.subject else ""
    lines = [
        f"{place}{of}: {score_words(score, by)}" for place, score in zip(("best", "second"), found.scores, strict=False)
    ]
    others = len(found.scores) - 1
    if found.tested:
        alike = [found.scores[i].label for i in found.alike]
        text = f"not distinguishable from the best at 5 %, {len(alike)} of {others}: {some(alike)}"
        lines.append(f"{text if alike else 'at 5 % every other is worse'} ({tests_words(found)})")
    if untested := others - found.tested:
        lines.append(f"not tested: {untested} of {others}, for want of two {unit(found.best)}s that vary")
    sure = found.first
    if sure is not None and not math.isnan(sure[0]):
        by_what = f"by the t distribution of the means over {unit(found.best)}s"
        lines.append(f"how sure: it has the best mean with a probability of {share(sure[0])} ({by_what})")
    if found.held_out is not None and not math.isnan(found.held_out):
        lines.append(
            f"the best of {others + 1} is chosen by the same {unit(found.best)}s, which flatters it: chosen on one "
            f"half of them and measured on the other it has {by.text(found.held_out)}"
        )
    elif others > 1:
        same = f"{unit(found.best)}s, which flatters it and its interval"
        same = same if len(found.best.finite) > 1 else f"{unit(found.best)}, which flatters it"
        lines.append(f"the best of {others + 1} is chosen by the same {same}")
    if answer.diverged:
        behind = sum(score.diverged > 0 for score in found.scores)
        lines.append(
            f"diverged: {answer.diverged} of {counted(answer.runs, 'run')}"
            + (f"; {counted(behind, 'configuration')} with such a run stand behind all others" if behind else "")
        )
    if silent := answer.configurations - len(found.scores):
        lines.append(f"without a number: {counted(silent, 'configuration')} of {answer.configurations}")
    return lines


def score_words(score: Score, by: Metric) -> str:
    """A configuration with its number and how many runs that is over."""
    over = f"over {counted(len(score.finite), unit(score))}"
    return " ".join(part for part in (f"{score.label}: {by.words}", number(score, by), over) if part)


def number(score: Score, by: Metric) -> str:
    """A mean with its interval."""
    mean, low, high = score.interval[:3]
    return f"{by.text(mean)} {by.interval(low, high)}".rstrip()


def unit(score: Score) -> str:
    """What the runs of a configuration are."""
    if score.folds:
        return "fold"
    return "seed" if len({seed for seed, *_ in score.values}) == len(score.values) else "run"


def tests_words(found: Contest) -> str:
    """Which tests these are."""
    paired = [pairs for pairs, p in zip(found.paired, found.p, strict=True) if not math.isnan(p)]
    kind = "paired t-tests" if all(paired) else "Welch's t-tests" if not any(paired) else "t-tests, paired or Welch's"
    over = f" over shared {unit(found.best)}s" if any(paired) else ""
    corrected = f", Holm's correction for {found.tested}" if found.tested > 1 else ""
    return f"{kind if found.tested > 1 else kind.replace('tests', 'test')}{over}{corrected}"


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = [f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return "; ".join([*names[:MOST_NAMED], *more])


def share(value: float) -> str:
    """A share in whole per cent, of which only none is 0 and only all is 100."""
    percent = round(100 * value)
    return "< 1 %" if not percent and value else "> 99 %" if percent == 100 and value < 1 else f"{percent} %"


def best_table(answer: Answer, most: int = MOST_ROWS) -> Table:
    """The configurations, the best first: mean, difference to the best, p, rank, first places, diverged."""
    found, by = answer.contest, answer.metric
    rows = []
    for i, score in enumerate(found.scores[:most]):
        row = [score.label, number(score, by), str(len(score.finite))]
        row += [by.difference(found.differences[i]) if i else "best", p_words(found.p[i])]
        if found.ranks is not None:
            ends = [one[i] for one in found.ranks]
            row.append("" if math.isnan(ends[0]) else "{:.3g} [{:.3g}, {:.3g}]".format(*ends))
        if found.first is not None:
            row.append("" if math.isnan(found.first[i]) else share(found.first[i]))
        rows.append([*row, f"{score.diverged} of {score.runs}" if score.diverged else ""])
    header = ["configuration", by.words, f"{unit(found.best)}s", "difference to the best", "p (Holm)"]
    header += ["mean rank"] * (found.ranks is not None) + ["first with"] * (found.first is not None)
    return _without_empty(Table(f"by {by.words}", [*header, "diverged"], rows))


def axis_tables(answer: Answer) -> list[Table]:
    """For each axis its values: best with which others, how sure, against the best of all, diverged.

    None where there is one axis only, whose values are the configurations themselves; nor of an axis whose values are
    as good as all different, as those that a search draws from an interval are.
    """
    tables = []
    for one in answer.axes if any(one.others for one in answer.axes) else ():
        shared = sum(len(option.contest.scores) > 1 for option in one.options)
        if shared < min(2, len(one.options) - 1):
            continue
        rows = [_axis_row(one, option, answer.metric) for option in one.options]
        others = ", ".join(axis.name for axis in one.others)
        title = f"the best {others} for each {one.axis.name}" if len(one.others) < 3 else f"by {one.axis.name}"
        header = [one.axis.name, "best with", answer.metric.words, "not distinguished from it", "first with"]
        header += ["difference to the best of all", "p (Holm)", "diverged"]
        tables.append(_without_empty(Table(title, header, rows)))
    return tables


def _axis_row(one: ByAxis, option: Option, by: Metric) -> list[str]:
    found = option.contest
    places = [found.scores[i].place for i in (0, *found.alike)]
    ranks = [[(axis, axis.ranks[place]) for axis in one.others] for place in places]
    names = [", ".join(axis.label(rank) for axis, rank in of if axis.values[rank] is not None) for of in ranks]
    alike = some(names[1:]) if names[1:] else "" if not found.tested else "none"
    sure = "" if found.first is None or math.isnan(found.first[0]) else share(found.first[0])
    difference = "best" if math.isnan(option.difference.mean) else by.difference(option.difference)
    diverged = f"{option.diverged} of {option.runs}" if option.diverged else ""
    shown = one.axis.words(option.rank)
    return [shown, names[0], number(found.best, by), alike, sure, difference, p_words(option.p), diverged]


def p_words(p: float) -> str:
    """A p value, nothing where there is none."""
    return "" if math.isnan(p) else f"{p:.2g}"


def _without_empty(table: Table) -> Table:
    """Without columns that say nothing in any row."""
    kept = [i for i in range(len(table.header)) if any(row[i] for row in table.rows)]
    return Table(table.title, [table.header[i] for i in kept], [[row[i] for i in kept] for row in table.rows])


def best_rows(answers: Sequence[Answer]) -> Iterator[Row]:
    """Rows of best.csv: every configuration that has a number, the best first; nan is what there is not."""
    for answer in answers:
        found, by = answer.contest, answer.metric
        nothing = [math.nan] * len(found.scores)
        for i, (score, difference) in enumerate(zip(found.scores, found.differences, strict=True)):
            ranks = [one[i] for one in found.ranks or [nothing] * 3]
            yield {
                "subject": answer.subject, "metric": by.name, "place": i + 1, "configuration": score.label,
                **dict(zip(names(MEAN), score.interval, strict=False)), "runs": score.runs,
                "diverged": score.diverged, **bounded("difference", *difference),
                "pairs": difference.n if found.paired[i] and i else None,
                "test": ("paired t" if found.paired[i] else "Welch t") if not math.isnan(found.p[i]) else None,
                "p": difference.p, "p_holm": found.p[i], **bounded("mean_rank", *ranks),
                "first_place": (nothing if found.first is None else found.first)[i],
                "held_out": None if i else found.held_out,
            }  # fmt: skip


def axis_rows(answers: Sequence[Answer]) -> Iterator[Row]:
    """Rows of best_by_axis.csv: the best configuration at each value of each axis; nan is what there is not."""
    for answer in answers:
        for one, option in ((axis, option) for axis in answer.axes for option in axis.options):
            found = option.contest
            alike = [found.scores[i].label for i in found.alike]
            yield {
                "subject": answer.subject, "metric": answer.metric.name, "axis": one.axis.key,
                "value": one.axis.values[option.rank], "configuration": found.best.label,
                **dict(zip(names(MEAN), found.best.interval, strict=False)),
                "first_place": None if found.first is None else found.first[0],
                "not_distinguished": "; ".join(alike) or None, "tests": found.tested,
                **bounded("difference", *option.difference), "p": option.difference.p, "p_holm": option.p,
                "runs": option.runs, "diverged": option.diverged,
            }  # fmt: skip


def _there(row: Row) -> Row:
    floats = {name: float(value) for name, value in row.items() if isinstance(value, float)}
    return row | {name: None if math.isnan(value) else value for name, value in floats.items()}
