"""symmetry_study: minima that are the same but for the order of hidden units, and the line between two of them.

Hidden units can change places, with their weights in and out, and the network is the same function: each minimum of a
layer of n units is one of n! equal ones. Two seeds end in minima whose units are in different orders, and the loss on
the line between their weights rises; with the second one's units in the order that is nearest to the first's (weight
matching, a linear assignment layer by layer) most of that barrier is gone, the more the wider the layers are.

The bounds are from pilots of three pairs of seeds (10 to 15) at widths 32, 128 and 512: matched barriers were 0.12 to
0.44, 0.10 to 0.15 and 0.06 to 0.07 of the unmatched ones.

Source: Entezari, Sedghi, Saukh & Neyshabur 2022; Ainsworth, Hayase & Srinivasa 2023.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

from matplotlib.figure import Figure

from fanin.record.landscape_files import Asked, Landscape
from fanin.record.overrides import display
from fanin.report.figures.landscape import line_panel
from fanin.report.figures.style import Sheet, panel
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, spread
from fanin.report.studies.drawing import DASHES, colours_of, draw_points, entry, own_legend
from fanin.report.studies.lines import seeds_of

ROUNDING = 1e-12
"""Relative, in float64: sums of some thousand terms in another order."""

LEFT = 0.25
"""Of the barrier, at most, after matching, in layers of WIDE units or more."""

WIDE = 128
POINTS = 21
WIDTH = "model.width"


class Pair(NamedTuple):
    """Two seeds of one configuration: the line between them as they are, and matched."""

    width: float
    plain: Landscape
    matched: Landscape


def asked_of(runs: Sequence[Run]) -> Iterator[tuple[Run, Asked, Asked]]:
    """The first and the second seed of each configuration, the third and the fourth, ..."""
    for ordered in seeds_of(runs):
        for one, two in zip(ordered[::2], ordered[1::2], strict=False):
            both = str(one.folder), str(two.folder)
            plain = Asked(runs=both, points=POINTS, span=0.0)
            yield one, plain, replace(plain, match=True)


def pairs_of(evidence: Evidence) -> list[Pair]:
    """Those whose lines are there, by width."""
    found = []
    for run, *asked in asked_of(evidence.runs_with({})):
        plain, matched = (evidence.landscape(one) for one in asked)
        width = run.value(WIDTH)
        if plain is not None and matched is not None and isinstance(width, (int, float)):
            found.append(Pair(float(width), plain, matched))
    return sorted(found, key=lambda pair: pair.width)


def _same_loss(pairs: Sequence[Pair]) -> Claim:
    text = "a network with its hidden units in another order has the same loss, up to rounding"
    apart = [
        abs(pair.matched.about["permuted_loss"] / pair.matched.about["unpermuted_loss"] - 1)
        for pair in pairs
        if max(pair.matched.about["moved"]) > 0
    ]
    if not apart:
        return Claim.missing(text, "two seeds")
    return Claim(text, max(apart) <= ROUNDING, f"relative difference at most {max(apart):.1g}, {len(apart)} networks")


def _nearer(pairs: Sequence[Pair]) -> Claim:
    text = "matching brings the weights of two seeds nearer to each other"
    if not pairs:
        return Claim.missing(text, "two seeds")
    ratios = [pair.matched.about["distances"][1] / pair.matched.about["distances"][0] for pair in pairs]
    return Claim(text, max(ratios) < 1, f"{spread(ratios)} of the distance are left")


def _lower(pairs: Sequence[Pair]) -> Claim:
    text = "two seeds are separated by a barrier, and matching lowers it"
    if not pairs:
        return Claim.missing(text, "two seeds")
    plain, matched = ([getattr(pair, name).barrier for pair in pairs] for name in ("plain", "matched"))
    lower = all(two < one for one, two in zip(plain, matched, strict=True))
    return Claim(text, lower, f"{spread(plain)} before, {spread(matched)} after")


def _little(pairs: Sequence[Pair]) -> Claim:
    text = f"in layers of {WIDE} units or more matching takes three quarters of the barrier away"
    rising = [pair for pair in pairs if pair.width >= WIDE and pair.plain.barrier > 0]
    wide = [pair.matched.barrier / pair.plain.barrier for pair in rising]
    if not wide:
        return Claim.missing(text, f"two seeds of a width of {WIDE} or more")
    return Claim(text, max(wide) <= LEFT, f"{spread(wide)} of it is left")


def _wider(pairs: Sequence[Pair]) -> Claim:
    text = "the wider the layers, the lower the barrier after matching"
    widths = sorted({pair.width for pair in pairs})
    if len(widths) < 2:
        return Claim.missing(text, "two widths")
    means = [fmean(pair.matched.barrier for pair in pairs if pair.width == width) for width in widths]
    falls = all(two < one for one, two in pairwise(means))
    return Claim(text, falls, ", ".join(f"{mean:.3g} at {width:g}" for width, mean in zip(widths, means, strict=True)))


class SymmetryStudy(Study):
    """Equivalent minima: the line between two seeds before and after their hidden units are matched."""

    caption = "One line for each pair of seeds. 0 is the first network, 1 the second."
    columns = (column("train_loss"), column("test_error"))
    profiles = False

    def landscapes(self, runs: Sequence[Run]) -> Iterable[Asked]:
        """The line between every two seeds, as they are and matched."""
        return [one for _, *both in asked_of(runs) for one in both]

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """The same loss in another order; nearer; a lower barrier, the lower the wider."""
        pairs = pairs_of(evidence)
        yield from (claim(pairs) for claim in (_same_loss, _nearer, _lower, _little, _wider))

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """Left the loss between two seeds, right the barrier over the width."""
        pairs = pairs_of(evidence)
        if not pairs:
            return None
        colours = colours_of(list(dict.fromkeys(pair.width for pair in pairs)))
        made, (left, middle, right) = sheet.figure(1, 3, 10.6, 3.8)
        for pair in pairs:
            line_panel(left, pair.plain, colour=colours[pair.width])
            line_panel(middle, pair.matched, colour=colours[pair.width])
        middle.set_ylim(left.get_ylim())
        for name, style in (("plain", "-"), ("matched", DASHES)):
            points = [(pair.width, getattr(pair, name).barrier) for pair in pairs]
            draw_points(right, points, "black", ls=style)
        right.set_xscale("log", base=2)
        right.set_yscale("log")
        panel(left, "a", "training loss between two seeds", "from the first to the second")
        panel(middle, "b", "the same, hidden units matched", "from the first to the second")
        panel(right, "c", "barrier", "width of the hidden layers")
        handles = [entry(f"width {display(width)}", colour) for width, colour in colours.items()]
        handles += [entry("as they are", "black"), entry("matched", "black", ls=DASHES)]
        own_legend(sheet, made, [left, middle, right], handles)
        return made
