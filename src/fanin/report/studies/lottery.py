"""lottery_study: what the draw of the weights decides, seen in networks that have lost most of them.

A trained network is pruned round by round, by magnitude; after each round what is left goes back to its initial values
and is trained again: a winning ticket. The control has the same masks and another draw of the initial weights. Tickets
with a fifth of the weights err as the whole network does; drawn anew, the same structures learn slower and end worse,
the more so the fewer weights are left. So a ticket is its structure together with its draw.

The bounds are from a pilot on the seeds 10 to 12: the training losses of tickets were 0.31 to 0.56 of those of the
control at every share; at shares of 0.96 and more the control made 2.8 to 6.7 times as many test errors; at 0.81
tickets made 0.1 points fewer test errors than the whole networks, in the mean.

Source: Frankle & Carbin 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

from matplotlib.figure import Figure

from fanin.record.prunings import FOLDER, AskedPruning
from fanin.report.figures.style import Sheet, panel
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, number, spread
from fanin.report.studies.drawing import DASHES, colours_of, draw_points, entry, own_legend

SHARE, ROUNDS = 0.98, 7
"""Of the weights that are pruned in the end, and in how many rounds."""

FEW = 0.95
"""Pruned weights from which on the control makes WORSE times as many test errors, in the mean over seeds."""

WORSE = 1.5
HALF_WAY = 0.85
"""Pruned weights up to which tickets err as the whole network, within POINTS."""

POINTS = 0.01
LEFT = (0.5, 0.2, 0.1, 0.05, 0.02)
"""Ticks of the figure, shares of the weights."""

KEY = "regularizer.mask.share"
ARMS = {"ticket": "init", "control": "redraw"}


class Pair(NamedTuple):
    """A seed's ticket and its control, with the same masks, and the whole network that they are of."""

    share: float
    seed: object
    ticket: Run
    control: Run
    whole: Run


def _name(run: Run, arm: str) -> str:
    return f"{run.folder.name}-{arm}"


def pairs_of(evidence: Evidence) -> list[Pair]:
    """Those whose rounds are both finished, by share."""
    runs = evidence.runs_with({})
    by_folder = {run.folder: run for run in runs}
    found = []
    for whole in runs:
        if FOLDER in whole.folder.parts[-3:]:
            continue
        for done in range(1, ROUNDS + 1):
            place = whole.folder.parent / FOLDER
            ticket, control = (by_folder.get(place / _name(whole, arm) / f"round_{done}") for arm in ARMS)
            share = number(ticket, KEY) if ticket is not None else None
            if ticket is not None and control is not None and share is not None:
                found.append(Pair(share, whole.seed, ticket, control, whole))
    return sorted(found, key=lambda pair: pair.share)


def _value(run: Run, name: str) -> float:
    value = run.metric(name)
    return float("nan") if value is None else float(value)


def _ratios(pairs: Sequence[Pair], name: str) -> list[float]:
    return [_value(pair.control, name) / max(_value(pair.ticket, name), 1e-12) for pair in pairs]


def _faster(pairs: Sequence[Pair]) -> Claim:
    text = "a ticket ends with a lower training loss than the same structure drawn anew, at every share and seed"
    if not pairs:
        return Claim.missing(text, "a pruned run")
    ratios = _ratios(pairs, "train_loss")
    return Claim(text, min(ratios) > 1, f"the control's is {spread(ratios)} times as high, {len(pairs)} pairs")


def _worse(pairs: Sequence[Pair]) -> Claim:
    text = f"with {1 - FEW:.0%} of the weights or fewer the control makes {WORSE:g} times as many test errors or more"
    few = [pair for pair in pairs if pair.share >= FEW]
    if not few:
        return Claim.missing(text, "a pruned run")
    tickets = _means(few, lambda pair: _value(pair.ticket, "test_error"))
    controls = _means(few, lambda pair: _value(pair.control, "test_error"))
    ratios = [control / max(ticket, 1e-12) for (_, ticket), (_, control) in zip(tickets, controls, strict=True)]
    return Claim(text, min(ratios) >= WORSE, f"{spread(ratios)} times as many in the mean over seeds")


def _as_good(pairs: Sequence[Pair]) -> Claim:
    text = f"tickets with {1 - HALF_WAY:.0%} of the weights or more err as the whole network, to a point in the mean"
    many = [pair for pair in pairs if pair.share <= HALF_WAY]
    if not many:
        return Claim.missing(text, "a pruned run")
    means = _means(many, lambda pair: _value(pair.ticket, "test_error") - _value(pair.whole, "test_error"))
    told = ", ".join(f"{100 * mean:+.2g} points at {share:.3g}" for share, mean in means)
    return Claim(text, max(mean for _, mean in means) <= POINTS, told)


def _sparser(pairs: Sequence[Pair]) -> Claim:
    text = "the fewer weights are left, the more test errors the control makes beyond the ticket's"
    thirds = [[pair for pair in pairs if low <= pair.share < high] for low, high in ((0, 0.7), (0.7, FEW), (FEW, 1))]
    if not all(thirds):
        return Claim.missing(text, "a pruned run")
    means = [fmean(_value(pair.control, "test_error") - _value(pair.ticket, "test_error") for pair in third)
             for third in thirds]  # fmt: skip
    told = ", ".join(f"{100 * mean:+.2g}" for mean in means)
    rises = all(two > one for one, two in pairwise(means))
    return Claim(text, rises, f"{told} points below 0.7, below {FEW:g} and from there on")


def _means(pairs: Sequence[Pair], value: Callable[[Pair], float]) -> list[tuple[float, float]]:
    """The mean of a value over seeds at each round; shares of a round differ by rounding alone."""
    by_share: dict[float, list[float]] = {}
    for pair in pairs:
        by_share.setdefault(round(pair.share, 3), []).append(value(pair))
    return [(share, fmean(values)) for share, values in sorted(by_share.items())]


class LotteryStudy(Study):
    """Winning tickets: networks pruned round by round and rewound, against the same masks with another draw."""

    caption = "A dot for each seed, lines through their means. Dashed: the same masks, initial weights drawn anew."
    columns = (column("train_loss"), column("test_error"))
    profiles = False

    def prunings(self, runs: Sequence[Run]) -> Iterable[AskedPruning]:
        """Of each run its tickets, and then their controls."""
        for run in runs:
            ticket, control = (_name(run, arm) for arm in ARMS)
            asked = {"run": str(run.folder), "share": SHARE, "rounds": ROUNDS}
            yield AskedPruning(name=ticket, **asked)  # type: ignore[arg-type]
            yield AskedPruning(name=control, rewind="redraw", masks_from=ticket, **asked)  # type: ignore[arg-type]

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """As good as the whole; a lower loss and fewer errors than drawn anew, the more the fewer weights are left."""
        pairs = pairs_of(evidence)
        yield from (claim(pairs) for claim in (_as_good, _faster, _worse, _sparser))

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """Training loss and test error over the share of weights that is left."""
        pairs = pairs_of(evidence)
        if not pairs:
            return None
        colours = colours_of(list(ARMS))
        made, both = sheet.figure(1, 2, 8.4, 3.8)
        for axes, name in zip(both, ("train_loss", "test_error"), strict=True):
            whole = {pair.whole.folder: _value(pair.whole, name) for pair in pairs}
            axes.axhline(fmean(whole.values()), color="0.5", lw=1)
            for arm, style in (("ticket", "-"), ("control", DASHES)):
                points = [(1 - round(pair.share, 3), _value(getattr(pair, arm), name)) for pair in pairs]
                draw_points(axes, points, colours[arm], ls=style)
            axes.set_xscale("log")
            axes.set_xticks(LEFT, [f"{100 * left:g} %" for left in LEFT])
            axes.minorticks_off()
            axes.invert_xaxis()
            axes.set_yscale("log")
        panel(both[0], "a", "training loss", "share of weights left")
        panel(both[1], "b", "test error", "share of weights left")
        handles = [entry("rewound: winning tickets", colours["ticket"])]
        handles += [entry("drawn anew", colours["control"], ls=DASHES), entry("the whole network", "0.5")]
        own_legend(sheet, made, both, handles)
        return made
