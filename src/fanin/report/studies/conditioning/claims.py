"""conditioning_study: how spread the curvatures of a net are at initialization, and what makes them so.

Gradient descent is as slow as its curvatures are spread: at the best rate 2/(L + mu) for curvatures from mu to L the
distance to the minimum of a quadratic shrinks by $(kappa - 1)/(kappa + 1)$ a step, $kappa = L/mu$. A linear model with
the squared loss is one, with the curvatures of its inputs' second moments. Of a deeper net the matrix of Gauss and
Newton has the curvatures; the smallest positive one is a matter of a single direction, and of rounding, so that the
largest over the median is compared: half of all directions are that much flatter, or more. Of the Hessian, which has
eigenvalues of both signs, it is taken of their sizes.

Bounds are half way, in logarithms, between no effect and the least that a pilot at two other seeds (20 and 21) had:
inputs 12, weights 22, depth 3.7, normalization 5. There the ranks of the Hessian's and of Gauss and Newton's spreads
had a correlation of 0.89.

Source: LeCun, Bottou, Orr & Mueller 1998; Ghorbani, Krishnan & Xiao 2019; Nesterov 2004, theorem 2.1.15.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.record.overrides import display
from fanin.report.figures.style import Sheet, panel
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats
from fanin.report.studies.base import Claim, Columns, Evidence, Study, number, spread
from fanin.report.studies.conditioning.descent import descents
from fanin.report.studies.drawing import DASHES, draw_points, entry, own_legend
from fanin.report.studies.spectra import spectrum

POSITIVE = 1e-10
"""Share of the largest in size up to which an eigenvalue counts as 0."""

ALIKE = 0.7
"""The least rank correlation of the two matrices' spreads."""

RATE_TOLERANCE = 0.02
"""Of the logarithm of the factor a step, relative: modes that die out faster are still there in the window's half."""

BASE: Mapping[str, Any] = {"preprocess": "center", "initializer.c": 2, "model.depth": 3, "normalization": "none"}
INPUTS = ("none", "center", "standardize", "zca_whiten")


class Axis(NamedTuple):
    """One thing that is changed while the others stay.

    Attributes:
        key: whose values are compared.
        values: from the most spread to the least.
        factor: by how much the spread falls from one to the next at least.
        text: the claim.
    """

    key: str
    values: tuple[Any, ...]
    factor: float
    text: str


AXES = (
    Axis(
        "preprocess", INPUTS[:3], 3.0, "centring the inputs narrows the spectrum, and scaling them narrows it further"
    ),
    Axis("initializer.c", (0.02, 0.2, 2), 4.0, "the smaller the weights begin, the more spread the curvatures"),
    Axis("model.depth", (5, 3, 2, 1), 1.8, "the deeper the net, the more spread the curvatures"),
)
NORMALIZED = 2.2
"""By how much batch normalization narrows the spectrum at least."""


def over_median(values: Floats) -> float | None:
    """The largest over the median size of the eigenvalues.

    >>> import numpy as np
    >>> over_median(np.array([8.0, 2.0, -1.0]))
    4.0
    """
    median = float(np.median(np.abs(values))) if len(values) > 1 else 0.0
    return float(values[0]) / median if median > 0 else None


def _condition(values: Floats) -> float | None:
    """Of what is positive."""
    positive = values[values > POSITIVE * np.abs(values).max()] if len(values) else values
    return float(positive[0] / positive[-1]) if len(positive) else None


def _mean(evidence: Evidence, choices: Mapping[str, Any], matrix: str = "gauss_newton") -> float | None:
    """The geometric mean over seeds of the spreads at initialization."""
    found = [over_median(spectrum(run, matrix, last=False)) for run in evidence.runs_with({**BASE, **choices})]
    logs = [math.log(one) for one in found if one is not None and one > 0]
    return math.exp(sum(logs) / len(logs)) if logs else None


def _falls(evidence: Evidence, axis: Axis) -> Claim:
    means = {value: _mean(evidence, {axis.key: value}) for value in axis.values}
    there = {value: mean for value, mean in means.items() if mean is not None}
    if len(there) < 2:
        return Claim.missing(axis.text, *({**BASE, axis.key: value} for value in axis.values if value not in there))
    holds = all(one >= axis.factor * two for one, two in pairwise(there.values()))
    told = ", ".join(f"{display(value)}: {mean:.3g}" for value, mean in there.items())
    return Claim(axis.text, holds, f"largest over median, {axis.key} {told}")


def _normalized(evidence: Evidence) -> Claim:
    text = "batch normalization narrows the spectrum at every depth"
    words, holds = [], True
    for depth in sorted(value for value in evidence.values("model.depth") if isinstance(value, int) and value > 1):
        plain, batch = (_mean(evidence, {"model.depth": depth, "normalization": one}) for one in ("none", "batch"))
        if plain is not None and batch is not None:
            holds &= plain >= NORMALIZED * batch
            words.append(f"depth {depth}: {plain:.3g} without, {batch:.3g} with")
    return Claim(text, holds, "; ".join(words)) if words else Claim.missing(text, {"normalization": "batch"})


def _alike(evidence: Evidence) -> Claim:
    text = "the Hessian says the same as Gauss-Newton of which net's curvatures are more spread, and has both signs"
    deep = [run for run in evidence.runs_with({}) if (number(run, "model.depth") or 0) > 1]
    spectra = [(spectrum(run, last=False), spectrum(run, "gauss_newton", last=False)) for run in deep]
    both = [(one, two) for one, two in spectra if over_median(one) and over_median(two)]
    if len(both) < 5:
        return Claim.missing(text, "five nets of two layers and more with both matrices")
    from scipy.stats import spearmanr

    told = float(spearmanr(*zip(*((over_median(one), over_median(two)) for one, two in both), strict=True)).statistic)
    negative, none = ([_negative(pair[which]) for pair in both] for which in (0, 1))
    holds = told >= ALIKE and min(negative) > 0 and max(none) == 0
    return Claim(
        text, holds, f"rank correlation {told:.3f}; {spread(negative, 3, percent=True)} of the Hessian's negative"
    )


def _negative(values: Floats) -> float:
    """Share of negative eigenvalues."""
    return float((values < -POSITIVE * np.abs(values).max()).mean())


def _rate(evidence: Evidence) -> Claim:
    text = "on the linear model gradient descent converges by the factor (kappa - 1)/(kappa + 1) a step"
    found = [(one, one.measured) for one in descents(evidence) if one.measured is not None]
    if not found:
        return Claim.missing(text, "gd with model.depth=1 at the rate 2/(L + mu)")
    holds, words = True, []
    for one, measured in found:
        expected = (one.condition - 1) / (one.condition + 1)
        holds &= abs(math.log(measured) / math.log(expected) - 1) <= RATE_TOLERANCE
        words.append(f"kappa {one.condition:.4g}: {measured:.5f} measured, {expected:.5f} in theory")
    return Claim(text, holds, "; ".join(dict.fromkeys(words)))


def _whitened(evidence: Evidence) -> Claim:
    text = "with whitened inputs kappa is about 1, and the linear model is there in a few steps"
    found = [one for one in descents(evidence) if one.run.value("preprocess") in ("zca_whiten", "pca_whiten")]
    if not found:
        return Claim.missing(text, {"preprocess": "zca_whiten", "model.depth": 1})
    left = [float(one.falls[2] / one.falls[0]) for one in found]
    # two steps shrink every mode's share of a fall by the fourth power of the factor, at least
    holds = all(share <= one.theory**4 + 1e-10 for share, one in zip(left, found, strict=True))
    holds &= all(one.condition < 1.1 for one in found)
    return Claim(
        text, holds, f"kappa {spread([one.condition for one in found], 5)}; falls of {spread(left)} after two steps"
    )


def _column(of: Callable[[Floats], float | None], matrix: str) -> Callable[[list[Run]], str]:
    def cell(runs: list[Run]) -> str:
        found = [of(spectrum(run, matrix, last=False)) for run in runs if len(spectrum(run, matrix, last=False))]
        return spread([one for one in found if one is not None])

    return cell


COLUMNS: Columns = (
    ("largest", _column(lambda values: float(values[0]), "gauss_newton")),
    ("over median", _column(over_median, "gauss_newton")),
    ("kappa of what is positive", _column(_condition, "gauss_newton")),
    ("Hessian over median", _column(over_median, "")),
    ("Hessian negative (%)", _column(lambda values: 100 * _negative(values), "")),
)


def _axis_panel(axes: Axes, evidence: Evidence, key: str, values: Sequence[Any], more: Mapping[str, Any]) -> None:
    """Spreads of both matrices over the values of a key."""
    for matrix, colour in (("gauss_newton", "black"), ("", "#0072B2")):
        points = [
            (float(place), told)
            for place, value in enumerate(values)
            for run in evidence.runs_with({**BASE, **more, key: value})
            if (told := over_median(spectrum(run, matrix, last=False))) is not None
        ]
        draw_points(axes, points, colour, ls=DASHES if more else "-")
    axes.set_yscale("log")
    axes.set_xticks(range(len(values)), [str(value).replace("_whiten", "") for value in values])


class ConditioningStudy(Study):
    """How spread curvatures are at initialization, and gradient descent's rate for it."""

    caption = (
        "a to c: the largest eigenvalue at initialization over the median size; each point is a run. d: how much "
        "the loss of linear models falls a step; dashed: as (κ - 1)/(κ + 1) squared says."
    )
    columns = COLUMNS
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """What narrows the spectrum; both matrices; the rate on linear models."""
        yield from (_falls(evidence, axis) for axis in AXES)
        yield from (claim(evidence) for claim in (_normalized, _alike, _rate, _whitened))

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """Spreads over inputs, weights and depth, and the descents."""
        if not any(len(spectrum(run, "gauss_newton", last=False)) for run in evidence.runs):
            return None
        made, axes = sheet.figure(1, 4, 13.2, 3.8)
        depths = sorted(value for value in evidence.values("model.depth") if isinstance(value, int))
        scales = sorted(value for value in evidence.values("initializer.c") if isinstance(value, (int, float)))
        _axis_panel(axes[0], evidence, "preprocess", INPUTS, {})
        _axis_panel(axes[1], evidence, "initializer.c", scales, {})
        _axis_panel(axes[2], evidence, "model.depth", depths, {})
        _axis_panel(axes[2], evidence, "model.depth", depths, {"normalization": "batch"})
        panel(axes[0], "a", "largest over median eigenvalue", "preprocessing of the inputs")
        panel(axes[1], "b", "the same", "variance of the weights, c/n: c")
        panel(axes[2], "c", "the same", "weight layers")
        for one in descents(evidence):
            there = np.flatnonzero(one.falls > 1e-14 * one.falls[0])
            axes[3].plot(there, one.falls[there], color="black", lw=1.2)
            steps = np.arange(int(there[-1]) + 1)
            middle = int(there[len(there) // 2])
            axes[3].plot(steps, one.falls[middle] * one.theory ** (2.0 * (steps - middle)), color="#D55E00", ls=DASHES)
        axes[3].set_xscale("symlog", linthresh=10)
        axes[3].set_yscale("log")
        panel(axes[3], "d", "fall of the loss a step, linear models", "step")
        handles = [entry("Gauss-Newton", "black"), entry("Hessian", "#0072B2"), entry("batch normalization", ls=DASHES)]
        own_legend(sheet, made, axes, [*handles, entry("theory", "#D55E00", ls=DASHES)])
        return made
