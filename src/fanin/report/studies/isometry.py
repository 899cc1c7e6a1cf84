"""isometry_study: how fast deep nets learn from orthogonal weights and from normal ones of the same variance.

Both keep lengths and gradients on average. Of a linear net with orthogonal weights every singular value of the Jacobian
is 1, whatever the depth: all directions get through alike. A product of L normal matrices has squared singular values
of mean 1 and a variance that grows with L; most directions are all but lost, and learning waits for them. tanh with
lengths near its linear part is as good as linear, and keeps what orthogonal weights give. A ReLU cuts half of the
directions off in every layer: no weights make it an isometry, and orthogonal ones are no help that depth leaves.

Losses are those of the final weights on the whole training part, each side at its best learning rate. What theory has
no number for is taken from a pilot on the seeds 100 to 102: at their best rates orthogonal weights ended at no more
than half the loss of normal ones, linear and with tanh, in every seed.

Source: Saxe, McClelland & Ganguli, Exact solutions to the nonlinear dynamics of learning in deep linear neural
networks (2014); Pennington, Schoenholz & Ganguli, Resurrecting the sigmoid in deep learning through dynamical isometry
(2017).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from fanin.record.overrides import display
from fanin.report.figures.lines import mark_handles
from fanin.report.figures.style import Sheet, panel
from fanin.report.studies.base import Claim, Evidence, Study, numbers_of, spread
from fanin.report.studies.drawing import chance_level, colours_of, draw_chance, draw_curves, entry, own_legend
from fanin.report.studies.pairs import Pair, by_seed, gaps, log, nearly_all, number, tally
from fanin.report.studies.tuning import best_value

RATE = "optimizer.lr"
SIDES = {"orthogonal": "orthogonal", "variance_scaling": "normal"}
NAMES = {"identity": "linear"}


def _choices(activation: str, initializer: str) -> dict[str, Any]:
    return {"activation": activation, "initializer": initializer}


def _pairs(evidence: Evidence, activation: str) -> list[Pair]:
    """The runs of each seed with orthogonal and with normal weights, each at its side's best rate."""
    sides = []
    for initializer in SIDES:
        choices = _choices(activation, initializer)
        rate = best_value(evidence, choices, RATE)
        sides.append({} if rate is None else by_seed(evidence, {**choices, RATE: rate}))
    first, second = sides
    return [(run, second[seed]) for seed, run in first.items() if seed in second]


def _faster(evidence: Evidence, activation: str) -> Claim:
    name = NAMES.get(activation, activation)
    text = f"{name}: orthogonal weights learn faster than normal ones, each at its best rate"
    pairs = _pairs(evidence, activation)
    if not pairs:
        return Claim.missing(text, *(_choices(activation, one) for one in SIDES))
    ratios = gaps(pairs, number("train_loss", log))
    losses = [spread(numbers_of([pair[side] for pair in pairs], "train_loss"), 2) for side in (0, 1)]
    told = f"loss {losses[0]} against {losses[1]}; lower in {tally(ratios, lambda ratio: ratio < 0)}"
    return Claim(text, nearly_all(ratios, lambda ratio: ratio < 0), told)


def _gain(evidence: Evidence, activation: str) -> float | None:
    """Mean over pairs of ln of the loss with normal weights over that with orthogonal ones."""
    ratios = gaps(_pairs(evidence, activation), number("train_loss", log))
    return -sum(ratios) / len(ratios) if ratios else None


def _no_gain(evidence: Evidence) -> Claim:
    text = "relu gains less from orthogonal weights than a linear net or tanh does"
    found = {activation: _gain(evidence, activation) for activation in ("relu", "identity", "tanh")}
    known = {activation: gain for activation, gain in found.items() if gain is not None}
    if len(known) < len(found):
        return Claim.missing(text, *(NAMES.get(one, one) for one in found if one not in known))
    told = ", ".join(f"{NAMES.get(one, one)} x {math.exp(-gain):.2g}" for one, gain in known.items())
    return Claim(text, known["relu"] < min(known["identity"], known["tanh"]), f"loss by orthogonal weights: {told}")


def isometry_figure(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """The training loss of either side at its best rate, for each activation."""
    activations = [str(one) for one in evidence.values("activation")][:3]
    if not activations:
        return None
    colours = colours_of(list(SIDES))
    made, axes = sheet.figure(1, len(activations), 1.5 + 3.9 * len(activations), 4.4)
    chance = chance_level(evidence)
    for letter, place, activation in zip("abc", axes, activations, strict=False):
        draw_chance(place, evidence)
        told = []
        for initializer, side in SIDES.items():
            choices = _choices(activation, initializer)
            rate = best_value(evidence, choices, RATE)
            if rate is not None:
                runs = evidence.runs_with({**choices, RATE: rate})
                draw_curves(place, evidence, runs, "batch_loss", colours[initializer])
                told.append(f"{side} lr {display(rate)}")
        place.set_ylim(0, 1.2 * chance[1] if chance else None)
        place.set_xlim(left=0)
        panel(place, letter, f"training loss, {NAMES.get(activation, activation)} ({', '.join(told)})", "step")
    handles = [entry(f"{side} weights", colours[initializer]) for initializer, side in SIDES.items()]
    own_legend(sheet, made, axes, [*handles, *mark_handles(axes)])
    return made


class IsometryStudy(Study):
    """How fast deep nets learn from orthogonal and from normal weights."""

    caption = "The training loss, each side at its best learning rate. Thin: one seed, thick: their mean."
    columns = (
        ("gradient, first layer", lambda runs: spread(numbers_of(runs, "gradient_first"))),
        ("gradient, last layer", lambda runs: spread(numbers_of(runs, "gradient_last"))),
        ("training loss", lambda runs: spread(numbers_of(runs, "train_loss"))),
        ("training error", lambda runs: spread(numbers_of(runs, "train_error"), percent=True)),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """Who learns faster, and where it makes no difference."""
        yield from (_faster(evidence, activation) for activation in ("identity", "tanh"))
        yield _no_gain(evidence)

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See isometry_figure."""
        return isometry_figure(sheet, evidence)
