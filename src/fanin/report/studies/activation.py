"""activation_study: which activations let gradients reach the first layers of a net of a dozen.

A layer passes the gradient back as $delta_(l-1) = W_l^T (phi'(z_l) delta_l)$. Weights of variance c/n multiply its mean
square by $c E phi'(z)^2$. The slope of a sigmoid is $s (1 - s) <= 1/4$: with c = 1 each layer divides the gradient's
norm by $4/sqrt(c)$, that is by four or more, and ten layers by a million. ReLU's slope is 1 for half of its inputs:
with c = 2 the norm stays. tanh and SELU have slopes near 1 where c = 1 keeps their inputs.

Source: Hochreiter (1991) on vanishing gradients; Glorot & Bengio, Understanding the difficulty of training deep
feedforward neural networks (2010); He, Zhang, Ren & Sun (2015) for c = 2; Klambauer et al. (2017) for SELU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fanin.record.overrides import display
from fanin.report.figures.lines import draw_profile, mark_handles
from fanin.report.figures.style import Sheet, log_axis, panel
from fanin.report.read.folders import Run
from fanin.report.studies.base import Claim, Evidence, Study, column, numbers_of, spread
from fanin.report.studies.drawing import DASHES, colours_of, draw_chance, draw_curves, entry, own_legend
from fanin.report.studies.gradients import draw_gradients, gradient_factor, slack_of
from fanin.report.studies.tuning import best_runs, best_value

RATE = "optimizer.lr"
SIGMOID = "sigmoid"
STEEPEST = 0.25  # slope of a sigmoid, at 0
ENDS = 1  # layers left out at either end of a profile
TRAINED = 0.1  # training error; guessing makes 0.9
STILL = 1e-3  # movement of the first layer as a share of the last one's; ten factors of 1/4 are a millionth


def bound(evidence: Evidence, run: Run) -> float | None:
    """sqrt(c)/4, the largest factor of a sigmoid layer; c is the variance of the inner layers' weights times fan-in."""
    variance = evidence.profile(run, "init", "weight", "weight_variance")[ENDS:-ENDS]
    return math.sqrt(float(variance.mean())) * STEEPEST if len(variance) else None


def _factors(evidence: Evidence, option: str) -> tuple[list[Run], list[float]]:
    """Runs with different draws of the weights, one for each seed, and a layer's factor; none unless all have one."""
    by_seed = {str(run.seed): run for run in evidence.runs_with({"activation": option})}
    found = [gradient_factor(evidence, run, ENDS) for run in by_seed.values()]
    factors = [factor for factor in found if factor is not None]
    return (list(by_seed.values()), factors) if len(factors) == len(found) else ([], [])


def _shrinks(evidence: Evidence) -> Claim:
    text = "each sigmoid layer divides the gradient by four or more, for its slope is 1/4 at most"
    runs, factors = _factors(evidence, SIGMOID)
    bounds = [most for most in (bound(evidence, run) for run in runs) if most is not None]
    if not runs or len(bounds) < len(runs):
        return Claim.missing(text, {"activation": SIGMOID})
    holds = all(
        factor < most * math.exp(slack_of(run, ENDS)) for run, factor, most in zip(runs, factors, bounds, strict=True)
    )
    first, last = (spread(numbers_of(runs, f"gradient_{end}"), 2) for end in ("first", "last"))
    told = f"factor a layer {spread(factors)}; gradient {first} in the first layer, {last} in the last"
    return Claim(text, holds, told)


def _keeps(evidence: Evidence, option: str) -> Claim:
    text = f"{option} keeps the gradient: no layer changes its norm by more than chance does"
    runs, factors = _factors(evidence, option)
    if not runs:
        return Claim.missing(text, {"activation": option})
    slacks = [slack_of(run, ENDS) for run in runs]
    holds = all(abs(math.log(factor)) < slack for factor, slack in zip(factors, slacks, strict=True))
    return Claim(text, holds, f"factor a layer {spread(factors)}, 1 ± {math.expm1(max(slacks)):.2g} expected")


def _starved(evidence: Evidence) -> Claim:
    """Over rates that span a decade or more; of a run that diverged the share is not finite, and no small one."""
    text = "the sigmoid net's first weights hardly move, whatever the learning rate"
    runs = evidence.runs_with({"activation": SIGMOID})
    moved = [evidence.profile(run, "final", "weight", "weight_movement") for run in runs]
    if not _span(evidence, SIGMOID) or not all(len(one) > 1 for one in moved):
        return Claim.missing(text, f"activation={SIGMOID} at learning rates ten times apart, with profiles")
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = [float(one[0] / one[-1]) for one in moved]
    holds = all(share < STILL for share in shares)
    return Claim(text, holds, f"first layer's movement over the last one's {spread(shares, 2)}")


def _stays(evidence: Evidence) -> Claim:
    text = "the sigmoid net learns at none of the learning rates"
    runs = evidence.runs_with({"activation": SIGMOID})
    if not _span(evidence, SIGMOID):
        return Claim.missing(text, f"activation={SIGMOID} at learning rates ten times apart")
    rates = ", ".join(f"{display(rate)}" for rate in _rates(evidence, SIGMOID))
    told = f"training error {spread(numbers_of(runs, 'train_error'), percent=True)} at lr {rates}"
    return Claim(text, all(run.outcome != "learns" for run in runs), told)


def _trains(evidence: Evidence, option: str) -> Claim:
    text = f"{option} trains: training error below a tenth at its best learning rate"
    errors = numbers_of(best_runs(evidence, {"activation": option}, RATE), "train_error")
    rate = best_value(evidence, {"activation": option}, RATE)
    if errors:
        return Claim(text, max(errors) < TRAINED, f"{spread(errors, percent=True)} at lr {display(rate)}")
    ended = evidence.runs_with({"activation": option})
    return Claim(text, False, f"{len(ended)} runs diverged") if ended else Claim.missing(text, {"activation": option})


def _span(evidence: Evidence, option: str) -> bool:
    """Whether there are learning rates that say something of all: the largest ten times the smallest, or more."""
    rates = [float(rate) for rate in _rates(evidence, option) if isinstance(rate, int | float)]
    return bool(rates) and max(rates) >= 10 * min(rates) * (1 - 1e-9)


def _rates(evidence: Evidence, option: str) -> list[Any]:
    return [rate for rate in evidence.values(RATE) if evidence.runs_with({"activation": option, RATE: rate})]


def activation_figure(sheet: Sheet, evidence: Evidence) -> Figure | None:
    """Gradient norms over depth at init, the training loss at each activation's best rate, and who moved."""
    options = [option for option in map(str, evidence.values("activation")) if _rates(evidence, option)]
    if not options:
        return None
    colours = colours_of(options)
    made, axes = sheet.figure(1, 3, 13.2, 4.5)
    left, middle, right = axes
    left.set_yscale("log")
    right.set_yscale("log")
    draw_chance(middle, evidence)
    handles = []
    for option in options:
        rate = best_value(evidence, {"activation": option}, RATE)
        runs = best_runs(evidence, {"activation": option}, RATE) or evidence.runs_with({"activation": option})
        draw_gradients(left, evidence, runs, colours[option], bound(evidence, runs[0]) if option == SIGMOID else None)
        draw_curves(middle, evidence, runs, "batch_loss", colours[option])
        _draw_movement(right, evidence, runs, colours[option])
        handles.append(entry(option + (f", lr {display(rate)}" if rate is not None else ", diverged"), colours[option]))
    log_axis(left)
    log_axis(right)
    middle.set_ylim(bottom=0)
    middle.set_xlim(left=0)
    panel(left, "a", "gradient norm ‖∂L/∂W‖ at init", "weight layer")
    panel(middle, "b", "training loss at the best rate", "step")
    panel(right, "c", "weight movement ‖ΔW‖/‖W‖ in training", "weight layer")
    handles.append(entry("sigmoid's bound, √c/4 a layer", lw=1.1, ls=DASHES))
    own_legend(sheet, made, axes, [*handles, *mark_handles(axes)])
    return made


def _draw_movement(axes: Axes, evidence: Evidence, runs: Sequence[Run], colour: str) -> None:
    rows = [evidence.profile(run, "final", "weight", "weight_movement") for run in runs if run.state == "done"]
    if rows and len(rows[0]) and len({len(row) for row in rows}) == 1:
        draw_profile(axes, np.array(rows), np.array([len(row) for row in rows]), colour, seeds=len(rows), log=True)


class ActivationStudy(Study):
    """Which activations let gradients reach the first layers."""

    caption = (
        "Gradients at initialization, the training loss, and how far each layer's weights moved. Thin: one seed, "
        "thick: their mean; dashed: the most that sigmoid layers leave of a gradient."
    )
    columns = (
        column("gradient_first"),
        column("gradient_last"),
        column("train_loss"),
    )
    profiles = False

    def claims(self, evidence: Evidence) -> Iterator[Claim]:
        """How gradients shrink or stay at init, which layers move and which nets train."""
        others = [option for option in map(str, evidence.values("activation")) if option != SIGMOID]
        yield _shrinks(evidence)
        yield from (_keeps(evidence, option) for option in others)
        yield _starved(evidence)
        yield _stays(evidence)
        yield from (_trains(evidence, option) for option in others)

    def figure(self, sheet: Sheet, evidence: Evidence) -> Figure | None:
        """See activation_figure."""
        return activation_figure(sheet, evidence)
