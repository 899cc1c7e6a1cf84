"""normalization_study: what normalization does to 50 ReLU layers whose variance lets activations vanish or explode.

A normalization divides by the scale of what it sees, so that activations do not depend on the variance c/n of the
weights. Backwards, through weights $N(0, c/n)$ and a ReLU, mean squares take the factor c/2 and the division's square:
  - layer normalization before ReLU divides by the root mean square of W x, sqrt(c) times that of x, and the mean square
    behind ReLU is half of that before: the gradient keeps its norm from layer to layer, as with c = 2;
  - batch normalization, and layer normalization behind ReLU, also take the mean of rectified values away. The variance
    of ReLU(z), $z ~ N(0, 1)$, is $1/2 - 1/(2 pi)$, the gradient's share is 1/2: each layer multiplies the gradient's
    mean square by $1/2 / (1/2 - 1/(2 pi)) = pi / (pi - 1)$, its norm by 1.211, and 50 of them by ten thousand.

Source: Yang, Pennington, Rao, Sohl-Dickstein & Schoenholz, A mean field theory of batch normalization (2019); Ioffe &
Szegedy (2015); Ba, Kiros & Hinton (2016).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
from matplotlib.figure import Figure

from fanin.report.figures.style import Sheet
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, number, numbers_of, spread
from fanin.report.studies.drawing import chance_level
from fanin.report.studies.gradients import gradient_factor, slack_of
from fanin.report.studies.normalization.arms import (
    BATCH,
    GROWTH,
    KEPT,
    LAYER,
    LAYER_BEHIND,
    NONE,
    Arm,
    C,
    plain_runs,
)
from fanin.report.studies.normalization.figure import normalization_figure

ENDS = 4  # layers left out at each end of a profile: the first ones approach the law, the last ones see the loss
EQUAL = 0.05  # relative difference that eps and rounding may make; where gradients grow, so do these over the layers


def _classes(evidence: Evidence) -> int | None:
    chance = chance_level(evidence)
    return None if chance is None else chance[0]


def _still(evidence: Evidence) -> Claim:
    text = "without normalization the net at variance 1/n makes no progress"
    runs = plain_runs(evidence, 1)
    if not runs:
        return Claim.missing(text, {**NONE.choices, C: 1})
    loss = spread(numbers_of(runs, "train_loss"), 5)
    return Claim(text, all(run.outcome == "no progress" for run in runs), f"training loss {loss}")


def _diverges(evidence: Evidence) -> Claim:
    text = "without normalization the net at variance 3/n diverges"
    runs = plain_runs(evidence, 3)
    if not runs:
        return Claim.missing(text, {**NONE.choices, C: 3})
    ended = [run for run in runs if run.state == "diverged"]
    steps = spread([float(run.diverged.get("step", math.nan)) for run in ended])
    return Claim(text, len(ended) == len(runs), f"{len(ended)} of {len(runs)} runs, at step {steps}")


def _trains(evidence: Evidence, arm: Arm, bound: float, words: str) -> Claim:
    text = f"with {arm.normalization} normalization before ReLU it trains at 1/n and 3/n: training error {words}"
    errors = {c: evidence.metric("train_error", {**arm.choices, C: c}) for c in (1, 3)}
    if missing := [c for c, values in errors.items() if not values]:
        return Claim.missing(text, *({**arm.choices, C: c} for c in missing))
    told = ", ".join(f"c={c}: {spread(values, percent=True)}" for c, values in errors.items())
    return Claim(text, all(value < bound for values in errors.values() for value in values), told)


def _behind(evidence: Evidence) -> Claim:
    text = "layer normalization behind ReLU, which takes means away, trains worse than before it"
    before, behind = (evidence.metric("train_error", arm.choices) for arm in (LAYER, LAYER_BEHIND))
    if not before or not behind:
        return Claim.missing(
            text, *(arm.choices for arm, there in ((LAYER, before), (LAYER_BEHIND, behind)) if not there)
        )
    told = f"training error {spread(before, percent=True)} before, {spread(behind, percent=True)} behind"
    return Claim(text, max(before) < min(behind), told)


def _scale_free(evidence: Evidence) -> Claim:
    """The draws of a seed are the same for all c up to scale, so that runs are compared seed by seed."""
    text = "with normalization activation norms do not depend on the variance"
    by_arm = {arm: [_difference(evidence, *pair) for pair in _pairs(evidence, arm)] for arm in GROWTH}
    found = {arm: [value for value in values if value is not None] for arm, values in by_arm.items()}
    if missing := [arm for arm, values in found.items() if not values]:
        return Claim.missing(text, *(f"{arm.name} at two values of {C} with one seed" for arm in missing))
    differences = [value for values in found.values() for value in values]
    without = [_difference(evidence, one, other) for one, other in _pairs(evidence, NONE)]
    told = f"largest relative difference over layers {max(differences):.2g}"
    known = [value for value in without if value is not None]
    return Claim(text, max(differences) < EQUAL, told + (f", without normalization {max(known):.2g}" if known else ""))


def _pairs(evidence: Evidence, arm: Arm) -> list[tuple[Run, Run]]:
    """Runs of one seed at two different c."""
    runs = evidence.runs_with(arm.choices)
    return [
        (one, other)
        for one, other in product(runs, runs)
        if one.seed == other.seed and (number(one, C) or math.inf) < (number(other, C) or 0.0)
    ]


def _difference(evidence: Evidence, one: Run, other: Run) -> float | None:
    """The largest relative difference of activation norms at init, but of the output, which nothing normalizes."""
    a, b = (evidence.profile(run, "init", "weight", "activation_norm")[:-1] for run in (one, other))
    if not len(a) or len(a) != len(b):
        return None
    return float(np.max(np.abs(b / a - 1)))


def _growth(evidence: Evidence, arm: Arm) -> Claim:
    """Within three standard deviations of the law at this width, averaged over the layers: see growth_slack."""
    expected = GROWTH[arm]
    what = f"grow by {expected:.3f} a layer" if expected > KEPT else "keep their norm"
    text = f"{arm.normalization} normalization {arm.name.rpartition(', ')[2]}: gradients {what} towards the input"
    runs = evidence.runs_with({**arm.choices, "activation": "relu"})
    found = [(gradient_factor(evidence, run, ENDS), slack_of(run, ENDS)) for run in runs]
    factors = [(factor, slack) for factor, slack in found if factor is not None]
    if not factors:
        return Claim.missing(text, {**arm.choices, "activation": "relu"})
    holds = all(abs(math.log(factor / expected)) < slack for factor, slack in factors)
    most = expected * math.expm1(max(slack for _, slack in factors))
    told = f"{spread([factor for factor, _ in factors], 4)} at init, {expected:.4g} ± {most:.2g} expected"
    return Claim(text, holds, told)


class NormalizationStudy(Study):
    """What normalization does for 50 ReLU layers whose variance is too small or too large."""

    caption = (
        "Left: gradients at initialization, from the loss (right end) to the input. Thin: one seed, thick: their "
        "mean. Dashed: what theory says of one layer, from the last layer on."
    )
    columns = (
        column("gradient_first"),
        column("gradient_last"),
        column("train_loss"),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """Who trains at which variance, that activations do not depend on it, and how gradients grow."""
        guess = 1 - 1 / (_classes(evidence) or 10)
        yield _still(evidence)
        yield _diverges(evidence)
        yield _trains(evidence, LAYER, guess / 2, "below half of that of guessing")
        yield _trains(evidence, BATCH, guess - 0.1, "10 points below that of guessing")
        yield _behind(evidence)
        yield _scale_free(evidence)
        yield from (_growth(evidence, arm) for arm in GROWTH)

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See normalization_figure."""
        return normalization_figure(sheet, evidence)
