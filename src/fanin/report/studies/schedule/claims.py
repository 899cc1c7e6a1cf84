"""schedule_study: what a warm-up is for, and what a falling learning rate gains over a constant one.

A warm-up of W steps takes the rate up along a line, $alpha_t = a (t + 1)/W$, so that no first step throws the net out;
a rate that falls lets the loss come nearer to its minimum at the end.

Source: Goyal et al. 2017 (warm-up); Loshchilov & Hutter 2017 (cosine); Smith & Topin 2018 (one cycle).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from fanin.report.compare.sides import same_value
from fanin.report.figures.style import Sheet
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, numbers_of, spread
from fanin.report.studies.pairs import LEAST_SEEDS, MOST, Pair, batch_loss, differences, factor, gaps, log, pairs
from fanin.report.studies.schedule.figure import WARMUP, schedule_figure

FALLING = ("step", "inverse_time", "exponential", "cosine", "linear")
"""Schedules of the study that start at the highest rate and only fall."""

MORE_FALLING = ("piecewise", "natural_exponential", "polynomial")
"""Others that do; a user may add them to the study."""

FROM_THE_TOP = ("constant", *FALLING, "warm_restarts")
FROM_BELOW = ("triangular", "one_cycle")
TO_ZERO = ("cosine", "linear", "one_cycle")

LAST = 130
"""Training batches whose mean loss is held against another's: five epochs."""

END = 0.83
"""What ends at about 0 has at most this share of the constant rate's loss, in the mean; the pilot had 0.69."""


def warmup_claim(evidence: Evidence) -> Claim:
    """MOST of the runs on either side; of the pilot's 70 none trained without a warm-up, and all with one."""
    text = "from the highest rate on the net does not train without a warm-up, and trains with one"
    cold, warm = (_runs(evidence, (*FROM_THE_TOP, *MORE_FALLING), warm=warm) for warm in (False, True))
    sides = ((cold, "without a warm-up"), (warm, "with one"))
    missing = [f"{name} {how}" for name in FROM_THE_TOP for some, how in sides if not _of(some, name)]
    if missing:
        return Claim.missing(text, *missing)
    trained = [sum(map(_trains, some)) for some in (cold, warm)]
    steps = numbers_of([run for run in cold if run.state == "diverged"], "steps")
    ends = f", diverged at step {spread(steps)}" if steps else ""
    words = f"{trained[0]} of {len(cold)} runs train without{ends}; {trained[1]} of {len(warm)} with"
    return Claim(text, len(cold) - trained[0] >= MOST * len(cold) and trained[1] >= MOST * len(warm), words)


def from_below_claim(evidence: Evidence) -> Claim:
    """Their first steps are those of a warm-up; three of four, where 19 of the pilot's 20 runs trained."""
    text = "most runs of triangular and one_cycle, which start low, train without a warm-up to the same highest rate"
    runs = _runs(evidence, FROM_BELOW, warm=False)
    missing = [name for name in FROM_BELOW if not _of(runs, name)]
    if missing:
        return Claim.missing(text, *({"schedule": name, WARMUP: 0} for name in missing))
    trained = sum(map(_trains, runs))
    return Claim(text, trained >= 0.75 * len(runs), f"{trained} of {len(runs)} runs train")


def floor_claim(evidence: Evidence) -> Claim:
    """Gradient noise keeps sgd at a distance from the minimum that grows with the rate.

    Each falling schedule, in the mean over seeds, and each seed, in the mean over schedules, has to end below the
    constant rate. In the pilot's ten seeds all did, by a fifth to a third.
    """
    text = "with a warm-up every falling schedule ends with a lower training loss than the constant rate"
    some = {name: _against_constant(evidence, name) for name in (*FALLING, *MORE_FALLING)}
    missing = [name for name in FALLING if not some[name]]
    if missing:
        return Claim.missing(text, f"constant and {', '.join(missing)} that train with a warm-up and a seed in common")
    logs = {name: gaps(found, batch_loss(evidence, LAST, log)) for name, found in some.items() if found}
    lower = all(_mean(values) < 0 for values in logs.values())
    by_seed: dict[str, list[float]] = {}
    for name, values in logs.items():
        for (run, _), value in zip(some[name], values, strict=True):
            by_seed.setdefault(str(run.seed), []).append(value)
    means = [_mean(values) for values in by_seed.values()]
    words = ", ".join(f"{name} x {math.exp(_mean(values)):.2g}" for name, values in logs.items())
    each = f"; a seed's mean x {spread([math.exp(one) for one in means], 2)}"
    return Claim(text, lower and all(one < 0 for one in means), words + each)


def end_claim(evidence: Evidence) -> Claim:
    """The noise that is left is that of the last rates, so what ends near 0 ends lowest."""
    text = f"the schedules that end at about 0 (cosine, linear, one_cycle) end below {END:g} times the constant's loss"
    ends = {name: _against_constant(evidence, name) for name in TO_ZERO}
    gain = differences([pair for found in ends.values() for pair in found], batch_loss(evidence, LAST, log))
    if gain is None or not all(ends.values()):
        names = [name for name, found in ends.items() if len(found) < LEAST_SEEDS] or TO_ZERO
        return Claim.missing(text, f"constant and {', '.join(names)} with a warm-up and {LEAST_SEEDS} seeds in common")
    return Claim(text, gain.mean < math.log(END), f"loss of the batches {factor(gain)}")


def _runs(evidence: Evidence, names: Sequence[str], *, warm: bool) -> list[Run]:
    """The ended runs of these schedules, with a warm-up or without."""
    runs = [run for name in names for run in evidence.runs_with({"schedule": name})]
    return [run for run in runs if (float(run.value(WARMUP) or 0) > 0) == warm]


def _of(runs: Sequence[Run], name: str) -> list[Run]:
    return [run for run in runs if same_value(run.value("schedule"), name)]


def _trains(run: Run) -> bool:
    return run.state == "done" and run.outcome == "learns"


def _against_constant(evidence: Evidence, name: str) -> list[Pair]:
    """The pairs with a warm-up of which both train; none where fewer than MOST of them do."""
    found = pairs(evidence, {"schedule": name}, {"schedule": "constant"}, WARMUP)
    warm = [pair for pair in found if float(pair[0].value(WARMUP) or 0) > 0]
    trained = [pair for pair in warm if all(map(_trains, pair))]
    return trained if len(trained) >= MOST * len(warm) else []


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


class ScheduleStudy(Study):
    """Learning rates over time."""

    caption = (
        "Above the learning rate, below the training loss (mean over seeds of the noisy inputs' loss), left "
        "without and right with a warm-up. What starts at the highest rate breaks within a few steps where nothing "
        "prepares it; at the end the rate decides how far above its minimum the loss stays. In the table "
        "the training loss is that of the final weights, of inputs without noise."
    )
    columns = (
        column("train_loss"),
        column("test_error"),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """All of them, each judged by itself."""
        yield from (claim(evidence) for claim in (warmup_claim, from_below_claim, floor_claim, end_claim))

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See schedule_figure."""
        return schedule_figure(sheet, evidence)
