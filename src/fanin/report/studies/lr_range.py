"""lr_range: the learning-rate range test, and the interval of rates that it suggests.

The rate rises by equal factors from far too low to far too high in one run. Of each recipe the logarithms of the loss
are averaged over seeds and smoothed over a twentieth of the run; a seed whose loss is not finite any more ends the
mean. The suggested interval goes from the rate at which a tenth of the whole fall is done to half of the rate at which
the loss is smallest: beyond that one it rises again.

Source: Smith, Cyclical learning rates for training neural networks (2017), section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from fanin.report.figures.style import Sheet, log_axis, panel
from fanin.report.read.folders import Run
from fanin.report.read.series import Floats
from fanin.report.studies.base import Claim, Column, Evidence, Study

BEGUN = 0.1
"""The share of the whole fall, in the logarithm, at which the interval begins."""

SMOOTH = 20
"""A mean over one in so many of the steps."""

RISEN = math.log(1.5)
"""A loss that has risen so far above its smallest, or is not finite, has passed the largest rate that works."""

NEAR = 3.0
"""Factor within which the seeds' own ends of the interval are to lie."""

COVERED = "the loss falls and rises again within the range"
SAME = f"every seed alone ends the interval within a factor {NEAR:g} of their mean"


class Course(NamedTuple):
    """Rates, the smoothed mean of ln loss at each, where its fall begins, and where it is smallest."""

    rates: Floats
    logs: Floats
    begun: int
    smallest: int
    broke: bool

    @property
    def interval(self) -> tuple[float, float]:
        """The rates that are suggested."""
        high = float(self.rates[self.smallest]) / 2
        return min(float(self.rates[self.begun]), high), high


def course(evidence: Evidence, runs: Sequence[Run]) -> Course | None:
    """The course of some runs of one recipe; None where they have too few steps or did not learn."""
    curves = [(evidence.curve(run, "lr")[1], evidence.curve(run, "batch_loss")[1]) for run in runs]
    length = min((min(len(rates), len(losses)) for rates, losses in curves), default=0)
    if length < SMOOTH:
        return None
    rates = curves[0][0][:length]
    losses = np.array([losses[:length] for _, losses in curves])
    good = np.isfinite(losses).all(axis=0) & (losses > 0).all(axis=0)
    count = int(good.argmin()) if not good.all() else length
    if count < SMOOTH:
        return None
    width = max(3, count // SMOOTH)
    logs = np.convolve(np.log(losses[:, :count]).mean(axis=0), np.ones(width) / width, "valid")
    at = rates[width - 1 : count]  # a mean ends at its last step: what is seen there has happened
    smallest = int(logs.argmin())
    if smallest < 2:
        return None
    top = float(logs[: smallest + 1].max())
    begun = np.flatnonzero(logs[: smallest + 1] > top - BEGUN * (top - logs[smallest]))[-1]  # not again above it
    broke = not good.all() or any(run.state == "diverged" for run in runs)
    return Course(at, logs, int(begun), smallest, broke)


def covered(label: str, found: Course) -> Claim:
    """The smallest loss lies within the range, or the range says nothing of the largest rate."""
    text = f"{label}{COVERED}"
    rise = float(found.logs[found.smallest :].max() - found.logs[found.smallest])
    low, high = found.interval
    end = "and is not finite in the end" if found.broke else f"and rises to {math.exp(rise):.3g} times that behind it"
    fall = math.exp(float(found.logs[: found.smallest + 1].max() - found.logs[found.smallest]))
    at = f"{found.rates[found.smallest]:.2g}"
    words = f"it falls to 1/{fall:.3g} up to lr {at} {end}; suggested: {low:.2g} to {high:.2g}"
    return Claim(text, found.broke or rise >= RISEN, words)


def same_for_seeds(label: str, found: Course, own: Sequence[Course]) -> Claim:
    """Each seed's own end of the interval against that of the mean."""
    text = f"{label}{SAME}"
    if len(own) < 2:
        return Claim.missing(text, "two seeds")
    ends = [one.interval[1] / found.interval[1] for one in own]
    holds = all(1 / NEAR <= end <= NEAR for end in ends)
    return Claim(text, holds, f"{min(ends):.2g} to {max(ends):.2g} times {found.interval[1]:.2g}")


def highest(runs: list[Run]) -> str:
    """The last rate that a run came to, of all its steps."""
    return ", ".join(sorted({run.state for run in runs}))


class LrRange(Study):
    """The learning-rate range test of every recipe of a grid."""

    caption = (
        "The training loss over the learning rate, which rises through the run: thin each seed, thick the smoothed "
        "mean of the logarithms. Shaded the suggested interval, from where a tenth of the fall is done to "
        "half of the rate of the smallest loss."
    )
    columns: Sequence[Column] = (("ended", highest),)
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """Two of each recipe."""
        many = len(evidence.configurations) > 1
        for one in evidence.configurations:
            label = f"{one.label}: " if many else ""
            members = [evidence.runs[i] for i in one.members]
            runs = [run for run in evidence.runs_with({}) if any(run is other for other in members)]
            found = course(evidence, runs)
            if found is None:
                yield Claim.missing(f"{label}{COVERED}", "a loss that falls")
                yield Claim.missing(f"{label}{SAME}", "a loss that falls")
                continue
            yield covered(label, found)
            yield same_for_seeds(label, found, [own for run in runs if (own := course(evidence, [run])) is not None])

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """One panel for all recipes."""
        figure, (axes,) = sheet.figure(1, 1, 7.0, 4.2)
        tops = []
        for one, colour in zip(evidence.configurations, sheet.colours, strict=True):
            runs = [evidence.runs[i] for i in one.members]
            for run in runs:
                rates, losses = evidence.curve(run, "lr")[1], evidence.curve(run, "batch_loss")[1]
                count = min(len(rates), len(losses))
                shown = np.where(np.isfinite(losses[:count]) & (losses[:count] > 0), losses[:count], np.nan)
                axes.plot(rates[:count], shown, color=colour, lw=0.5, alpha=0.5)
            if (found := course(evidence, runs)) is not None:
                axes.plot(found.rates, np.exp(found.logs), color=colour, lw=2.0, zorder=3)
                axes.axvspan(*found.interval, color=colour, alpha=0.15, lw=0)
                tops.append(float(np.exp(found.logs[: found.smallest + 1].max())))
        axes.set_xscale("log")
        axes.set_yscale("log")
        if tops:
            axes.set_ylim(top=3 * max(tops))  # what is beyond says no more
        log_axis(axes)
        panel(axes, "", "range test", "learning rate", "training loss")
        sheet.legend(figure, [axes], [])
        return figure
