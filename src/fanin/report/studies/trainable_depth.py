"""trainable_depth_study: how deep a net may be and still learn, against the depth scale of signal propagation.

Two inputs whose angle is small come apart or together by chi_perp a layer, and gradients shrink or grow by as much
(phase_study). After $xi_c = 1/|ln chi_perp|$ layers a factor e is lost, after six of them $e^6 = 400$: what the output
says of the input, and what the gradient says to the first layers, is then beyond what training finds. At the edge of
chaos xi_c is infinite, and what limits depth is the noise of finite width and the learning rate.

A net learns if its training error ends below half of that of guessing. That it does so up to 6 xi_c is Schoenholz's
finding; that none does from 10 xi_c on is from a pilot on seed 100, at the study's budget, in which all nets of up to
5.9 xi_c ended below .15 of guessing, and all from 8.4 on above .79. A larger budget moves both up, slowly. One run in
ten may be stray.

Source: Schoenholz, Gilmer, Ganguli & Sohl-Dickstein, Deep information propagation (2017), figure 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.report.figures.style import GREY, Sheet, panel
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, number, spread
from fanin.report.studies.drawing import DASHES, DOTS, draw_heat, entry, own_legend
from fanin.report.studies.pairs import MOST

DEEP, LOST = 6.0, 10.0
LEFT = 0.1  # depth scales at the left end of the figure; fewer are drawn there
ORDER, CHAOS = "order", "chaos"
GUESSING = 0.9  # error, where the runs do not tell


class Trained(NamedTuple):
    """A run that was trained.

    Attributes:
        run: itself.
        v: weight variance.
        chi: chi_perp.
        depth: weight layers.
        error: of training, as a share of that of guessing; 1 for a run that diverged.
    """

    run: Run
    v: float
    chi: float
    depth: float
    error: float

    @property
    def scales(self) -> float:
        """Depth over xi_c."""
        return self.depth * abs(math.log(self.chi))

    @property
    def learns(self) -> bool:
        """Whether the error is below half of that of guessing."""
        return self.error < 0.5


def trained(evidence: Evidence) -> list[Trained]:
    """The runs that tell where they stand and what became of them."""
    found = []
    for run in evidence.runs_with({}):
        numbers, depth = run.numbers, number(run, "model.depth")
        v, chi, error = (numbers.get(name) for name in ("point_variance", "point_chi_perp", "train_error"))
        if v is None or not chi or depth is None or (error is None and run.state != "diverged"):
            continue
        share = 1.0 if error is None or run.state == "diverged" else error / numbers.get("chance_error", GUESSING)
        found.append(Trained(run, v, chi, depth, share if math.isfinite(share) else 1.0))
    return found


def _shallow(found: Sequence[Trained]) -> Claim:
    text = f"nets of up to {DEEP:g} depth scales xi_c learn"
    judged = [one for one in found if one.scales <= DEEP]
    return _share(text, judged, learns=True)


def _deep(found: Sequence[Trained], side: str) -> Claim:
    text = f"beyond {LOST:g} xi_c no net in {side} learns"
    judged = [one for one in found if one.scales >= LOST and (one.chi < 1) is (side == ORDER)]
    return _share(text, judged, learns=False)


def _share(text: str, judged: Sequence[Trained], *, learns: bool) -> Claim:
    if not judged:
        return Claim.missing(text, "so many depth scales deep")
    count = sum(one.learns is learns for one in judged)
    errors = spread([one.error for one in judged], percent=True)
    told = f"{count} of {len(judged)} runs; training error {errors} of that of guessing"
    return Claim(text, count >= MOST * len(judged), told)


def _frontier(found: Sequence[Trained]) -> Claim:
    text = "the deepest nets learn next to the critical variance, and nowhere else"
    deepest = max((one.depth for one in found), default=0.0)
    last = [one for one in found if one.depth == deepest]
    near = min((abs(math.log(one.chi)) for one in last), default=math.inf)
    at = [one for one in last if abs(math.log(one.chi)) == near]
    ends = {min((one.v for one in last), default=0.0), max((one.v for one in last), default=0.0)}
    far = [one for one in last if one.v in ends]
    if not at or len(ends) < 2 or any(one in far for one in at):
        return Claim.missing(text, "weight variances on both sides of the critical one")
    right = [one.learns for one in at], [not one.learns for one in far]
    holds = all(sum(side) >= MOST * len(side) for side in right)
    told = (
        f"{deepest:g} layers: training error {spread([one.error for one in at], percent=True)} of that of guessing at "
        f"v={at[0].v:g}, {spread([one.error for one in far], percent=True)} at v={min(ends):g} and {max(ends):g}"
    )
    return Claim(text, holds, told)


def depth_figure(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """The training error over weight variance and depth with multiples of xi_c, and against depth in such scales."""
    found = trained(evidence)
    if not found:
        return None
    made, axes = sheet.figure(1, 2, 11.5, 4.8)
    variances, depths = sorted({one.v for one in found}), sorted({one.depth for one in found})
    values = np.full((len(depths), len(variances)), np.nan)
    for i, depth in enumerate(depths):
        for j, v in enumerate(variances):
            errors = [one.error for one in found if (one.v, one.depth) == (v, depth)]
            values[i, j] = float(np.mean(errors)) if errors else math.nan
    draw_heat(made, axes[0], variances, depths, values, "training error / that of guessing")
    _draw_scales(axes[0], found)
    for side, marker, colour in ((ORDER, "o", "#0072B2"), (CHAOS, "^", "#D55E00")):
        own = [one for one in found if (one.chi < 1) is (side == ORDER)]
        axes[1].plot(
            [max(one.scales, LEFT) for one in own], [one.error for one in own], marker, ms=4, color=colour, alpha=0.6
        )
    axes[1].set_xscale("log")
    axes[1].axhline(0.5, color=GREY, lw=0.9, ls=DOTS)
    for times in (DEEP, LOST):
        axes[1].axvline(times, color=GREY, lw=0.9, ls=DASHES)
    axes[1].set_ylim(bottom=0)
    panel(axes[0], "a", "training error", "weight variance v", "weight layers")
    panel(axes[1], "b", "training error / that of guessing", "depth / ξc")
    handles = [entry("order, χ⊥ < 1", "#0072B2", lw=0, marker="o", ms=5)]
    handles.append(entry("chaos, χ⊥ > 1", "#D55E00", lw=0, marker="^", ms=5))
    handles.append(entry(f"{DEEP:g} and {LOST:g} depth scales", lw=1.1, ls=DASHES))
    own_legend(sheet, made, axes, handles)
    return made


def _draw_scales(axes: Axes, found: Sequence[Trained]) -> None:
    """DEEP and LOST xi_c over the weight variance, interpolated in ln chi_perp between the runs' variances."""
    chis = {one.v: math.log(one.chi) for one in found}
    places = sorted(chis)
    v = np.linspace(places[0], places[-1], 400)
    logs = np.abs(np.interp(v, places, [chis[place] for place in places]))
    bottom, top = axes.get_ylim()
    with np.errstate(divide="ignore"):
        for times in (DEEP, LOST):
            axes.plot(v, np.minimum(times / logs, 10 * top), color="black", lw=1.2, ls=DASHES, zorder=4)
    axes.set_ylim(bottom, top)


class TrainableDepthStudy(Study):
    """How deep a net may be and still learn, against the depth scale of theory."""

    caption = (
        "a: training error, as a share of that of guessing, mean over seeds; dashed: multiples of the depth scale "
        "ξc = 1/|ln χ⊥|. b: each run against its depth in such scales."
    )
    columns = (
        column("point_chi_perp"),
        column("train_error"),
        column("gradient_first"),
        column("gradient_last"),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """What learns within a few depth scales, what does not beyond many, and where the deepest nets learn."""
        found = trained(evidence)
        yield _shallow(found)
        yield from (_deep(found, side) for side in (ORDER, CHAOS))
        yield _frontier(found)

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See depth_figure."""
        return depth_figure(sheet, evidence)
