"""noise_reduction_study: the noise floor of sgd on a convex problem, and what happens to it on a deep one.

On a strongly convex problem sgd at a fixed step a comes closer by a constant factor a step, down to a floor of the
order of $a sigma^2 / B$, and stays there, with the variance sigma^2 of one example's gradient and
the batch B. Averages of the iterates and growing batches lower it, and gradients whose variance falls on the way
(SVRG, SAGA) have none. Where every example can be fitted, sigma vanishes at the minimum, and so does the floor.

Source: Bottou, Curtis & Nocedal, Optimization methods for large-scale machine learning (2018).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure

from fanin.report.compare.sides import same_value
from fanin.report.figures.style import Sheet
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, numbers_of, spread
from fanin.report.studies.noise_reduction.courses import AVERAGED, DEPTH, GROWING, PLAIN, Course, courses, lowest_loss
from fanin.report.studies.noise_reduction.figure import noise_figure

REDUCED = ("svrg", "saga")
"""Optimizers whose gradient noise vanishes as they come close."""

STRAIGHT = 0.995
"""R^2 from which a line counts as straight: any power of the step has 0.981 over the two middle quarters of a run."""

END = 1e-4
"""What svrg and saga leave at the end, as a share of sgd's floor, at most; the pilot's svrg had 2e-9."""

FLOOR = 0.1
"""A lowered floor as a share of sgd's, at most; the pilot's averages had 0.0098, its growing batches 4e-7."""

FALL = 0.37
"""The last tenth's loss of the deep problem as a share of that in the middle, at most; the pilot had 0.14."""


def stall_claim(evidence: Evidence) -> Claim:
    """Falling more slowly than 1/t, the rate of sgd whose steps fall: that halves from the second quarter to the second
    half. In the pilot 0.8 to 1.6 times was left."""
    text = "on the convex problem sgd at a fixed step stalls above the minimum"
    some, problem = _convex(evidence, PLAIN)
    if problem:
        return Claim.missing(text, problem)
    ratios = [one.level(0.5, 1) / one.level(0.25, 0.5) for one in some]
    floors = [one.level(0.5, 1) for one in some]
    words = f"{spread(floors, 2)} above it in the second half, {spread(ratios, 2)} times the second quarter's"
    return Claim(text, min(ratios) > 1 / 2, words)


def linear_claim(evidence: Evidence, optimizer: str) -> Claim:
    """A straight line in the logarithm, and an end far below sgd's floor."""
    text = f"on the convex problem {optimizer} at the same step comes closer to the minimum by a constant factor a step"
    some, problem = _convex(evidence, PLAIN | {"optimizer": optimizer})
    floors, _ = _convex(evidence, PLAIN)
    if problem or not floors:
        return Claim.missing(text, problem or PLAIN)
    lines = [one.line() for one in some]
    floor = min(one.level(0.5, 1) for one in floors)
    ends = [float(one.above[-1]) for one in some]
    holds = all(decades > 0 and fit >= STRAIGHT for decades, fit in lines) and max(ends) <= END * floor
    rates, fits = [decades for decades, _ in lines], [fit for _, fit in lines]
    words = (
        f"{spread(rates, 2)} decades in 1000 steps, R^2 {min(fits):.4f} at least, at most {max(ends):.1g} at the end"
    )
    return Claim(text, holds, words)


def lower_claim(evidence: Evidence, what: str, choices: Mapping[str, str]) -> Claim:
    """A tenth of sgd's floor and less, for every seed."""
    text = f"on the convex problem {what} lowers the floor of sgd to a tenth and less"
    some, problem = _convex(evidence, choices)
    plain, _ = _convex(evidence, PLAIN)
    floors = {str(one.run.seed): one.level(0.5, 1) for one in plain}
    ratios = [one.level(0.5, 1) / floors[str(one.run.seed)] for one in some if str(one.run.seed) in floors]
    if problem or not ratios:
        return Claim.missing(text, problem or "sgd with and without it, with a seed in common")
    return Claim(text, max(ratios) <= FLOOR, f"{spread(ratios, 2)} of it in the second half of the run")


def deep_claim(evidence: Evidence) -> Claim:
    """A net that can fit every example has no noise where it does."""
    text = "on the deep problem, where every example can be fitted, sgd has no floor: its loss falls to the end"
    some = _deep(evidence, PLAIN)
    if not some:
        return Claim.missing(text, PLAIN | {DEPTH: "2 or more"})
    ratios = [one.level(0.9, 1) / one.level(0.4, 0.5) for one in some]
    return Claim(text, max(ratios) <= FALL, f"the last tenth's loss is {spread(ratios, 2)} of that in the middle")


def lag_claim(evidence: Evidence) -> Claim:
    """The mean of a path lags behind its end."""
    text = "on the deep problem the plain average of the iterates lags behind the last of them"
    averaged = {str(one.run.seed): one for one in _deep(evidence, AVERAGED)}
    both = [(averaged[str(one.run.seed)], one) for one in _deep(evidence, PLAIN) if str(one.run.seed) in averaged]
    if not both:
        return Claim.missing(text, PLAIN | {DEPTH: "2 or more"}, AVERAGED)
    ratios = [mean.level(0.9, 1) / last.level(0.9, 1) for mean, last in both]
    return Claim(text, min(ratios) > 1, f"its loss is {spread(ratios, 2)} times that of the iterates at the end")


def _convex(evidence: Evidence, choices: Mapping[str, str]) -> tuple[list[Course], str]:
    """The runs with one weight matrix, above the minimum; and what is missing to locate it."""
    found = lowest_loss(evidence)
    if found is None:
        return [], f"{DEPTH}=1 with trainer.eval_train=true"
    lowest, unsure = found
    some = courses(evidence, {DEPTH: 1, **choices}, lowest)
    if not some:
        return [], " ".join(f"{key}={value}" for key, value in {DEPTH: 1, **choices}.items())
    plain = courses(evidence, {DEPTH: 1, **PLAIN}, lowest)
    if plain and unsure > 1e-3 * min(one.level(0.5, 1) for one in plain):
        return [], f"{DEPTH}=1 that agree on where the minimum is: two of svrg, say"
    return some, ""


def _deep(evidence: Evidence, choices: Mapping[str, str]) -> list[Course]:
    """The runs with more than one weight matrix."""
    return [one for one in courses(evidence, choices) if not same_value(one.run.value(DEPTH), 1)]


def _ends(runs: Sequence[Run]) -> str:
    return spread(numbers_of(runs, "train_loss"), 5)


class NoiseReductionStudy(Study):
    """The noise floor of sgd, and ways out."""

    caption = (
        "The loss over the whole training set, evaluated on the average where there is one; thin: one seed, "
        "thick: geometric mean. a: one weight matrix, a convex problem; above the lowest loss of any run, which "
        "stands for the minimum. b: a deep net that can fit every example. Drawn are sgd and each remedy alone."
    )
    columns = (
        ("loss, whole training set", _ends),
        column("test_error"),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """All of them, each judged by itself; that of saga where there are runs of it."""
        yield stall_claim(evidence)
        for name in REDUCED:
            if name == "svrg" or evidence.runs_with({"optimizer": name}):
                yield linear_claim(evidence, name)
        yield lower_claim(evidence, "a growing batch", GROWING)
        yield lower_claim(evidence, "averaging the iterates", AVERAGED)
        yield deep_claim(evidence)
        yield lag_claim(evidence)

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See noise_figure."""
        return noise_figure(sheet, evidence)
