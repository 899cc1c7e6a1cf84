"""normalization_gradients_study: the factor that one normalized layer puts on the gradient's square, towards the input.

A normalization divides by a scale that the data have, so that activations keep theirs whatever the weights' variance,
and the gradient is divided by the same scale. What is left is what the activation and the taking of means do:
  - rms normalization, and layer normalization before ReLU or of a linear net: forwards and backwards the same half of
    the energy gets through, and the factor is 1;
  - layer normalization behind ReLU takes the mean of rectified values away, $1/(2 pi)$ of their mean square 1/2, which
    the division puts back on the gradient: $1/2 / (1/2 - 1/(2 pi)) = pi/(pi - 1) = 1.467$ a layer;
  - batch normalization with ReLU the same in the limit of large batches, and more for smaller ones;
  - batch normalization of a linear net $(B - 2)/(B - 3)$, B the batch size, for the batch's mean and variance are made
    of the very B numbers that they normalize. No choice of the weights' variance removes either.

The inputs are Gaussian clouds of as many features as there are examples and more: batches that lie in few directions
take many layers to forget them. Bounds are four standard deviations of a layer's factor at this width (error_slack).
Batches of fewer than 8 vary more than that.
Source: Yang, Pennington, Rao, Sohl-Dickstein & Schoenholz, A mean field theory of batch normalization (2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.report.figures.style import GREY, Sheet, log_axis, panel
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, number, numbers_of, spread
from fanin.report.studies.drawing import DASHES, colours_of, draw_points, entry, own_legend
from fanin.report.studies.gradients import draw_gradients, error_slack, errors, gradient_factor
from fanin.report.studies.pairs import pairs

ENDS = 4  # layers left out at each end: the first approach the law, the last see the loss
BATCH = "probe.batch_size"
REMOVED = math.pi / (math.pi - 1)
SMALL = 8  # examples
LARGE = 64  # examples from which a batch counts as large: at 128 the factor is 1 % above the limit


class Arm(NamedTuple):
    """A normalization, where it stands, and the activation."""

    normalization: str
    placement: str
    activation: str

    @property
    def choices(self) -> dict[str, Any]:
        """What its runs have; in a linear net there is no before and behind."""
        where = {} if self.activation == "identity" else {"normalization.placement": self.placement}
        return {"normalization": self.normalization, "activation": self.activation, **where}

    @property
    def name(self) -> str:
        """In a few words."""
        where = {"identity": "linear"}.get(self.activation, "before" if self.placement == BEFORE else "behind")
        return f"{self.normalization}, {where}" + ("" if where == "linear" else " ReLU")


BEFORE, BEHIND = "pre_activation", "post_activation"
ARMS = tuple(
    Arm(normalization, placement, activation)
    for normalization in ("batch", "layer", "rms")
    for placement, activation in ((BEFORE, "relu"), (BEHIND, "relu"), (BEFORE, "identity"))
)


def law(arm: Arm, batch: float) -> float | None:
    """The factor a layer of the gradient's square; None where there is no law.

    >>> law(Arm("batch", BEFORE, "identity"), 8), law(Arm("batch", BEFORE, "relu"), 8)
    (1.2, None)
    """
    if arm.normalization == "batch":
        if arm.activation == "identity":
            return (batch - 2) / (batch - 3) if batch >= SMALL else None
        return REMOVED if batch >= LARGE else None
    return REMOVED if (arm.normalization, arm.placement, arm.activation) == ("layer", BEHIND, "relu") else 1.0


def _factors(evidence: Evidence, arm: Arm) -> list[tuple[Run, float]]:
    """The arm's runs, one of each seed and batch size, with the factor a layer of the gradient's square."""
    runs = {(str(run.seed), number(run, BATCH)): run for run in evidence.runs_with(arm.choices)}.values()
    found = [(run, gradient_factor(evidence, run, ENDS, errors)) for run in runs]
    return [(run, factor**2) for run, factor in found if factor is not None]


def _claim(evidence: Evidence, arm: Arm) -> Claim:
    limit = law(arm, math.inf)
    words = {
        ("batch", "identity"): "grows by (B - 2)/(B - 3) a layer",
        ("batch", "relu"): "grows by pi/(pi - 1) a layer where batches are large",
    }.get((arm.normalization, arm.activation), "stays" if limit == 1 else "grows by pi/(pi - 1) a layer")
    text = f"{arm.normalization} normalization, {arm.name.rpartition(', ')[2]}: the gradient's square {words}"
    judged = [(run, factor, law(arm, number(run, BATCH) or 0.0)) for run, factor in _factors(evidence, arm)]
    known = [(run, factor, expected) for run, factor, expected in judged if expected is not None]
    if not known:
        return Claim.missing(text, arm.choices)
    fourth = 2.0 if arm.activation == "relu" else 1.0
    slacks = [error_slack(run, ENDS, fourth) for run, *_ in known]
    holds = all(abs(math.log(one / law)) < slack for (_, one, law), slack in zip(known, slacks, strict=True))
    told = []
    for batch in sorted({number(run, BATCH) or 0.0 for run, *_ in known}):
        factors = [factor for run, factor, _ in known if number(run, BATCH) == batch]
        told.append(f"B={batch:g}: {spread(factors)}, {law(arm, batch):.4g} expected")
    return Claim(text, holds, f"{'; '.join(told)}; within a factor {math.exp(max(slacks)):.3g}")


def _smaller(evidence: Evidence) -> Claim:
    text = "the smaller the batch, the faster batch normalization makes gradients grow"
    sizes = sorted(size for size in evidence.values(BATCH) if isinstance(size, int))
    both = [
        (gradient_factor(evidence, one, ENDS, errors), gradient_factor(evidence, other, ENDS, errors))
        for arm in ARMS if arm.normalization == "batch" and len(sizes) > 1
        for one, other in pairs(evidence, {**arm.choices, BATCH: sizes[0]}, {**arm.choices, BATCH: sizes[-1]})
    ]  # fmt: skip
    known = [(small, large) for small, large in both if small is not None and large is not None]
    if not known:
        return Claim.missing(text, f"normalization=batch at two values of {BATCH} with one seed")
    small, large = ([factor**2 for factor in side] for side in zip(*known, strict=True))
    holds = all(one > other for one, other in zip(small, large, strict=True))
    return Claim(text, holds, f"{spread(small)} a layer at B={sizes[0]}, {spread(large)} at B={sizes[-1]}")


def gradients_figure(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """Gradients over depth with the largest batch, and the factor a layer against the batch size, ReLU and linear."""
    arms = [arm for arm in ARMS if evidence.runs_with(arm.choices)]
    sizes = sorted(size for size in evidence.values(BATCH) if isinstance(size, int))
    if not arms or not sizes:
        return None
    colours = colours_of([arm.name for arm in ARMS if arm.activation == "relu"])
    linear = (arm for arm in ARMS if arm.activation == "identity")
    colours |= {arm.name: colours[arm._replace(activation="relu").name] for arm in linear}
    made, axes = sheet.figure(1, 3, 13.2, 4.5)
    axes[0].set_yscale("log")
    for arm in arms:
        if arm.activation == "relu":
            expected = law(arm, sizes[-1])
            runs = evidence.runs_with({**arm.choices, BATCH: sizes[-1]})
            draw_gradients(
                axes[0], evidence, runs, colours[arm.name], math.sqrt(expected) if expected else None, errors
            )
    log_axis(axes[0])
    panel(axes[0], "a", f"gradient norm ‖∂L/∂z‖ with ReLU, B={sizes[-1]}", "weight layer")
    for axis, letter, activation, what in ((axes[1], "b", "relu", "ReLU"), (axes[2], "c", "identity", "linear")):
        for arm in arms:
            if arm.activation == activation:
                found = [(number(run, BATCH) or math.nan, factor) for run, factor in _factors(evidence, arm)]
                draw_points(axis, found, colours[arm.name])
        _laws(axis, activation, sizes)
        panel(axis, letter, f"factor a layer of ‖∂L/∂z‖², {what}", "batch size B")
    handles = [entry(arm.name, colours[arm.name]) for arm in arms if arm.activation == "relu"]
    handles.append(entry("theory", lw=1.1, ls=DASHES))
    own_legend(sheet, made, axes, handles)
    return made


def _laws(axes: Axes, activation: str, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes], minor=False)
    for level in (1.0, REMOVED) if activation == "relu" else (1.0,):
        axes.axhline(level, color=GREY, lw=1.1, ls=DASHES, zorder=1.8)
    if activation == "identity":
        batch = np.geomspace(max(sizes[0], SMALL), max(sizes[-1], 5), 100)
        axes.plot(batch, (batch - 2) / (batch - 3), color=GREY, lw=1.1, ls=DASHES, zorder=1.8)


class NormalizationGradientsStudy(Study):
    """What one normalized layer does to gradients, against theory."""

    caption = (
        "Gradients of the layers' outputs at initialization. A dot is one seed, a line their mean; dashed: theory. "
        "A linear net has the colour of before ReLU."
    )
    columns = (
        ("factor a layer", lambda runs: spread([one**2 for one in numbers_of(runs, "backward_factor_per_layer")])),
        column("gradient_first"),
        column("gradient_last"),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """The factor of each arm against its law, and what the batch size does."""
        yield from (_claim(evidence, arm) for arm in ARMS)
        yield _smaller(evidence)

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See gradients_figure."""
        return gradients_figure(sheet, evidence)
