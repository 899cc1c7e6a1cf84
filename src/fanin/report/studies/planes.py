"""landscape_study: the plane around trained weights, with and without skip connections and normalization.

Two random directions, each filter as long as that of the weights, span a plane on which networks can be compared: relu
and normalization make the scale of a layer void, and such directions do not see it. In a deep net without normalization
the loss explodes beside its weights; with batch normalization (statistics estimated anew at each point) it stays near
that of guessing; and only with skip connections as well there is one wide basin; without them there are many dents.
Without them the normalized net hardly trains at all (a training error of 80 % at seed 10): its dents are those around
weights that have not come far, not around a minimum.

The bounds are from pilots at two other seeds (10 and 11): largest losses above 1.5e6 without and below 4.5 with
normalization; shares of the plane below chance of 0.31 to 0.34 with both and at most 0.036 with less; 6 and 7 dents
with normalization alone and 1 with both.

Source: Li, Xu, Taylor, Studer & Goldstein 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from fanin.record.landscape_files import Asked, Landscape
from fanin.report.figures.landscape import plane_panel
from fanin.report.figures.style import Sheet, panel
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, spread

POINTS, EXAMPLES = 15, 300
ROUGH = 1000.0
"""How many times larger, at least, the largest loss of the plane is without normalization."""
WIDER = 3.0
"""How many times larger, at least, the part below chance is with skip connections and normalization."""


class Arm(NamedTuple):
    """A model and its normalization."""

    model: str
    normalization: str

    @property
    def name(self) -> str:
        """In words."""
        skips = {"mlp": "without skips", "residual_mlp": "skip connections"}.get(self.model, self.model)
        return f"{skips}, {'no' if self.normalization == 'none' else self.normalization} normalization"


PLAIN, SKIPS = Arm("mlp", "none"), Arm("residual_mlp", "none")
NORMALIZED, BOTH = Arm("mlp", "batch"), Arm("residual_mlp", "batch")


def asked_of(run: Run) -> Asked:
    """The plane around a run."""
    return Asked(runs=(str(run.folder),), points=POINTS, examples=EXAMPLES)


def planes_of(evidence: Evidence, *arms: Arm) -> list[Landscape]:
    """Those of some arms that are there, whatever their seeds."""
    runs = [run for arm in arms for run in evidence.runs_with(arm._asdict())]
    return [found for run in runs if (found := evidence.landscape(asked_of(run))) is not None]


def share_below_chance(evidence: Evidence, found: Landscape) -> float:
    """The share of the plane with a loss below ln K."""
    classes = next((run.classes for run in evidence.runs if run.classes), None) or 10
    return float((found.loss < math.log(classes)).mean())


def dents(found: Landscape) -> int:
    """Points of the grid that are lower than all eight neighbours.

    >>> import numpy as np
    >>> loss = np.array([[3.0, 3, 3, 3], [3, 1, 2, 3], [3, 2, 2, 3], [3, 3, 3, 3]])
    >>> dents(Landscape(np.arange(4.0), np.arange(4.0), loss, loss))
    1
    """
    loss = np.where(np.isfinite(found.loss), found.loss, np.inf)
    rows, columns = loss.shape
    inner = loss[1:-1, 1:-1]
    around = [
        loss[1 + down : rows - 1 + down, 1 + right : columns - 1 + right]
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
        if down or right
    ]
    return int(np.all([inner < other for other in around], axis=0).sum())


def _bounded(evidence: Evidence) -> Claim:
    text = "beside the weights the loss explodes without normalization, and with it it does not"
    without, within = planes_of(evidence, PLAIN, SKIPS), planes_of(evidence, NORMALIZED, BOTH)
    if not without or not within:
        return Claim.missing(text, {"normalization": "none"}, {"normalization": "batch"})
    high, low = ([float(np.nanmax(one.loss)) for one in some] for some in (without, within))
    return Claim(text, min(high) > ROUGH * max(low), f"at most {spread(high)} without, {spread(low)} with")


def _wide(evidence: Evidence) -> Claim:
    text = "skip connections and normalization together leave the widest basin"
    both, others = planes_of(evidence, BOTH), planes_of(evidence, PLAIN, SKIPS, NORMALIZED)
    if not both or not others:
        return Claim.missing(text, BOTH._asdict(), "the others")
    wide, narrow = ([share_below_chance(evidence, one) for one in some] for some in (both, others))
    told = f"{spread(wide, percent=True)} of the plane below chance, {spread(narrow, percent=True)} with less"
    return Claim(text, min(wide) > WIDER * max(narrow), told)


def _dented(evidence: Evidence) -> Claim:
    text = "a normalized net without skip connections has many dents, one with them has one"
    plain, both = planes_of(evidence, NORMALIZED), planes_of(evidence, BOTH)
    if not plain or not both:
        return Claim.missing(text, NORMALIZED._asdict(), BOTH._asdict())
    many, one = ([dents(found) for found in some] for some in (plain, both))
    return Claim(text, min(many) > 1 and max(one) == 1, f"{spread(many)} and {spread(one)}")


class PlanesStudy(Study):
    """The plane around trained weights, with and without skip connections and normalization."""

    caption = "The plane around the weights of the first seed, in random directions normalized by filters."
    columns = (column("train_loss"), column("test_error"))
    profiles = False

    def landscapes(self, runs: Sequence[Run]) -> Iterable[Asked]:
        """The plane around every run."""
        return [asked_of(run) for run in runs]

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """How high the loss is, how wide the basin, how many dents there are."""
        yield from (claim(evidence) for claim in (_bounded, _wide, _dented))

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """The plane of the first seed of every arm."""
        arms = [arm for arm in (PLAIN, SKIPS, NORMALIZED, BOTH) if planes_of(evidence, arm)]
        there = {arm: planes_of(evidence, arm)[0] for arm in arms}
        if not there:
            return None
        rows = (len(there) + 1) // 2
        made, axes = sheet.figure(rows, min(len(there), 2), 8.4, 3.2 * rows)
        for place, letter, (arm, found) in zip(axes, "abcd", there.items(), strict=False):
            plane_panel(made, place, found)
            panel(place, letter, arm.name, "")
        return made
