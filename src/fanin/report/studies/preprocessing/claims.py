"""preprocessing_study: the second moments of the inputs decide how fast gradient descent is.

A linear model under squared error, $loss = mean_b |W x_b + w - t_b|^2$, is a quadratic with Hessian $H = 2 E[x x^T]$
for each output (x with a 1 for the bias). A step a shrinks the error along an eigenvector of curvature h by $1 - a h$:
above $a = 2 / h1$, of the largest curvature, the loss grows by $(a h1 - 1)^2$ a step, and below it directions of
curvature h take $1 / (a h)$ steps. From a loss that grows by the factor g a step follows $h1 = (1 + sqrt g) / a$.

Source: LeCun, Bottou, Orr & Müller, Efficient BackProp (1998), sections 4.3 and 5.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from statistics import fmean

from matplotlib.figure import Figure

from fanin.report.figures.style import Sheet
from fanin.report.studies.base import Claim, Evidence, Study, column, number, numbers_of, spread
from fanin.report.studies.preprocessing.curvature import RATE, largest_curvature, squared_runs
from fanin.report.studies.preprocessing.figure import NAMES, preprocessing_figure
from fanin.report.studies.tuning import best_runs

BETTER = ("center", "standardize", "pca_whiten", "zca_whiten")
WHITENED = ("pca_whiten", "zca_whiten")
SAME = 0.01  # relative difference up to which two numbers are called the same


def _best_losses(evidence: Evidence, option: str) -> list[float]:
    return numbers_of(best_runs(evidence, {"preprocess": option}, RATE), "train_loss")


def _measured(evidence: Evidence, *options: str) -> dict[str, float]:
    """h1 of each of these inputs of which runs diverged."""
    found = {option: largest_curvature(evidence, option) for option in options}
    return {option: value for option, value in found.items() if value is not None}


def _unmeasured(curvature: Collection[str], *options: str) -> list[str]:
    """What is missing where these inputs have no h1."""
    return [f"preprocess={option} that diverge" for option in options if option not in curvature]


def _lower(evidence: Evidence) -> Claim:
    text = "centred, standardized and whitened inputs reach a lower loss than raw ones, each at its best learning rate"
    absent = [option for option in ("none", *BETTER) if not evidence.runs_with({"preprocess": option})]
    if absent:
        return Claim.missing(text, *({"preprocess": option} for option in absent))
    losses = {option: _best_losses(evidence, option) for option in ("none", *BETTER)}
    told = [f"{NAMES[option]} {spread(some) if some else 'diverged at every rate'}" for option, some in losses.items()]
    raw, others = losses.pop("none"), losses.values()
    # Seed by seed is not asked: the worst seed of the one against the best of the other.
    lower = all(others) and (not raw or max(map(max, others)) < min(raw))
    return Claim(text, lower, ", ".join(told))


def _bearable(evidence: Evidence) -> Claim:
    """On either side of 2/h1 there has to be a run of each of the inputs, or nothing is said of that side."""
    text = "gradient descent diverges at rates above 2/h1 and at no other, h1 the largest curvature"
    options = [option for option in map(str, evidence.values("preprocess")) if squared_runs(evidence, option)]
    curvature = _measured(evidence, *options)
    if not options or len(curvature) < len(options):
        return Claim.missing(text, *(_unmeasured(curvature, *options) or ["loss=squared that diverge"]))
    judged, wrong, sides = 0, [], {option: set[bool]() for option in options}
    for option, largest in curvature.items():
        for run in squared_runs(evidence, option):
            judged += 1
            above = (number(run, RATE) or 0.0) > 2 / largest
            sides[option].add(above)
            if (run.state == "diverged") != above:
                wrong.append(run.name)
    if short := [option for option, seen in sides.items() if len(seen) < 2]:
        return Claim.missing(text, *(f"preprocess={option} on both sides of 2/h1" for option in short))
    told = ", ".join(f"{NAMES.get(option, option)} 2/h1 = {2 / largest:.3g}" for option, largest in curvature.items())
    return Claim(text, not wrong, f"{judged - len(wrong)} of {judged} runs; {told}")


def _share_of_the_mean(evidence: Evidence, option: str) -> Claim:
    text, word = {
        "center": ("the largest curvature of raw input is that of its mean: centring at least halves it", "centred"),
        "minmax": ("scaling to [0, 1], which leaves a mean, keeps more than half of the largest curvature", "scaled"),
    }[option]
    curvature = _measured(evidence, "none", option)
    if missing := _unmeasured(curvature, "none", option):
        return Claim.missing(text, *missing)
    raw, other = curvature["none"], curvature[option]
    holds = other < raw / 2 if option == "center" else other > raw / 2
    return Claim(text, holds, f"h1 = {raw:.4g} raw, {other:.4g} {word}")


def _whitening(evidence: Evidence) -> Claim:
    """H = 2 I, but for directions of hardly any variance, which eps keeps small: none is above 2."""
    text = "whitening leaves one curvature, 2 in every direction that varies"
    values = _measured(evidence, *WHITENED)
    if missing := _unmeasured(values, *WHITENED):
        return Claim.missing(text, *missing)
    holds = all(abs(value / 2 - 1) < SAME for value in values.values())
    return Claim(text, holds, ", ".join(f"{NAMES[option]} h1 = {value:.4g}" for option, value in values.items()))


def _rotation(evidence: Evidence) -> Claim:
    """A step commutes with a rotation of the inputs; first weights differ in scale, as fan-ins do, and fade."""
    text = "PCA and ZCA whitening reach the same loss: gradient descent does not see the rotation between them"
    losses = {option: _best_losses(evidence, option) for option in WHITENED}
    if not all(losses.values()):
        return Claim.missing(text, *({"preprocess": option} for option, there in losses.items() if not there))
    pca, zca = losses.values()
    return Claim(text, abs(fmean(pca) / fmean(zca) - 1) < SAME, f"{spread(pca, 4)} and {spread(zca, 4)}")


class PreprocessingStudy(Study):
    """Inputs decide how fast gradient descent is."""

    caption = (
        "Thin: one seed, thick: their mean. Crosses: diverged. The largest curvature h1 is measured from how fast "
        "the loss of diverging runs grows."
    )
    columns = (
        column("train_loss"),
        column("test_loss"),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """Lower loss with better inputs; the rate that diverges; what centring and whitening do to the curvature."""
        yield from (claim(evidence) for claim in (_lower, _bearable))
        yield from (_share_of_the_mean(evidence, option) for option in ("center", "minmax"))
        yield from (claim(evidence) for claim in (_whitening, _rotation))

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See preprocessing_figure."""
        return preprocessing_figure(sheet, evidence)
