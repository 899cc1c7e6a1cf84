"""schedule_study: what a warm-up is for, and what a falling learning rate gains over a constant one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from fanin.report.figures.style import Sheet
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, numbers_of, spread
from fanin.report.studies.pairs import Pair, differences, factor, log, number, pairs
from fanin.report.studies.schedule.figure import WARMUP, schedule_figure

FALLING = ("step", "piecewise", "inverse_time", "exponential", "natural_exponential", "cosine", "linear", "polynomial")
"""Schedules that start at the highest rate and only fall."""

FROM_THE_TOP = ("constant", *FALLING, "warm_restarts")
FROM_BELOW = ("triangular", "one_cycle")

MOST = 0.9
"""The share of runs that "train" and "do not train" stand for: one stray run in ten spoils no claim."""


def warmup_claim(evidence: Evidence) -> Claim:
    """Nearly all of the runs on either side; those of 9 seeds and 7 schedules agreed without exception."""
    text = "from the highest rate on the net does not train without a warm-up, and trains with one"
    cold = _runs(evidence, FROM_THE_TOP, warm=False)
    warm = _runs(evidence, FROM_THE_TOP, warm=True)
    if not cold or not warm:
        return Claim.missing(text, f"{WARMUP}=0 and another, of schedules that start at the highest rate")
    trained = [sum(map(_trains, some)) for some in (cold, warm)]
    steps = numbers_of([run for run in cold if run.state == "diverged"], "steps")
    ends = f", diverged at step {spread(steps)}" if steps else ""
    words = f"{trained[0]} of {len(cold)} runs train without{ends}; {trained[1]} of {len(warm)} with"
    return Claim(text, len(cold) - trained[0] >= MOST * len(cold) and trained[1] >= MOST * len(warm), words)


def from_below_claim(evidence: Evidence) -> Claim:
    """Their first steps are those of a warm-up."""
    text = "triangular and one_cycle, which start low, train without a warm-up to the same highest rate"
    runs = _runs(evidence, FROM_BELOW, warm=False)
    if not runs:
        return Claim.missing(text, *({"schedule": name, WARMUP: 0} for name in FROM_BELOW))
    trained = sum(map(_trains, runs))
    return Claim(text, trained >= MOST * len(runs), f"{trained} of {len(runs)} runs train")


def floor_claim(evidence: Evidence) -> Claim:
    """Gradient noise keeps sgd at a distance from the minimum that grows with the rate.

    Each falling schedule, in the mean over seeds, and each seed, in the mean over schedules, has to end below the
    constant rate. In 8 seeds all 5 schedules did, by a tenth to a third.
    """
    text = "with a warm-up every falling schedule ends with a lower training loss than the constant rate"
    some = {name: _against_constant(evidence, name) for name in FALLING}
    some = {name: found for name, found in some.items() if found}
    if not some:
        return Claim.missing(text, "a falling schedule and the constant one with a warm-up and a seed in common")
    logs = {name: [_fall(pair) for pair in found] for name, found in some.items()}
    lower = all(_mean(values) < 0 for values in logs.values())
    by_seed: dict[str, list[float]] = {}
    for name, found in some.items():
        for (run, _), value in zip(found, logs[name], strict=True):
            by_seed.setdefault(str(run.seed), []).append(value)
    means = [_mean(values) for values in by_seed.values()]
    words = ", ".join(f"{name} x {math.exp(_mean(values)):.2g}" for name, values in logs.items())
    each = f"; a seed's mean x {spread([math.exp(one) for one in means], 2)}"
    return Claim(text, lower and all(one < 0 for one in means), words + each)


def end_claim(evidence: Evidence) -> Claim:
    """The noise that is left is that of the last rates, so what ends near 0 ends lowest: cosine, linear, one_cycle."""
    text = "the schedules that end at about 0 (cosine, linear, one_cycle) end at less than 9/10 of the constant's loss"
    ends = [pair for name in ("cosine", "linear", "one_cycle") for pair in _against_constant(evidence, name)]
    gain = differences(ends, number("train_loss", log))
    if gain is None:
        return Claim.missing(text, "cosine, linear or one_cycle, and constant, with a warm-up and a seed in common")
    return Claim(text, gain.mean < math.log(0.9), f"training loss {factor(gain)}")


def _runs(evidence: Evidence, names: Sequence[str], *, warm: bool) -> list[Run]:
    """The ended runs of these schedules, with a warm-up or without."""
    runs = [run for name in names for run in evidence.runs_with({"schedule": name})]
    return [run for run in runs if (float(run.value(WARMUP) or 0) > 0) == warm]


def _trains(run: Run) -> bool:
    return run.state == "done" and run.files.outcome == "learns"


def _against_constant(evidence: Evidence, name: str) -> list[Pair]:
    """The pairs with a warm-up of which both train."""
    found = pairs(evidence, {"schedule": name}, {"schedule": "constant"}, WARMUP)
    return [pair for pair in found if all(map(_trains, pair)) and float(pair[0].value(WARMUP) or 0) > 0]


def _fall(pair: Pair) -> float:
    """ln of the first training loss over the second."""
    first, second = (run.files.numbers["train_loss"] for run in pair)
    return log(first) - log(second)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


class ScheduleStudy(Study):
    """Learning rates over time."""

    caption = (
        "Above the learning rate, below the training loss (mean over seeds of the noisy inputs' loss), left "
        "without and right with a warm-up. What starts at the highest rate breaks within a few steps where nothing "
        "prepares it; at the end the rate decides how far above its minimum the loss stays."
    )
    columns = (
        ("training loss", lambda runs: spread(numbers_of(runs, "train_loss"))),
        ("test error", lambda runs: spread(numbers_of(runs, "test_error"), percent=True)),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """All of them, each judged by itself."""
        yield from (claim(evidence) for claim in (warmup_claim, from_below_claim, floor_claim, end_claim))

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See schedule_figure."""
        return schedule_figure(sheet, evidence)
