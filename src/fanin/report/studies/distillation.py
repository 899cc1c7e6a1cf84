"""distillation_study: what a student of few examples learns from a teacher's answers, by temperature.

The teacher is a wider network that has seen all examples. Students are small ones of few examples, which learn the
classes alone, or the teacher's probabilities for the same examples, softened by a temperature T. Those tell of each
example how much it looks like the other classes: at T = 4 and more a taught student errs less than one alone, even
where it is told no label. At T = 1 the answers are all but the labels, and teach little that those do not. A student of
all examples has nothing to gain.

The bounds are from a pilot on the seeds 100 to 102, with 100 and all 1500 examples: taught at T = 4 and 16 with few
examples, students made 0.42 to 0.72 times the errors of those alone, in the means over seeds, and LEFT lies half way,
in logarithms, between no effect and the most; T = 1 gained 1.5 points where T = 16 gained 18; with all examples means
of taught and alone lay 0.5 points apart at most.

Source: Hinton, Vinyals & Dean 2015; what soft targets do with few examples is their section 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import inf, nan
from statistics import fmean
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from fanin.errors import OptionError, number
from fanin.record.asked_runs import AskedRun, quoted
from fanin.record.overrides import display
from fanin.report.figures.style import Sheet, panel
from fanin.report.read.configurations import canonical
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, numbers_of, spread
from fanin.report.studies.base import number as number_of
from fanin.report.studies.drawing import DASHES, colours_of, draw_points, entry, own_legend

FEW = 200
"""Examples up to which a student has few."""

SOFT = 4
"""The temperature from which on answers are soft."""

LEFT = 0.85
"""Of the errors of a student alone, at most, with few examples and soft answers, in the mean over seeds."""

SMALL = 1 / 3
"""Of what the highest temperature gains, at most, at T = 1."""

POINT = 0.01
TEMPERATURE, ALPHA, WIDTH, LIMIT = "loss.temperature", "loss.alpha", "model.width", "data.limit"


class Students(NamedTuple):
    """Those of one number of examples: alone, and by (temperature, share of the teacher's term)."""

    examples: float
    alone: list[Run]
    taught: dict[tuple[float, float], list[Run]]

    @property
    def few(self) -> bool:
        """Whether they have few examples."""
        return self.examples <= FEW

    @property
    def words(self) -> str:
        """How many."""
        return _words(self.examples)


def error_of(runs: Sequence[Run]) -> float:
    """The mean test error of runs; those that diverged have none."""
    return fmean(numbers_of(runs, "test_error") or [nan])


def roles(runs: Sequence[Run]) -> tuple[dict[str, Run], list[Run]]:
    """The teachers by seed, which are the widest of the runs alone, and the students among these."""
    alone = [run for run in runs if run.value("loss.teacher") is None]
    widths = {number_of(run, WIDTH) or 0.0 for run in alone}
    if len(widths) < 2:
        return {}, alone
    wide = [run for run in alone if number_of(run, WIDTH) == max(widths)]
    return {canonical(run.seed): run for run in wide}, [run for run in alone if run not in wide]


def _examples(run: Run) -> float:
    """The limit of its examples; inf for all of them."""
    limit = number_of(run, LIMIT)
    return inf if limit is None else limit


def students_of(evidence: Evidence) -> list[Students]:
    """Those of each number of examples, the fewest first."""
    runs = evidence.runs_with({})
    _, alone = roles(runs)
    found: dict[float, Students] = {}
    for run in [*alone, *(run for run in runs if run.value("loss.teacher") is not None)]:
        temperature, alpha = number_of(run, TEMPERATURE), number_of(run, ALPHA)
        place = found.setdefault(_examples(run), Students(_examples(run), [], {}))
        if temperature is None or alpha is None:
            place.alone.append(run)
        else:
            place.taught.setdefault((temperature, alpha), []).append(run)
    return [found[limit] for limit in sorted(found) if found[limit].alone and found[limit].taught]


def _learns(students: Sequence[Students]) -> Claim:
    text = f"with {FEW} examples or fewer a student taught at T = {SOFT} or more errs less than one alone"
    ratios = [
        error_of(runs) / max(error_of(one.alone), 1e-12)
        for one in students if one.few
        for (temperature, _), runs in one.taught.items() if temperature >= SOFT
    ]  # fmt: skip
    if not ratios:
        return Claim.missing(text, f"students of {FEW} examples or fewer, taught at T = {SOFT} or more")
    return Claim(text, max(ratios) <= LEFT, f"{spread(ratios)} times the errors, in the means over seeds")


def _hotter(students: Sequence[Students]) -> Claim:
    fewest = next((one for one in students if one.few and len({t for t, _ in one.taught}) > 1), None)
    text = "of the students with the fewest examples, those taught at a higher temperature err less"
    if fewest is None:
        return Claim.missing(text, f"students of {FEW} examples or fewer, taught at two temperatures")
    holds, told = True, []
    for alpha in sorted({alpha for _, alpha in fewest.taught}):
        means = [error_of(fewest.taught[key]) for key in sorted(fewest.taught) if key[1] == alpha]
        holds &= all(two < one for one, two in pairwise(means))
        told.append(", ".join(f"{100 * mean:.3g} %" for mean in means) + f" at alpha = {alpha:g}")
    return Claim(text, holds, f"{fewest.words} examples, T rising: {'; '.join(told)}")


def _labels(students: Sequence[Students]) -> Claim:
    text = "at T = 1 the answers teach little more than labels: a third at most of what the highest temperature gains"
    cases = [one for one in students if one.few and len({t for t, _ in one.taught}) > 1]
    cases = [one for one in cases if any(t == 1 for t, _ in one.taught)]
    if not cases:
        return Claim.missing(text, f"students of {FEW} examples or fewer, taught at T = 1 and a higher one")
    at_one, at_most = (
        fmean(
            error_of(one.alone) - error_of(runs)
            for one in cases
            for (temperature, _), runs in one.taught.items()
            if temperature == wanted(one)
        )
        for wanted in (lambda one: 1, lambda one: max(t for t, _ in one.taught))
    )
    told = f"{100 * at_one:+.2g} points of {100 * at_most:+.3g}, in the mean over few examples"
    return Claim(text, at_one <= SMALL * at_most, told)


def _nothing(students: Sequence[Students], teachers: Iterable[Run]) -> Claim:
    text = "a student of as many examples as the teacher's errs as little alone as taught, to a point in the mean"
    most = max(map(_examples, teachers), default=None)
    every = next((one for one in students if one.examples == most), None)
    if every is None:
        return Claim.missing(text, "students with the teacher's examples")
    gains = [error_of(every.alone) - error_of(runs) for runs in every.taught.values()]
    return Claim(
        text, max(gains) <= POINT, f"taught ones make {spread([-100 * gain for gain in gains], 2)} points more"
    )


class DistillationStudy(Study):
    """What a student of few examples learns from a teacher's answers, by temperature.

    Args:
        temperatures: at which students are taught, each > 0.
        alphas: the shares of the teacher's term, in (0, 1]; 1 is without labels.

    Raises:
        OptionError: a value is out of range.
    """

    caption = "A dot for each seed, lines through their means. Grey: students alone. Dashed: the teacher."
    profiles = False

    def __init__(self, temperatures: Sequence[float] = (1, 4, 16), alphas: Sequence[float] = (0.5, 1)) -> None:
        lists = {"study.temperatures": temperatures, "study.alphas": alphas}
        for name, values in lists.items():
            if not isinstance(values, Sequence) or isinstance(values, str) or not values:
                raise OptionError(name, values, "a list of numbers")
        self.temperatures = [number("study.temperatures", one, 0, open_low=True) for one in temperatures]
        self.alphas = [number("study.alphas", one, 0, 1, open_low=True) for one in alphas]

    def followers(self, runs: Sequence[Run]) -> Iterable[AskedRun]:
        """Each student again, taught by its seed's teacher."""
        teachers, students = roles(runs)
        for run in students:
            if teacher := teachers.get(canonical(run.seed)):
                for temperature in self.temperatures:
                    for alpha in self.alphas:
                        settings = ("loss=distillation", f"loss.teacher={quoted(teacher.folder)}")
                        yield AskedRun(run.folder, (*settings, f"{TEMPERATURE}={temperature:g}", f"{ALPHA}={alpha:g}"))

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """Few examples and soft answers; temperatures; hard answers; all examples."""
        students = students_of(evidence)
        yield from (claim(students) for claim in (_learns, _hotter, _labels))
        yield _nothing(students, roles(evidence.runs_with({}))[0].values())

    def table(self, evidence: Evidence) -> tuple[Sequence[str], Sequence[Sequence[str]]] | None:
        """Test errors by examples, temperature and share of the teacher's term."""
        teachers, _ = roles(evidence.runs_with({}))
        first = next(iter(teachers.values()), None)
        rows = [] if first is None else [["teacher", _words(_examples(first)), "", "", _told(list(teachers.values()))]]
        for one in students_of(evidence):
            rows.append(["alone", one.words, "", "", _told(one.alone)])
            rows += [
                ["taught", one.words, f"{t:g}", f"{a:g}", _told(runs)] for (t, a), runs in sorted(one.taught.items())
            ]
        return (["student", "examples", "T", "alpha", "test error"], rows) if rows else None

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """Test errors over temperature, a panel for each number of examples."""
        students = students_of(evidence)[:4]
        if not students:
            return None
        teachers, _ = roles(evidence.runs_with({}))
        alphas = list(dict.fromkeys(alpha for one in students for _, alpha in sorted(one.taught)))
        colours: dict[Any, str] = colours_of(alphas)
        made, places = sheet.figure(1, len(students), 1.4 + 3.1 * len(students), 3.8)
        for letter, axes, one in zip("abcd", places, students, strict=False):
            axes.axhline(100 * error_of(one.alone), color="0.5", lw=1.4)
            for run in one.alone:
                axes.axhline(100 * error_of([run]), color="0.5", lw=0.5, alpha=0.5)
            if teachers:
                axes.axhline(100 * error_of(list(teachers.values())), color="black", lw=1, ls=DASHES)
            for alpha in alphas:
                points = [
                    (t, 100 * error_of([run])) for (t, a), runs in one.taught.items() if a == alpha for run in runs
                ]
                draw_points(axes, points, colours[alpha])
            axes.set_xscale("log")
            ticks = sorted({t for t, _ in one.taught})
            axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
            axes.minorticks_off()
            axes.set_ylim(bottom=0)
            panel(axes, letter, f"test error in %, {one.words} examples", "temperature")
        handles = [entry(f"taught, alpha {display(alpha)}", colour) for alpha, colour in colours.items()]
        handles += [entry("alone", "0.5"), entry("the teacher", "black", ls=DASHES)]
        own_legend(sheet, made, places, handles)
        return made


def _words(examples: float) -> str:
    return "all" if examples == inf else f"{examples:g}"


def _told(runs: Sequence[Run]) -> str:
    return spread(numbers_of(runs, "test_error"), 3, percent=True)
