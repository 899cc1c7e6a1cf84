"""isometry_study: how fast deep nets learn from orthogonal weights and from normal ones of the same variance.

Both keep lengths and gradients on average. Of a linear net with orthogonal weights every singular value of the Jacobian
is 1, whatever the depth: all directions get through alike. A product of L normal matrices has squared singular values
of mean 1 and a variance that grows with L; most directions are all but lost, and learning waits for them. tanh with
lengths near its linear part is as good as linear, and keeps what orthogonal weights give. A ReLU cuts half of the
directions off in every layer: no weights make it an isometry, and orthogonal ones are no help that depth leaves.

The spread of a spectrum is the variance of its squared singular values over their squared mean. Losses are those of
the final weights on the whole training part, each side at its best learning rate. What theory has no number for is
taken from a pilot on the seeds 100 to 102, with bounds half way in logarithms between no effect and the least one seen:
tanh's spread with normal weights was 22 times that with orthogonal ones or more, ReLU's was above 4.6 with either, and
orthogonal weights ended at no more than half the loss of normal ones, linear and with tanh.

Source: Saxe, McClelland & Ganguli, Exact solutions to the nonlinear dynamics of learning in deep linear neural
networks (2014); Pennington, Schoenholz & Ganguli, Resurrecting the sigmoid in deep learning through dynamical isometry
(2017).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.record.overrides import display
from fanin.report.figures.lines import mark_handles
from fanin.report.figures.style import GREY, Sheet, panel
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, numbers_of, spread
from fanin.report.studies.drawing import DOTS, chance_level, colours_of, draw_chance, draw_curves, entry, own_legend
from fanin.report.studies.pairs import Pair, by_seed, gaps, log, nearly_all, number, tally
from fanin.report.studies.tuning import best_value

RATE = "optimizer.lr"
ROUNDING = 1e-4  # of singular values, in float32 over 30 layers
NARROWER, WIDE = 4.7, 2.1  # the square roots of the pilot's least effects: of tanh, and of ReLU
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


def spread_of(run: Run) -> float | None:
    """Variance of the squared singular values over their squared mean, at init; None where there is no spectrum."""
    mean, variance = (run.numbers.get(f"spectrum_{name}") for name in ("mean", "variance"))
    return None if not mean or variance is None else variance / mean**2


def _spreads(evidence: Evidence, activation: str, initializer: str) -> dict[str, float]:
    """By seed; the weights are the same at every learning rate."""
    runs = by_seed(evidence, _choices(activation, initializer))
    found = {seed: spread_of(run) for seed, run in runs.items()}
    return {seed: one for seed, one in found.items() if one is not None}


def _isometric(evidence: Evidence) -> Claim:
    text = "linear: with orthogonal weights every singular value of the Jacobian is 1"
    runs = [run for run in evidence.runs_with(_choices("identity", "orthogonal")) if spread_of(run) is not None]
    if not runs:
        return Claim.missing(text, {**_choices("identity", "orthogonal"), "probe.spectrum": True})
    ends = [(math.sqrt(run.numbers["spectrum_max"]), math.sqrt(spread_of(run) or 0.0)) for run in runs]
    holds = all(abs(largest - 1) < ROUNDING and sd < ROUNDING for largest, sd in ends)
    told = f"the largest {spread([one for one, _ in ends], 7)}, spread {spread([sd**2 for _, sd in ends], 2)}"
    return Claim(text, holds, told)


def _narrower(evidence: Evidence) -> Claim:
    text = "tanh: orthogonal weights keep the spectrum narrow, normal ones do not"
    orthogonal, normal = (_spreads(evidence, "tanh", one) for one in SIDES)
    ratios = [normal[seed] / one for seed, one in orthogonal.items() if seed in normal and one > 0]
    if not ratios:
        return Claim.missing(text, "both weights with a seed in common and probe.spectrum=true")
    told = f"spread {spread(list(orthogonal.values()), 2)} against {spread(list(normal.values()), 2)}"
    return Claim(text, nearly_all(ratios, lambda ratio: ratio > NARROWER), told)


def _wide(evidence: Evidence) -> Claim:
    text = "relu: the spectrum is wide whatever the weights"
    sides = [list(_spreads(evidence, "relu", one).values()) for one in SIDES]
    if not all(sides):
        return Claim.missing(text, *({**_choices("relu", one), "probe.spectrum": True} for one in SIDES))
    told = f"spread {spread(sides[0], 2)} with orthogonal weights, {spread(sides[1], 2)} with normal ones"
    return Claim(text, nearly_all([*sides[0], *sides[1]], lambda one: one > WIDE), told)


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
    """The training loss of either side at its best rate, for each activation, and the spread of the spectra."""
    activations = [str(one) for one in evidence.values("activation")][:3]
    if not activations:
        return None
    colours = colours_of(list(SIDES))
    made, axes = sheet.figure(1, len(activations) + 1, 1.5 + 3.4 * (len(activations) + 1), 4.4)
    _draw_spreads(axes[-1], evidence, activations, colours)
    panel(axes[-1], "abcd"[len(activations)], "spread of the squared singular values", "")
    chance = chance_level(evidence)
    for letter, place, activation in zip("abc", axes, activations, strict=False):
        draw_chance(place, evidence)
        told: list[str] = []
        for initializer in SIDES:
            choices = _choices(activation, initializer)
            rate = best_value(evidence, choices, RATE)
            if rate is not None:
                runs = evidence.runs_with({**choices, RATE: rate})
                draw_curves(place, evidence, runs, "batch_loss", colours[initializer])
                told.append(display(rate))
        place.set_ylim(0, 1.2 * chance[1] if chance else None)
        place.set_xlim(left=0)
        rates = f" (lr {' and '.join(dict.fromkeys(told))})" if told else ""
        panel(place, letter, f"training loss, {NAMES.get(activation, activation)}{rates}", "step")
    handles = [entry(f"{side} weights", colours[initializer]) for initializer, side in SIDES.items()]
    own_legend(sheet, made, axes, [*handles, *mark_handles(axes)])
    return made


def _draw_spreads(axes: Axes, evidence: Evidence, activations: Sequence[str], colours: Mapping[str, str]) -> None:
    axes.set_yscale("log")
    for place, activation in enumerate(activations):
        for shift, initializer in ((-0.12, "orthogonal"), (0.12, "variance_scaling")):
            spreads = [max(one, ROUNDING**2) for one in _spreads(evidence, activation, initializer).values()]
            axes.plot([place + shift] * len(spreads), spreads, "o", color=colours[initializer], ms=4.5, alpha=0.7)
    axes.set_xticks(range(len(activations)), [NAMES.get(one, one) for one in activations])
    axes.set_xlim(-0.6, len(activations) - 0.4)
    axes.axhline(ROUNDING**2, color=GREY, lw=0.9, ls=DOTS)
    axes.annotate(
        "rounding", (1, ROUNDING**2), (-2, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
        color=GREY, fontsize=8, ha="right", va="bottom",
    )  # fmt: skip


class IsometryStudy(Study):
    """How fast deep nets learn from orthogonal and from normal weights."""

    caption = (
        "The training loss, each side at its best learning rate. Thin: one seed, thick: their mean. Right: how wide "
        "the spectrum of the input-output Jacobian is at init, a dot a seed."
    )
    columns = (
        column("gradient_first"),
        column("gradient_last"),
        (
            "spread of the spectrum",
            lambda runs: spread([one for run in runs if (one := spread_of(run)) is not None], 2),
        ),
        column("train_loss"),
        column("train_error"),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """How wide spectra are, who learns faster, and where it makes no difference."""
        yield from (_isometric(evidence), _narrower(evidence), _wide(evidence))
        yield from (_faster(evidence, activation) for activation in ("identity", "tanh"))
        yield _no_gain(evidence)

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See isometry_figure."""
        return isometry_figure(sheet, evidence)
