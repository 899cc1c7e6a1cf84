"""regularization_study: what each regularizer does to a net that overfits, and when L2 is weight decay.

Under gradient descent of learning rate a the penalty $lambda/2 ||w||^2$ and decay $w <- (1 - a lambda) w - a g$ are
one. Adam divides the penalty's gradient by the size of past gradients, and decay by nothing: there they are two.

Source: Krogh & Hertz 1991; Srivastava et al. 2014 (dropout); Loshchilov & Hutter 2019 (decay).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from fanin.report.compare.sides import value_of
from fanin.report.figures.style import Sheet
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, numbers_of, spread
from fanin.report.studies.pairs import (
    LEAST_SEEDS,
    batch_loss,
    by_seed,
    differences,
    factor,
    gaps,
    log,
    nearly_all,
    number,
    pairs,
    relative_gap,
    tally,
    told,
)
from fanin.report.studies.regularization.figure import regularization_figure

ON_WEIGHTS = ("l1", "l2", "weight_decay", "max_norm", "dropout")
"""Those that keep weights small, or make units do without one another."""

POINTS = " points"
SEEDS = f"{LEAST_SEEDS} seeds in common"

GAP = 0.067
"""Test error less training error without a regularizer, at least; the pilot's least was 0.135."""

NOISE = 5.0
"""How many times the batches' loss grows under dropout, at least; the pilot's least was 27.9."""

LAST = 20
"""Training batches whose mean loss that is."""

SAVED = 0.74
"""The share of the steps that early stopping leaves, at most; the pilot's most was 0.54."""

APART = 1.9
"""The factor between the final losses of l2 and weight decay under adam, at least; the pilot's least was 3.4."""


def overfits_claim(evidence: Evidence) -> Claim:
    """Training error 0 but for a hundredth, of 250 examples two; the test error at least GAP above it."""
    text = "without a regularizer the net memorizes its training set and errs on the test set"
    runs = evidence.runs_with({"regularizer": []})
    train, test = numbers_of(runs, "train_error"), numbers_of(runs, "test_error")
    if not train or len(train) != len(test):
        return Claim.missing(text, {"regularizer": "none"})
    holds = max(train) <= 0.01 and min(test) - max(train) >= GAP
    return Claim(text, holds, f"training error {spread(train, percent=True)}, test error {spread(test, percent=True)}")


def error_claim(evidence: Evidence) -> Claim:
    """Each is held against none with the same seed and optimizer, so that weights and batches at the start are equal.

    In the pilot all 100 differences were below 0, by 3 points at least.
    """
    text = "each of l1, l2, weight decay, max-norm and dropout lowers the test error"
    found = {name: _against_none(evidence, name) for name in ON_WEIGHTS}
    some = {name: differences(each, number("test_error")) for name, each in found.items()}
    if missing := [name for name, one in some.items() if one is None]:
        return Claim.missing(text, *(f"none and {name} with {SEEDS}" for name in missing))
    errors = {name: gaps(each, number("test_error")) for name, each in found.items()}
    holds = all(nearly_all(each, _negative) for each in errors.values())
    lower = tally([gap for each in errors.values() for gap in each], _negative)
    words = ", ".join(f"{name} {told(one, POINTS, 100)}" for name, one in some.items() if one is not None)
    return Claim(text, holds, f"lower in {lower}: {words}; 95 % intervals over seeds")


def smoothing_claim(evidence: Evidence) -> Claim:
    """Softer targets forbid certainty, not large weights; in the pilot all 20 differences were above 0."""
    text = "label smoothing raises the test error of this net"
    some = _against_none(evidence, "label_smoothing")
    error, loss = differences(some, number("test_error")), differences(some, number("test_loss", log))
    if error is None or loss is None:
        return Claim.missing(text, f"none and label_smoothing with {SEEDS}")
    errors = gaps(some, number("test_error"))
    words = f"higher in {tally(errors, _positive)}, {told(error, POINTS, 100)}; test loss {factor(loss)}"
    return Claim(text, nearly_all(errors, _positive), words)


def stopping_claim(evidence: Evidence) -> Claim:
    """A quarter of the steps saved in every run, and in the mean over seeds a test loss that is no higher."""
    text = "early stopping saves a quarter of the steps and more, and its test loss is no higher"
    some = _against_none(evidence, "early_stopping")
    loss = differences(some, number("test_loss", log))
    if loss is None:
        return Claim.missing(text, f"none and early_stopping with {SEEDS}")
    shares = [ratio for one, other in some if (ratio := _ratio(one, other, "steps")) is not None]
    words = f"{spread(shares, percent=True)} of the steps, test loss {factor(loss)}"
    return Claim(text, max(shares) <= SAVED and loss.mean <= 0, words)


def dropout_claim(evidence: Evidence) -> Claim:
    """The loss in training is that of nets with units missing."""
    text = f"dropout's noise makes the batches' loss {NOISE:g} times higher and more, and the test error falls"
    some = _against_none(evidence, "dropout")
    error = differences(some, number("test_error"))
    ratios = [math.exp(gap) for gap in gaps(some, batch_loss(evidence, LAST, log))]
    if error is None or not ratios:
        return Claim.missing(text, f"none and dropout with {SEEDS}")
    errors = gaps(some, number("test_error"))
    lower = f"test error lower in {tally(errors, _negative)}, {told(error, POINTS, 100)}"
    falls = nearly_all(errors, _negative)
    return Claim(text, min(ratios) >= NOISE and falls, f"loss of the batches {spread(ratios)} times; {lower}")


def same_claim(evidence: Evidence) -> Claim:
    """(1 - rate) theta - a g is theta - a (g + strength theta) where rate = a strength; rounding grows along the way.

    Half of the digits may go; a rate that is wrong by a hundredth part moves the curve by more than a thousandth.
    """
    text = "under sgd l2 and weight decay of rate = lr * strength are one: their loss curves agree to rounding"
    some = _matched(evidence, "sgd")
    if not some:
        return Claim.missing(text, "l2 and weight_decay under sgd with rate = lr * strength and a seed in common")
    apart = [float(relative_gap(evidence, *pair)[1].max()) for pair in some]
    single = value_of(some[0][0], "trainer.precision") != "float64"
    tolerance = math.sqrt(np.finfo(np.float32 if single else np.float64).eps)
    words = f"{max(apart):.1g} apart at most, as a share of the loss; tolerance {tolerance:.1g}"
    return Claim(text, max(apart) <= tolerance, words)


def other_claim(evidence: Evidence) -> Claim:
    """Adam divides the penalty's pull by the size of past gradients, and leaves the decay alone.

    On the way a tenth of the loss is no rounding; the pilot's least was 0.69.
    """
    text = "under adam, with the same numbers, l2 and weight decay are two: their losses part, and end apart"
    penalized, decayed = ({"regularizer": [name], "optimizer": "adam"} for name in ("l2", "weight_decay"))
    some = pairs(evidence, penalized, decayed)
    loss = differences(some, number("train_loss", log))
    if loss is None:
        return Claim.missing(text, f"l2 and weight_decay under adam with {SEEDS}")
    apart = [float(relative_gap(evidence, *pair)[1].max()) for pair in some]
    ends = [abs(gap) for gap in gaps(some, number("train_loss", log))]
    holds = min(apart) >= 0.1 and min(ends) >= math.log(APART)
    return Claim(text, holds, f"{min(apart):.2g} apart at least on the way; at the end l2's loss is {factor(loss)}")


def _negative(gap: float) -> bool:
    return gap < 0


def _positive(gap: float) -> bool:
    return gap > 0


def _against_none(evidence: Evidence, name: str) -> list[tuple[Run, Run]]:
    return pairs(evidence, {"regularizer": [name]}, {"regularizer": []}, "optimizer")


def _matched(evidence: Evidence, optimizer: str) -> list[tuple[Run, Run]]:
    """Runs with l2 and with weight decay, of one seed, whose numbers make them one under plain gradient descent."""
    penalized = by_seed(evidence, {"regularizer": ["l2"], "optimizer": optimizer})
    decayed = by_seed(evidence, {"regularizer": ["weight_decay"], "optimizer": optimizer})
    found = []
    for seed, one in penalized.items():
        other = decayed.get(seed)
        if other is None or one.state != "done" or other.state != "done":
            continue
        numbers = [value_of(one, "optimizer.lr"), value_of(one, "regularizer.l2.strength")]
        numbers += [value_of(other, "optimizer.lr"), value_of(other, "regularizer.weight_decay.rate")]
        if None in numbers:
            continue
        lr, strength, same_lr, rate = map(float, numbers)
        if math.isclose(rate, lr * strength, rel_tol=1e-9) and same_lr == lr:
            found.append((one, other))
    return found


def _ratio(one: Run, other: Run, name: str) -> float | None:
    above, below = (run.numbers.get(name) for run in (one, other))
    return above / below if above is not None and below else None


class RegularizationStudy(Study):
    """What each regularizer does to a net that overfits."""

    caption = (
        "a, b: mean over seeds, under the first optimizer; the loss is that of the whole training part, without "
        "dropout's masks. c: one mark for each seed. d: how far the losses with L2 and with decoupled weight decay are "
        "apart, as a share of the loss: rounding under sgd, where the two are one; all of it under adam."
    )
    columns = (
        column("train_loss"),
        column("test_loss"),
        column("test_error"),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """All of them, each judged by itself."""
        every = (overfits_claim, error_claim, smoothing_claim, dropout_claim, stopping_claim, same_claim, other_claim)
        yield from (claim(evidence) for claim in every)

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See regularization_figure."""
        return regularization_figure(sheet, evidence)
