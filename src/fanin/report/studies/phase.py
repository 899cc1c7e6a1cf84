"""phase_study: where gradients shrink, stay and grow with depth, over weight and bias variances.

At infinite width the lengths of a chain with weights of variance $v/n$ and biases of variance s settle at a fixed point
q*, and from then on each layer multiplies the squared gradient of one example by $chi_perp = v E phi'(sqrt(q*) g)^2$:
below 1 is order, where gradients vanish, above it chaos, where they explode, and the line between them is where deep
networks train. Every run's result.json has its chi_perp and the critical variance, whatever its activation.

At width n the logarithm of a layer's factor for one example has mean $ln chi_perp - k/(2n)$ and variance $k/n$, with k
= point_spread; a batch of examples varies less, and its mean lies between that and $ln chi_perp$. A mean over layers
and seeds is held to four standard deviations beyond these two. Layers in which lengths still settle are left out; where
they settle slowly (chi_par near 1 or above) only the picture is drawn.

Source: Poole et al. 2016; Schoenholz, Gilmer, Ganguli & Sohl-Dickstein, Deep information propagation (2017).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.record.overrides import display
from fanin.report.figures.style import GREY, Sheet, log_axis, panel
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, number, spread
from fanin.report.studies.drawing import DASHES, colours_of, draw_heat, draw_points, entry, own_legend
from fanin.report.studies.gradients import errors

FIRST, LAST = 9, 2  # layers left out before and behind
SETTLED = 0.1  # what is left of a change of the length after the layers left out
SIGMAS = 4
SEEN = 0.02  # ln of a factor below which order and chaos are one


class Cell(NamedTuple):
    """The runs of one weight and bias variance.

    Attributes:
        v, s: weight and bias variance.
        chi: chi_perp.
        shift: k/(2n), by how much the mean of ln of a layer's factor for one example lies below ln chi_perp.
        slack: how far the mean over these runs may stray beyond; None where lengths do not settle in time.
        logs: ln of the factor of each run.
        critical: the critical weight variance at s, None where there is none.
    """

    v: float
    s: float
    chi: float
    shift: float
    slack: float | None
    logs: list[float]
    critical: float | None

    @property
    def mean(self) -> float:
        """Of the logarithms."""
        return sum(self.logs) / len(self.logs)

    @property
    def stray(self) -> float:
        """How far the mean lies from where theory has it, above or below; 0 in between."""
        gap = self.mean - math.log(self.chi)
        return max(gap, 0.0) + min(gap + self.shift, 0.0)


def log_factor(evidence: Evidence, run: Run) -> float | None:
    """Mean over layers of ln of what one does to the squared gradient of its output; None without enough of them."""
    norms = errors(evidence, run)[FIRST : -LAST or None]
    if len(norms) < 2 or not np.isfinite(norms).all() or not (norms > 0).all():
        return None
    return 2 * math.log(norms[0] / norms[-1]) / (len(norms) - 1)


def cells(evidence: Evidence) -> list[Cell]:
    """The cells of the grid whose runs tell where they stand."""
    found: dict[tuple[float, float], list[Run]] = {}
    for run in evidence.runs_with({}):
        place = [run.numbers.get(name) for name in ("point_variance", "point_bias_variance")]
        if place[0] is not None and place[1] is not None:
            found.setdefault((place[0], place[1]), []).append(run)
    return [cell for (v, s), runs in sorted(found.items()) if (cell := _cell(evidence, v, s, runs)) is not None]


def _cell(evidence: Evidence, v: float, s: float, runs: Sequence[Run]) -> Cell | None:
    numbers = runs[0].numbers
    width, depth = number(runs[0], "model.width"), number(runs[0], "model.depth")
    chi, k = numbers.get("point_chi_perp"), numbers.get("point_spread")
    logs = [one for one in (log_factor(evidence, run) for run in runs) if one is not None]
    if not logs or not chi or k is None or width is None or depth is None:
        return None
    settles = abs(numbers.get("point_chi_par", math.inf)) ** FIRST < SETTLED
    slack = SIGMAS * math.sqrt(k / width / (depth - FIRST - LAST - 1) / len(logs))
    return Cell(v, s, chi, k / (2 * width), slack if settles else None, logs, numbers.get("critical_variance"))


def _sides(found: Sequence[Cell]) -> Claim:
    text = "gradients shrink towards the input where chi_perp < 1, and grow where it is > 1"
    judged = [cell for cell in found if cell.slack is not None and abs(math.log(cell.chi)) > max(cell.slack, SEEN)]
    sides = {side: [cell for cell in judged if (cell.chi > 1) is side] for side in (False, True)}
    if not all(sides.values()):
        return Claim.missing(text, "settled lengths on both sides of chi_perp = 1")
    wrong = [cell for cell in judged if (cell.mean > 0) != (cell.chi > 1)]
    told = "; ".join(
        f"factor a layer {spread([math.exp(cell.mean) for cell in some])} {where} 1"
        for where, some in (("below", sides[False]), ("above", sides[True]))
    )
    return Claim(text, not wrong, f"{told}; wrong in {len(wrong)} of {len(judged)} cells")


def _law(found: Sequence[Cell]) -> Claim:
    text = "each layer multiplies the squared gradient by chi_perp, a little less at this width"
    judged = [(cell, cell.slack) for cell in found if cell.slack is not None]
    if not judged:
        return Claim.missing(text, "chains whose lengths settle within the layers left out")
    strays = [abs(cell.stray) / slack for cell, slack in judged]
    apart = [cell.mean - math.log(cell.chi) for cell, _ in judged]
    told = f"ln factor - ln chi_perp {spread(apart, 2)} over {len(judged)} cells; {max(strays):.2g} of what is allowed"
    return Claim(text, max(strays) < 1, told)


def _line(found: Sequence[Cell]) -> Claim:
    """Where the measured factor passes 1, between the variances of a row, and where theory has it."""
    text = "at each bias variance gradients keep their norm at the critical weight variance"
    told, right = [], []
    for s in sorted({cell.s for cell in found}):
        row = [cell for cell in found if cell.s == s]
        passed = [(one, two) for one, two in pairwise(row) if one.mean < 0 <= two.mean]
        critical = row[0].critical
        if critical is None or len(passed) != 1 or passed[0][0].slack is None or passed[0][1].slack is None:
            continue
        one, two = passed[0]
        measured = _crossing(one.v, one.mean, two.v, two.mean)
        straight = _crossing(one.v, math.log(one.chi), two.v, math.log(two.chi))
        slope = (math.log(two.chi) - math.log(one.chi)) / (two.v - one.v)
        slack = max(one.slack or 0.0, two.slack or 0.0) + max(one.shift, two.shift)
        allowed = slack / slope + abs(straight - critical)
        right.append(abs(measured - critical) < allowed)
        told.append(f"s={s:g}: {measured:.3g}, {critical:.4g} ± {allowed:.2g} expected")
    if not told:
        return Claim.missing(text, "a bias variance with weight variances on both sides of the critical one")
    return Claim(text, all(right), "; ".join(told))


def _crossing(x: float, y: float, other: float, z: float) -> float:
    """Where the line through (x, y) and (other, z) is 0."""
    return x - y * (other - x) / (z - y)


def phase_figure(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """The measured factor over both variances with the critical line, over v for each s, and against chi_perp."""
    found = cells(evidence)
    if not found:
        return None
    made, axes = sheet.figure(1, 3, 13.2, 4.5)
    _draw_map(made, axes[0], found)
    biases = sorted({cell.s for cell in found})
    colours = colours_of(biases)
    for axis in axes[1:]:
        axis.set_yscale("log")
    for s in biases:
        row = [cell for cell in found if cell.s == s]
        draw_points(axes[1], [(cell.v, math.exp(one)) for cell in row for one in cell.logs], colours[s], ls="")
        axes[1].plot([cell.v for cell in row], [cell.chi for cell in row], color=colours[s], lw=1.1, ls=DASHES)
        for cell in row:
            shape = "o" if cell.slack is not None else "x"
            axes[2].plot(cell.chi, math.exp(cell.mean), shape, color=colours[s], ms=4.5)
    chis = [min(cell.chi for cell in found), max(cell.chi for cell in found)]
    axes[2].plot(chis, chis, color=GREY, lw=1.1, ls=DASHES, zorder=1.8)
    axes[2].set_xscale("log")
    for axis in axes[1:]:
        axis.axhline(1, color=GREY, lw=0.7, zorder=1.5)
        log_axis(axis)
    _few_ticks(axes[2])
    panel(axes[0], "a", "measured factor a layer of ‖∂L/∂z‖²", "weight variance v", "bias variance s")
    panel(axes[1], "b", "factor a layer, and χ⊥", "weight variance v")
    panel(axes[2], "c", "factor a layer against χ⊥", "χ⊥ = v E φ′²")
    handles = [entry(f"s={display(s)}", colours[s], lw=0, marker="o", ms=4.5) for s in biases]
    if any(cell.slack is None for cell in found):
        handles.append(entry("lengths settle slowly", lw=0, marker="x", ms=5))
    handles.append(entry("theory", lw=1.1, ls=DASHES))
    own_legend(sheet, made, axes, handles)
    return made


def _few_ticks(axes: Axes) -> None:
    axes.xaxis.set_major_locator(axes.yaxis.get_major_locator().__class__())
    axes.xaxis.set_major_formatter(axes.yaxis.get_major_formatter())
    axes.xaxis.set_minor_formatter(axes.yaxis.get_minor_formatter())


def _draw_map(made: Figure, axes: Axes, found: Sequence[Cell]) -> None:
    variances, biases = sorted({cell.v for cell in found}), sorted({cell.s for cell in found})
    values = np.full((len(biases), len(variances)), np.nan)
    for cell in found:
        values[biases.index(cell.s), variances.index(cell.v)] = math.exp(cell.mean)
    draw_heat(made, axes, variances, biases, values, "factor", middle=1.0)
    line = sorted({(cell.s, cell.critical) for cell in found if cell.critical is not None})
    inside = [(v, s) for s, v in line if variances[0] <= v <= variances[-1]]
    if inside:
        axes.plot(
            *zip(*inside, strict=True), color="black", marker="o", ms=3.5, lw=1.5, label="theory: χ⊥ = 1", zorder=4
        )
        axes.legend(loc="upper left", framealpha=0.9)


class PhaseStudy(Study):
    """Order and chaos over weight and bias variances: gradients against chi_perp."""

    caption = (
        "What a layer does to the squared gradient of its output, at initialization. a: mean over seeds, with the line "
        "on which theory has 1; b: a dot is one seed, dashed is χ⊥; c: means over seeds."
    )
    columns = (
        column("point_chi_perp"),
        column("critical_variance", 4),
        column("gradient_first"),
        column("gradient_last"),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """The sides of the critical line, the factor itself, and where it is 1."""
        found = cells(evidence)
        yield from (_sides(found), _law(found), _line(found))

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See phase_figure."""
        return phase_figure(sheet, evidence)
