"""flat_minima_study: what batch size, rate and sam do to sharpness and to the gap, and what sharpness is worth.

Small batches and large rates end in flatter minima: along sharp directions the noise of their steps grows, and is
$a (N/B - 1)$ in size. sam, which goes down the gradient of the worst point nearby, ends flatter too; and both
leave a smaller gap between training and test loss. All runs go as far, in rate times steps, so that what differs is the
noise and not the length of training. Yet sharpness alone explains nothing: a relu layer times a and the next divided by
it are the same function with the same gap, and as sharp as one likes.

Bounds are half way, in logarithms, between no effect and the least that a pilot of four other seeds (30 to 33) had:
batches of 8 in place of all left 0.59 to 0.91 of the sharpness, the larger rate with batches of 8 0.65 to 0.84, and
sam 0.55 to 0.89; the rank correlation of noise and sharpness was -0.84 to -0.93. The gap of the loss was 11 % smaller
with batches of 8, by 5 to 18 %, and 5 % smaller with sam, by 2 to 9 %. The gap of the error moved by some errors of
297, to either side, and there is no claim on it.

Source: Keskar et al. 2017; Smith & Le 2018; Foret et al. 2021; Dinh, Pascanu, Bengio & Bengio 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure

from fanin.record.landscape_files import Asked
from fanin.record.overrides import display
from fanin.report.figures.style import Sheet
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Columns, Evidence, Study, column, numbers_of, spread
from fanin.report.studies.flat_minima.ends import (
    BATCH,
    FACTORS,
    RATE,
    asked_of,
    batches,
    flat_and_sharp,
    gap,
    log_gap,
    log_sharpness,
    noise_of,
    rescaled,
)
from fanin.report.studies.flat_minima.figure import draw
from fanin.report.studies.pairs import Pair, differences, factor, gaps, nearly_all, pairs, tally

SMALLER, LARGER, SAM = 0.95, 0.92, 0.94
"""The largest shares of sharpness that small batches, the larger rate and sam may leave."""

FOLLOWS = -0.7
"""The largest rank correlation of noise and sharpness over the networks of a seed."""

ROUNDING = 1e-12
"""Relative, in float64."""

TOLERANCE = 0.01
"""Of eigenvalues, relative: both that are compared are known to a part in 1000."""

PLAIN: dict[str, Any] = {"regularizer": []}
WITH_SAM: dict[str, Any] = {"regularizer": ["sam"]}


def _left(evidence: Evidence, text: str, some: Sequence[Pair], most: float, words: str) -> Claim:
    """A claim that nearly all pairs' first runs have at most such a share of the sharpness of their second."""
    logs = gaps(some, log_sharpness(evidence))
    if not logs:
        return Claim.missing(text, words)

    def less(log: float) -> bool:
        return log <= math.log(most)

    left = spread([math.exp(log) for log in logs])
    return Claim(text, nearly_all(logs, less), f"{left} of the sharpness {words}; {tally(logs, less)} below {most:g}")


def _small_and_large(evidence: Evidence) -> list[Pair]:
    sizes = batches(evidence)
    some, other = ({**PLAIN, BATCH: size} for size in (sizes[0], sizes[-1]))
    return pairs(evidence, some, other, RATE) if len(sizes) > 1 else []


def _batch(evidence: Evidence) -> Claim:
    sizes = batches(evidence)
    text = "small batches end flatter than large ones, at every rate"
    words = f"with batches of {display(sizes[0])} in place of {display(sizes[-1])}"
    return _left(evidence, text, _small_and_large(evidence), SMALLER, words)


def _rate(evidence: Evidence) -> Claim:
    text = "with small batches a larger rate ends flatter, after as long a way"
    rates = sorted(value for value in evidence.values(RATE) if isinstance(value, (int, float)))
    small = {**PLAIN, BATCH: batches(evidence)[0]}
    some = pairs(evidence, {**small, RATE: rates[-1]}, {**small, RATE: rates[0]}) if len(rates) > 1 else []
    words = f"with lr {rates[-1]:g} in place of {rates[0]:g}" if len(rates) > 1 else "of two rates"
    return _left(evidence, text, some, LARGER, words)


def _noise(evidence: Evidence) -> Claim:
    text = "sharpness follows the noise of the steps: the more rate for a batch's example, the flatter the end"
    from scipy.stats import spearmanr

    read, told = log_sharpness(evidence), []
    for seed in {str(run.seed): run.seed for run in evidence.runs_with(PLAIN)}.values():
        points = [(noise_of(run), log) for run in evidence.runs_with({**PLAIN, "seed": seed}) if (log := read(run))]
        if len({noise for noise, _ in points}) >= 4:
            told.append(float(spearmanr(*zip(*points, strict=True)).statistic))
    if not told:
        return Claim.missing(text, "four rates over batch sizes")
    return Claim(text, nearly_all(told, lambda one: one <= FOLLOWS), f"rank correlation {spread(told)} in each seed")


def _with_sam(evidence: Evidence) -> list[Pair]:
    return pairs(evidence, WITH_SAM, PLAIN, BATCH, RATE)


def _sam(evidence: Evidence) -> Claim:
    text = "sam ends flatter than the same steps without it, at every rate and batch size"
    return _left(evidence, text, _with_sam(evidence), SAM, "with sam")


def _gap(text: str, some: Sequence[Pair]) -> Claim:
    """A claim that the first runs' gaps are smaller, in the geometric mean over seeds."""
    found = differences(some, log_gap)
    if found is None:
        return Claim.missing(text, "three seeds")
    return Claim(text, found.high < 0, f"test less training loss {factor(found)}, {len(some)} pairs")


def _gaps(evidence: Evidence) -> Iterator[Claim]:
    yield _gap("small batches leave a smaller gap of the loss than large ones", _small_and_large(evidence))
    yield _gap("sam leaves a smaller gap of the loss than the same steps without it", _with_sam(evidence))


def _void(evidence: Evidence) -> Iterator[Claim]:
    same = "a relu layer times a and the next divided by it are the same function, but not as sharp"
    other = "so rescaled, each flat minimum is sharper than the sharp one of its seed"
    some = flat_and_sharp(evidence.runs_with(PLAIN))
    found = list(rescaled(evidence, some))
    if not found:
        yield from (Claim.missing(text, "activation=relu and two batch sizes") for text in (same, other))
        return
    apart = max(abs(one.line.about["rescaled_loss"] / one.line.about["unscaled_loss"] - 1) for one in found)
    within = all(one.low * (1 - TOLERANCE) <= one.sharpness <= one.high * (1 + TOLERANCE) for one in found)
    words = [
        f"a = {a:g}: {spread([one.sharpness for one in found if one.factor == a])}"
        for a in FACTORS
        if any(one.factor == a for one in found)
    ]
    told = f"losses {apart:.1g} apart; sharpness {', '.join(words)}, {'' if within else 'not '}as theory bounds it"
    yield Claim(same, apart <= ROUNDING and within, told)
    by_run = {(one.run.name, one.factor): one.sharpness for one in found}
    least = min(FACTORS)
    both = [(by_run.get((flat.name, least)), by_run.get((sharp.name, 1.0))) for flat, sharp in some]
    ratios = [one / two for one, two in both if one is not None and two]
    if ratios:
        yield Claim(other, min(ratios) > 1, f"{spread(ratios)} times as sharp with a = {least:g}")
    else:
        yield Claim.missing(other, "both networks of a seed")


def _gap_cell(runs: list[Run]) -> str:
    return spread([one for one in map(gap, runs) if one is not None])


COLUMNS: Columns = (
    ("sharpness", lambda runs: spread(numbers_of(runs, "sharpness"))),
    ("gap", _gap_cell),
    column("train_loss"),
    column("test_loss"),
)


class FlatMinimaStudy(Study):
    """Flat minima: what ends in them, what gap they have, and that rescaling makes them sharp."""

    caption = (
        "a, b: the largest eigenvalue of the Hessian at the end, and the test less the training loss; each point is a "
        "run. c: the loss along the top eigenvector of the first seed's networks of the smallest and the largest "
        "batch; dotted: the former's first layer times 0.1, the next times 10. d: their sharpness over that number a."
    )
    columns = COLUMNS
    profiles = False

    def landscapes(self, runs: Sequence[Run]) -> Iterable[Asked]:
        """The lines along the top eigenvector, as it is with two layers rescaled."""
        return [asked_of(run, a) for pair in flat_and_sharp(runs) for run in pair for a in FACTORS]

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """What makes the end flat; the gap; that rescaling voids sharpness."""
        yield from (claim(evidence) for claim in (_batch, _rate, _noise, _sam))
        yield from _gaps(evidence)
        yield from _void(evidence)

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """Sharpness and gap over batches, and the rescaled networks."""
        return draw(sheet, evidence)
