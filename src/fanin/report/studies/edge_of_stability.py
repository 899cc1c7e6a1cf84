"""edge_of_stability_study: full-batch gradient descent goes where it is just stable, and stays there.

On a quadratic a step a is stable up to the curvature 2/a, and with heavy-ball momentum beta up to $(2 + 2 beta)/a$: the
root of $z^2 - (1 + beta - a l) z + beta = 0$ that reaches -1. A net's sharpness, the largest eigenvalue of its Hessian,
rises in training until it comes to that line, and then stays at it, while the loss goes on falling; the noise of small
batches keeps it below. The squared loss shows it best: with cross-entropy the curvature fades as the net grows sure.

The bounds are from a pilot at two other seeds (10 and 11) and rates of 0.1 to 0.3: late in the runs that had come to
the line the mean sharpness was within 3 % of it and no look further away than 7 %; with batches of 8 it was 0.4 to 0.67
of the line. A run that is still below the line and rising is on its way, and counts neither for nor against.

Source: Cohen, Kaur, Li, Kolter & Talwalkar 2021; Jastrzebski et al. 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.record.overrides import display
from fanin.report.figures.style import Sheet, panel
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats
from fanin.report.studies.base import Claim, Evidence, Study, column, number, spread
from fanin.report.studies.drawing import DASHES, colours_of, draw_curves, entry, own_legend

NEAR = 0.05
"""How far the mean of the last quarter may lie from the line, relative."""
EACH = 0.15
"""How far each look of it may."""
RISING = 0.01
"""How much larger the last quarter is than the one before where sharpness still rises."""
BELOW = 0.8
"""The most of 2/lr that small batches leave."""
RATE = "optimizer.lr"
NAMES = {"gd": "gradient descent", "momentum": "momentum", "sgd": "sgd"}


class Path(NamedTuple):
    """A run's sharpness over its steps, in units of the largest curvature at which its steps are stable.

    Attributes:
        run: the run.
        line: 2/a, with momentum (2 + 2 beta)/a.
        steps: of the looks, [S].
        share: sharpness / line, [S].
    """

    run: Run
    line: float
    steps: Floats
    share: Floats

    @property
    def late(self) -> Floats:
        """The last quarter."""
        found: Floats = self.share[self.steps >= 0.75 * self.steps[-1]]
        return found

    @property
    def from_below(self) -> bool:
        """Whether training starts below the line."""
        return bool(self.share[0] < 1 - NEAR)

    @property
    def on_its_way(self) -> bool:
        """Whether it has never come to the line, and still rises."""
        third = self.share[(self.steps >= 0.5 * self.steps[-1]) & (self.steps < 0.75 * self.steps[-1])]
        return bool((self.share < 1 - NEAR).all() and self.late.mean() > (1 + RISING) * third.mean())

    @property
    def stays(self) -> bool:
        """Whether the last quarter lies at the line."""
        return bool(abs(self.late.mean() - 1) <= NEAR and (np.abs(self.late - 1) <= EACH).all())


def stable_up_to(run: Run, optimizer: str) -> float | None:
    """The largest curvature at which the run's steps are stable on a quadratic; None without a rate."""
    rate = number(run, RATE)
    beta = number(run, "optimizer.momentum") if optimizer == "momentum" else 0.0
    return (2 + 2 * beta) / rate if rate and beta is not None else None


def paths(evidence: Evidence, optimizer: str) -> list[Path]:
    """Those of the finished runs of an optimizer whose sharpness was looked at."""
    found = []
    for run in evidence.runs_with({"optimizer": optimizer}):
        line, (steps, values) = stable_up_to(run, optimizer), evidence.look(run, "sharpness")
        if line is not None and run.state == "done" and len(steps) >= 8:
            found.append(Path(run, line, steps, values / line))
    return found


def _at_the_line(evidence: Evidence, optimizer: str) -> Claim:
    at = "2/lr" if optimizer == "gd" else "(2 + 2 beta)/lr"
    text = f"{NAMES[optimizer]}: sharpness comes to {at}, from below or from above, and stays there"
    found = paths(evidence, optimizer)
    arrived = [path for path in found if not path.on_its_way]
    if not arrived:
        return Claim.missing(text, {"optimizer": optimizer})
    told = f"{spread([float(path.late.mean()) for path in arrived])} of it over the last quarter"
    return Claim(text, all(path.stays for path in arrived), f"{told}; {len(arrived)} of {len(found)} runs have arrived")


def _rises(evidence: Evidence) -> Claim:
    """Progressive sharpening, of the runs that start below their line: one at least has to have arrived."""
    text = "where training starts below the line of full-batch steps, sharpness rises to it"
    found = [path for optimizer in ("gd", "momentum") for path in paths(evidence, optimizer) if path.from_below]
    if not found:
        return Claim.missing(text, "a rate at which training starts below the line")
    arrived = [path for path in found if not path.on_its_way]
    told = f"from {spread([float(path.share.min()) for path in found])} of it"
    told += (
        f" to {spread([float(path.late.mean()) for path in found])}, {len(arrived)} of {len(found)} runs have arrived"
    )
    return Claim(text, bool(arrived) and all(path.stays for path in arrived), told)


def _below(evidence: Evidence) -> Claim:
    text = "small batches keep sharpness below 2/lr"
    found = paths(evidence, "sgd")
    if not found:
        return Claim.missing(text, {"optimizer": "sgd"})
    highest = [float(path.late.max()) for path in found]
    return Claim(text, max(highest) <= BELOW, f"at most {spread(highest)} of it over the last quarter")


def _lower_at_larger(evidence: Evidence) -> Claim:
    text = "the larger the rate, the lower the sharpness that training ends with"
    ends: dict[tuple[str, object], dict[float, float]] = {}
    for optimizer in NAMES:
        for path in paths(evidence, optimizer):
            rate = number(path.run, RATE) or 0.0
            ends.setdefault((optimizer, path.run.seed), {})[rate] = float(path.late.mean()) * path.line
    several = [[one[rate] for rate in sorted(one)] for one in ends.values() if len(one) > 1]
    if not several:
        return Claim.missing(text, "two rates")
    ratios = [after / before for one in several for before, after in pairwise(one)]
    return Claim(text, max(ratios) < 1, f"{spread(ratios)} of it at the next larger rate, {len(ratios)} pairs")


def _draw(axes: Axes, found: Sequence[Path], colours: dict[float, str]) -> None:
    """Sharpness over steps, a line for each run, and the dashed ones that they go to."""
    for path in found:
        colour = colours[number(path.run, RATE) or 0.0]
        axes.plot(path.steps, path.share * path.line, color=colour, lw=1.0, alpha=0.8)
        axes.axhline(path.line, color=colour, lw=1.1, ls=DASHES, zorder=1.9)


class EdgeOfStabilityStudy(Study):
    """Full-batch gradient descent at the edge of stability."""

    caption = (
        "a to c: the largest eigenvalue of the Hessian, one line for each run; dashed: the largest curvature at which "
        "full-batch steps are stable, 2/lr, with momentum (2 + 2β)/lr. d: the training loss of gradient descent."
    )
    columns = (column("train_loss"), column("test_error"))
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """Where gradient descent and momentum end, and from where; what small batches and the rate do."""
        yield from (_at_the_line(evidence, optimizer) for optimizer in ("gd", "momentum"))
        yield from (claim(evidence) for claim in (_rises, _below, _lower_at_larger))

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """Sharpness over steps of each optimizer with its line, and the loss of gradient descent."""
        there = {optimizer: found for optimizer in NAMES if (found := paths(evidence, optimizer))}
        if not there:
            return None
        rates = sorted({number(path.run, RATE) or 0.0 for found in there.values() for path in found})
        colours = colours_of(rates)
        made, axes = sheet.figure(1, len(there) + 1, 3.4 * (len(there) + 1), 3.8)
        for place, letter, (optimizer, found) in zip(axes, "abc", there.items(), strict=False):
            _draw(place, found, colours)
            place.set_ylim(bottom=0)
            panel(place, letter, f"sharpness, {NAMES[optimizer]}", "step")
        first = next(iter(there))
        for rate in rates:
            runs = [path.run for path in there[first] if number(path.run, RATE) == rate]
            draw_curves(axes[-1], evidence, runs, "batch_loss", colours[rate])
        axes[-1].set_yscale("log")
        panel(axes[-1], "abcd"[len(there)], f"training loss, {NAMES[first]}", "step")
        handles = [entry(f"lr {display(rate)}", colour) for rate, colour in colours.items()]
        own_legend(sheet, made, axes, [*handles, entry("stable up to here", lw=1.1, ls=DASHES)])
        return made
