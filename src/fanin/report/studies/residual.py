"""residual_study: what the scale of branches, fixup and normalization do to 50 residual blocks.

A block $h + a F(h)$, whose branch F has m ReLU layers with weights of variance v/n, multiplies mean squares by $1 + a^2
(v/2)^m$, forwards and backwards: with v = 2 by 2 for a = 1, so that 50 blocks make 2^50 = 1e15 of it, and by $1 + 1/L$
for $a = 1/sqrt(L)$, so that L of them make e. Fixup starts every branch at 0: no growth at all. A normalization at the
head of each layer in the branch gives F a variance of its own, 1 for v = 2, whatever comes in: mean squares then grow
by a^2 a block, along a line and not a power, and no branch scale is needed to train.

Growth varies with the draw. With p the branch's share of a block's square, $ln ||h||^2$ varies by $(10 p^2 + 4 p (1 -
p))/n$ a block: 5/n a ReLU layer, two of them in a branch, and the product of h and F. Growth is held to four standard
deviations of the sum, and its mean to half the variance below the law.

Source: He, Zhang, Ren & Sun 2016; Zhang, Dauphin & Ma 2019 (fixup); Hanin & Rolnick 2018; De & Smith 2020.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.record.overrides import display
from fanin.report.figures.lines import draw_profile, mark_diverged, mark_handles
from fanin.report.figures.steps import diverged_at
from fanin.report.figures.style import Sheet, darker, log_axis, panel
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats
from fanin.report.studies.base import Claim, Evidence, Study, column, number, spread
from fanin.report.studies.drawing import DASHES, chance_level, colours_of, draw_chance, draw_curves, entry, own_legend

SIGMAS = 4
TRAINED = 0.5  # of the error of guessing
GUESSING = 0.9


class Arm(NamedTuple):
    """An initializer, the scale of the branches, and whether they are normalized."""

    initializer: str
    scale: float | str
    normalization: str

    @property
    def choices(self) -> dict[str, Any]:
        """What its runs have."""
        return {"initializer": self.initializer, "model.scale": self.scale, "normalization": self.normalization}

    @property
    def name(self) -> str:
        """In a few words."""
        how = (
            "fixup"
            if self.initializer == "fixup"
            else "a = 1/√L"
            if self.scale == "depth"
            else f"a = {display(self.scale)}"
        )
        return how + ("" if self.normalization == "none" else f", {self.normalization}")


def arms(evidence: Evidence) -> list[Arm]:
    """Those that have runs; fixup scales its branches itself, and is of a = 1."""
    options = (evidence.values(key) for key in ("initializer", "model.scale", "normalization"))
    initializers, scales, normalizations = options
    every = [Arm(one, scale, norm) for norm in normalizations for one in initializers for scale in scales]
    own = [arm for arm in every if arm.initializer != "fixup" or arm.scale == 1]
    return [arm for arm in own if evidence.runs_with(arm.choices)]


class Blocks(NamedTuple):
    """The shape of a run's residual stream.

    Attributes:
        blocks: L.
        layers: m, weight layers in a branch.
        a: factor of the branches.
        width: n.
    """

    blocks: int
    layers: int
    a: float
    width: float


def blocks(run: Run) -> Blocks | None:
    """Those of a run, None where its configuration does not tell."""
    depth, layers, width = (number(run, f"model.{key}") for key in ("depth", "layers_per_branch", "width"))
    if depth is None or width is None:
        return None
    m = int(layers or 2)
    count = (int(depth) - 2) // m
    scale = run.value("model.scale")
    a = 1 / math.sqrt(count) if scale == "depth" else float(scale)
    return Blocks(count, m, a, width) if count > 0 else None


def stream(evidence: Evidence, run: Run) -> Floats:
    """||h_l||^2 at init for l = 0..L, [L + 1]; empty where the profile is not that of residual blocks.

    Modules are the input, the first layer, each block's (what stands before a layer and the layer, m times, and the
    sum), what stands before the last layer, and that.
    """
    norms, shape = evidence.profile(run, "init", "module", "activation_norm"), blocks(run)
    if shape is None or not len(norms):
        return norms[:0]
    m, count = shape.layers, shape.blocks
    before, rest = divmod(len(norms) - 3 - count * (m + 1), count * m + 1)
    if rest or before < 1:
        return norms[:0]
    return np.asarray(norms[1 :: m * (before + 1) + 1][: count + 1] ** 2)


def law(arm: Arm, shape: Blocks, first: float) -> Floats | None:
    """||h_l||^2/||h_0||^2 for l = 0..L; None where there is no law.

    Args:
        arm: whose law.
        shape: of its stream.
        first: mean square of the entries of h_0.
    """
    blocks = np.arange(shape.blocks + 1)
    if arm.initializer == "fixup":
        return np.ones(shape.blocks + 1)
    if arm.normalization == "none":
        return np.asarray((1 + shape.a**2) ** blocks)
    return np.asarray(1 + shape.a**2 * blocks / first) if arm.normalization in ("layer", "rms", "batch") else None


def slack(grown: Floats, width: float) -> tuple[float, float]:
    """How far ln of the growth may lie above and below the law's: standard deviations, and half the variance."""
    share = 1 - grown[:-1] / grown[1:]
    variance = float((10 * share**2 + 4 * share * (1 - share)).sum()) / width
    return SIGMAS * math.sqrt(variance), SIGMAS * math.sqrt(variance) + variance / 2


def _expected(evidence: Evidence, arm: Arm, run: Run) -> Floats | None:
    shape, squares, inputs = blocks(run), stream(evidence, run), number(run, "probe.batch_size") or 100.0
    return None if shape is None or not len(squares) else law(arm, shape, float(squares[0]) / inputs / shape.width)


def _grows(evidence: Evidence, arm: Arm) -> Claim:
    words = {"fixup": "nothing grows", "none": "each block multiplies mean squares by 1 + a^2"}
    what = words.get("fixup" if arm.initializer == "fixup" else arm.normalization, "mean squares grow along a line")
    text = f"{arm.name}: {what}"
    found = [(run, stream(evidence, run), _expected(evidence, arm, run)) for run in evidence.runs_with(arm.choices)]
    judged = [(run, squares, grown) for run, squares, grown in found if grown is not None]
    if not judged:
        return Claim.missing(text, arm.choices)
    holds = True
    for run, squares, grown in judged:
        gap = math.log(squares[-1] / squares[0]) - math.log(grown[-1]) if np.isfinite(squares).all() else math.inf
        above, below = slack(grown, number(run, "model.width") or math.inf)
        holds = holds and -below - 1e-4 <= gap <= above + 1e-4
    growth = spread([float(squares[-1] / squares[0]) for _, squares, _ in judged])
    return Claim(text, holds, f"growth of the square over all blocks {growth}, {judged[0][2][-1]:.3g} expected")


def _errors(evidence: Evidence, arm: Arm) -> list[float]:
    """Training error over that of guessing, 1 for runs that diverged."""
    found = []
    for run in evidence.runs_with(arm.choices):
        error = run.numbers.get("train_error")
        share = math.nan if error is None else error / run.numbers.get("chance_error", GUESSING)
        found.append(share if run.state == "done" and math.isfinite(share) else 1.0)
    return found


def _trains(evidence: Evidence, arm: Arm, *, trains: bool) -> Claim:
    text = f"{arm.name}: the net {'trains' if trains else 'does not train'}"
    errors = _errors(evidence, arm)
    if not errors:
        return Claim.missing(text, arm.choices)
    told = f"training error {spread(errors, percent=True)} of that of guessing"
    return Claim(text, all((error < TRAINED) is trains for error in errors), told)


def residual_figure(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """Squares over blocks at init with their laws, and the training loss."""
    found = arms(evidence)
    if not found:
        return None
    colours = colours_of(found)
    made, axes = sheet.figure(1, 2, 11.5, 4.6)
    axes[0].set_yscale("log")
    draw_chance(axes[1], evidence)
    chance = chance_level(evidence)
    top = 1.5 * chance[1] if chance else 3.5
    for arm in found:
        runs = evidence.runs_with(arm.choices)
        _draw_stream(axes[0], evidence, arm, colours[arm])
        draw_curves(axes[1], evidence, runs, "batch_loss", colours[arm])
        mark_diverged(axes[1], diverged_at(runs, range(len(runs))), 0.975 * top, colours[arm])
    log_axis(axes[0])
    axes[1].set_ylim(0, top)
    axes[1].set_xlim(left=0)
    panel(axes[0], "a", "‖h‖²/‖h₀‖² at initialization", "residual stream, h₀ to the last block")
    panel(axes[1], "b", "training loss", "step")
    handles = [entry(arm.name, colours[arm]) for arm in found]
    handles.append(entry("theory", lw=1.1, ls=DASHES))
    own_legend(sheet, made, axes, [*handles, *mark_handles(axes)])
    return made


def _draw_stream(axes: Axes, evidence: Evidence, arm: Arm, colour: str) -> None:
    runs = [run for run in evidence.runs_with(arm.choices) if len(stream(evidence, run))]
    rows = [squares / squares[0] for squares in (stream(evidence, run) for run in runs)]
    if not rows or len({len(row) for row in rows}) > 1:
        return
    draw_profile(axes, np.array(rows), np.array([len(row) for row in rows]), colour, seeds=len(rows), log=True)
    grown = _expected(evidence, arm, runs[0])
    if grown is not None:
        axes.plot(np.arange(1, len(grown) + 1), grown, ls=DASHES, color=darker(colour), lw=0.9, zorder=3.5)


class ResidualStudy(Study):
    """What the scale of branches, fixup and normalization do to deep residual nets."""

    caption = (
        "a: squares of the residual stream at initialization, thin: one seed, thick: their mean, dashed: theory. b: "
        "the training loss; a cross: runs that diverged."
    )
    columns = (
        column("gradient_first"),
        column("gradient_last"),
        column("train_loss"),
        column("train_error"),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """How each arm grows, and which train."""
        plain, scaled = (Arm("variance_scaling", scale, "none") for scale in (1, "depth"))
        fixup, normalized = Arm("fixup", 1, "none"), Arm("variance_scaling", 1, "layer")
        yield from (_grows(evidence, arm) for arm in (plain, scaled, fixup, normalized))
        yield _trains(evidence, plain, trains=False)
        yield from (_trains(evidence, arm, trains=True) for arm in (scaled, fixup, normalized))

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See residual_figure."""
        return residual_figure(sheet, evidence)
