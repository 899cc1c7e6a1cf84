"""The law of a model, put together from the stages that it runs: norms over depth, forwards and backwards, of a batch.

The line is that of infinite width for the Gram matrix of the real batch; the band is of first order in 1/n. Backwards
it starts at the loss: outputs are drawn from their law, and what the loss answers to them is R = dL/d outputs, so that
gradients have their level without a measurement:

    G = R R^T at the output      ||dL/dW_l||_F^2 = sum_ab G_ab n_in K_ab
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fanin.theory.bands import FIRST_ORDER, weakest
from fanin.theory.gaussian_maps import FloatArray
from fanin.theory.gradient_spread import MOST, Node, Spread, spreads
from fanin.theory.signals import Flow, Noises, Signal
from fanin.theory.stages import BatchNormalized, Linear, NoRule, Place, Stage, meet

OUTPUTS = 256
"""Draws of the outputs, in pairs of opposite sign."""

Residuals = Callable[[FloatArray], FloatArray]
"""From outputs [draws, B, classes] to dL/d outputs of each draw, of the same shape."""


@dataclass(frozen=True)
class Step:
    """A stage of a model and where what it takes comes from.

    Args:
        name: of the part, as profiles have it.
        stage: what it does.
        sources: positions of the steps that its inputs come from; none for data.
    """

    name: str
    stage: Stage
    sources: tuple[int, ...]


@dataclass(frozen=True)
class NormLaw:
    """The law of a norm, of its logarithm ln norm^2.

    Attributes:
        mean, variance: of ln norm^2.
        log_level: ln E norm^2.
        by_input: how ln norm^2 follows that of the input.
        source: of it.
        moved, by_batches: what of mean and variance other batches bring.
    """

    mean: float
    variance: float
    log_level: float
    by_input: float
    source: str
    moved: float = 0.0
    by_batches: float = 0.0


@dataclass
class Composition:
    """What is known of every step, None where no law reaches.

    Attributes:
        outputs: of the norms of their outputs.
        output_gradients: of the gradients with respect to them.
        weight_gradients: of the gradients of weight layers' weights.
        stopped_at, why: the part that ended the law and the reason; empty where none did.
        flows_stopped_at, flows_why: of the gradients.
        signals, flows: what is known of the steps.
    """

    outputs: list[NormLaw | None]
    output_gradients: list[NormLaw | None]
    weight_gradients: list[NormLaw | None]
    signals: list[Signal | None] = field(default_factory=list)
    flows: list[Flow | None] = field(default_factory=list)
    stopped_at: str = ""
    why: str = ""
    flows_stopped_at: str = ""
    flows_why: str = ""


@dataclass(frozen=True)
class Batch:
    """How the examples of a law count.

    Args:
        counted: weight of each of the B examples, [B], 1 or 0; those of weight 0 only come along.
        of: examples of the whole batch, which those of weight 1 stand for.
        classes: of each example, [B]; None where they have none.
        among: how many classes there are.
    """

    counted: FloatArray
    of: int
    classes: NDArray[np.int64] | None = None
    among: int = 0

    def over_batches(self, pairs: FloatArray) -> tuple[float, float, float]:
        """The sum over pairs in other batches of as many examples: its mean, and its logarithm's mean and variance.

        How many examples a batch has of each class decides how far their gradients cancel; pairs of one class and of
        two are taken to be alike. Where classes are as frequent in the batch as equal ones would be, they are equal.

        Args:
            pairs: of these examples, with 1/B^2 in it, [B, B].
        """
        known = float((pairs * self.pair_weights()).sum())
        if self.classes is None or self.among < 2 or self.of < 2:
            return known, 0.0, 0.0
        number, whole = int(self.counted.sum()), self.of
        apart = ~np.eye(len(pairs), dtype=bool) & (self.whole > 0)
        same = apart & (self.classes[:, None] == self.classes)
        other = apart & ~same
        if not same.any() or not other.any():
            return known, 0.0, 0.0
        own = float(np.diagonal(pairs)[self.counted > 0].mean())
        alike, unlike = float(pairs[same].mean()), float(pairs[other].mean())
        share, equal = float(same.sum() / apart.sum()), 1 / self.among
        if abs(share - equal) > 4 * math.sqrt(2 * equal / number**2):  # classes that are not equally frequent
            return known, 0.0, 0.0
        counts = np.random.default_rng(0).multinomial(whole, [equal] * self.among, size=OUTPUTS).astype(float)
        squares = (counts**2).sum(1)
        forms = (number / whole) ** 2 * (alike * (squares - whole) + unlike * (whole**2 - squares) + own * whole)
        mean = float(forms.mean())
        if mean <= 0:
            return known, 0.0, 0.0
        logs = np.log(np.maximum(forms, 0.05 * mean) / mean)
        return mean, float(logs.mean()), float(logs.var())

    @property
    def whole(self) -> FloatArray:
        """Which pairs count, [B, B]."""
        return np.outer(self.counted, self.counted)

    def pair_weights(self) -> FloatArray:
        """How pairs count in a sum over all pairs of the whole batch that has 1/B^2 in it, [B, B]."""
        counted = int(self.counted.sum())
        weights = np.outer(self.counted, self.counted)
        if counted > 1:
            weights = weights * (1 - 1 / self.of) / (1 - 1 / counted)
        np.fill_diagonal(weights, self.counted * counted / self.of)
        return weights


def compose(steps: Sequence[Step], batch: Batch, residuals: Residuals | None, classes: int) -> Composition:
    """The law of a model at a batch.

    Args:
        steps: in the order in which they run; the last one gives the model's outputs.
        batch: of inputs.
        residuals: how the loss answers; None for no gradients.
        classes: outputs of an example.
    """
    drawn = any(isinstance(step.stage, BatchNormalized) for step in steps)
    noises = Noises(len(steps) + 1, len(batch.counted), 2000 if drawn else 400)
    signals: list[Signal | None] = []
    found = Composition([None] * len(steps), [None] * len(steps), [None] * len(steps))

    def inputs(step: Step) -> list[Signal] | None:
        taken = [signals[source] for source in step.sources]
        return None if any(one is None for one in taken) else taken  # type: ignore[return-value]

    for place, step in enumerate(steps):
        taken = inputs(step)
        signal = None
        if taken is not None:
            try:
                with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                    signal = step.stage.forward(taken, Place(place + 1, noises))
                    found.outputs[place] = _of_signal(signal, noises, batch)
            except NoRule as reason:
                if not found.stopped_at:
                    found.stopped_at, found.why = step.name, str(reason)
        signals.append(signal)
    found.signals = signals
    if residuals is None or not signals or signals[-1] is None:
        return found
    top = signals[-1]
    if top.gram.shape[0] > 1 or not top.normal:
        found.flows_stopped_at, found.flows_why = steps[-1].name, "the outputs are no weighted sums"
        return found
    answers = _answers(top, noises, batch, residuals, classes)
    flows: list[list[Flow]] = [[] for _ in steps]
    # Of answers that did not hang on the weights, o_a R_a o_b R_b would be K_ab G_ab.
    natural = (top.gram * answers.grams.mean(0)[None])[0]
    noises.along = answers.along.T @ answers.along / len(answers.along) - natural
    noises.follows = top.elasticity
    start = np.zeros_like(top.elasticity)
    flows[-1].append(
        Flow(
            answers.grams.mean(0)[None],
            start,
            np.zeros_like(top.shift),
            None,
            np.ones_like(top.shift),
            source=FIRST_ORDER,
        )
    )
    belows: dict[int, Sequence[Flow]] = {}
    met: list[Flow | None] = [None] * len(steps)
    for place in range(len(steps) - 1, -1, -1):
        step, signal, taken = steps[place], signals[place], inputs(steps[place])
        if not flows[place] or signal is None or taken is None:
            continue
        at = Place(place + 1, noises)
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                flow = meet(flows[place], signal.units, at)
                met[place] = flow
                found.output_gradients[place] = _of_flow(flow, answers, noises, batch)
                if isinstance(step.stage, Linear):
                    found.weight_gradients[place] = _of_weights(flow, taken[0], answers, noises, batch)
                below = step.stage.backward(taken, signal, flow, at)
        except NoRule as reason:
            found.flows_stopped_at, found.flows_why = step.name, str(reason)
            break
        for source, one in zip(step.sources, below, strict=True):
            flows[source].append(one)
        belows[place] = below
    found.flows = met
    _spread(found, steps, signals, flows, met, belows, noises, batch, answers)
    return found


def _spread(
    found: Composition,
    steps: Sequence[Step],
    signals: Sequence[Signal | None],
    flows: Sequence[Sequence[Flow]],
    met: Sequence[Flow | None],
    belows: dict[int, Sequence[Flow]],
    noises: Noises,
    batch: Batch,
    answers: _Answers,
) -> None:
    """Put the gradients' own spread in the place of that of single examples, where it is known."""
    nodes = [
        Node(step.stage, step.sources, signal, flow, flows[place], belows[place])
        if signal is not None and flow is not None and place in belows
        else None
        for place, (step, signal, flow) in enumerate(zip(steps, signals, met, strict=True))
    ]
    known = [place for place, law in enumerate(found.weight_gradients) if law is not None]
    if not known:
        return
    chosen = sorted({known[round(at)] for at in np.linspace(0, len(known) - 1, min(MOST, len(known)))})
    inputs = {place: signals[steps[place].sources[0]] for place in known}
    own = [x.units * x.gram[0] * batch.whole for place in chosen if (x := inputs[place]) is not None]
    worked = spreads(nodes, chosen, own, noises, answers.grams, answers.along)
    if not worked:
        return
    rows = np.array([_numbers(worked[place], place, met, inputs, noises, batch, answers) for place in worked])
    places = list(worked)
    for place in known:
        law, flow, x = found.weight_gradients[place], met[place], inputs[place]
        if law is None or flow is None or x is None or not places[0] <= place <= places[-1]:
            continue
        own_variance, outputs, moved, about = (float(np.interp(place, places, column)) for column in rows.T)
        mean = law.log_level - own_variance / 2 + moved + law.moved
        variance = own_variance + outputs + law.by_batches
        found.weight_gradients[place] = replace(law, mean=mean, variance=variance, by_input=about)


def _numbers(
    spread: Spread,
    place: int,
    met: Sequence[Flow | None],
    inputs: dict[int, Signal | None],
    noises: Noises,
    batch: Batch,
    answers: _Answers,
) -> tuple[float, float, float, float]:
    """Variance by the network's noises, what drawn outputs add, their mean logarithm, and how it follows the input."""
    flow, x = met[place], inputs[place]
    assert flow is not None
    assert x is not None
    pairs = flow.gram[0] * x.gram[0] * batch.whole
    weights = pairs.sum(1) / pairs.sum()
    ahead = flow.elasticity + x.elasticity
    ahead[noises.rows // 3 :] = 0.0
    follows, more, moved = _of_draws(spread.draws, answers)

    def variance(elasticity: FloatArray) -> float:
        mixed = float((elasticity[: noises.rows // 3] * weights * spread.mixed).sum())
        return max(noises.variance(elasticity, weights) + spread.backward + 2 * mixed, 0.0)

    with_outputs = (
        ahead + follows * np.where(np.arange(noises.rows) < noises.rows // 3, 1, 0)[:, None] * answers.elasticity
    )
    alone = variance(ahead)
    about = float((with_outputs[0] * weights).sum())
    return alone, variance(with_outputs) - alone + more, moved, about


def _of_draws(draws: FloatArray, answers: _Answers) -> tuple[float, float, float]:
    """How the logarithm of draws follows the outputs' own stray, its variance besides, and its mean less ln mean."""
    draws = np.maximum(draws, 1e-12 * max(float(draws.max()), 1e-300))
    logs = np.log(draws) - math.log(float(draws.mean()))
    about = answers.stray - answers.stray.mean()
    square = float(about @ about)
    follows = float(about @ logs / square) if square > 1e-12 else 0.0
    return follows, float((logs - follows * about).var()), float(logs.mean())


@dataclass(frozen=True)
class _Answers:
    """What the loss answers to drawn outputs.

    Attributes:
        grams: R R^T of each draw, [OUTPUTS, B, B].
        stray: how far the logarithm of the outputs' squared norm lay off in each draw, [OUTPUTS].
        elasticity: by which that follows the noises of the network, [noises, 1].
        along: o_a R_a, what the answers have along the outputs themselves, [OUTPUTS, B].
    """

    grams: FloatArray
    stray: FloatArray
    elasticity: FloatArray
    along: FloatArray


def _answers(top: Signal, noises: Noises, batch: Batch, residuals: Residuals, classes: int) -> _Answers:
    rng = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(top.gram[0])
    root = vectors * np.sqrt(np.maximum(values, 0))
    drawn = rng.standard_normal((OUTPUTS // 2, top.gram.shape[1], classes))
    outputs = np.einsum("ab,mbc->mac", root, np.concatenate([drawn, -drawn]))
    # The outputs' variance strays, too, for all examples together as far as they do.
    each = top.squares[0] * batch.counted
    each = each if each.sum() > 0 else batch.counted
    elasticity = top.elasticity.copy()
    elasticity[len(noises.forward) - 1] = 0.0  # the last layer's own noise is in the draws
    spread = math.sqrt(max(noises.variance(elasticity, each / each.sum()), 0.0))
    half = rng.standard_normal(OUTPUTS // 4)
    half = np.concatenate([half, -half]) * spread
    stray = np.concatenate([half, half])
    outputs *= np.exp(np.clip(stray, -60, 60) / 2 + float(top.shift @ each / each.sum()) / 2)[:, None, None]
    answers = residuals(outputs)
    common = (elasticity * each).sum(1, keepdims=True) / each.sum()
    along = (answers * outputs).sum(2)
    return _Answers(np.asarray(answers @ answers.transpose(0, 2, 1)), stray, common, along)


def _law(
    weights: FloatArray,
    draws: FloatArray | None,
    total: float,
    of: Signal | Flow,
    noises: Noises,
    answers: _Answers | None = None,
) -> NormLaw:
    """The law of a sum over examples, from their shares in it and what it is in draws of the outputs."""
    elasticity, log_square = of.elasticity, math.log(total)
    mean, more = 0.0, 0.0
    if draws is not None and answers is not None:
        follows, more, moved = _of_draws(draws, answers)
        mean += moved
        elasticity = elasticity + follows * answers.elasticity
    spreads = noises.variances(of.elasticity)
    exponents = of.shift + spreads / 2
    top = float(exponents.max())
    level = top + math.log(max(float((weights * np.exp(exponents - top)).sum()), 1e-300))
    own = max(noises.variance(of.elasticity, weights), 0.0)
    variance = own if elasticity is of.elasticity else max(noises.variance(elasticity, weights), 0.0)
    by_input = float((elasticity[0] * weights).sum())
    level += log_square
    return NormLaw(mean + level - own / 2, variance + more, level, by_input, of.source)


def _of_signal(signal: Signal, noises: Noises, batch: Batch) -> NormLaw | None:
    each = signal.squares.sum(0) * batch.counted
    total = float(each.sum())
    if not 0 < total < math.inf:
        return None
    return _law(each / total, None, total * signal.units * batch.of / float(batch.counted.sum()), signal, noises)


def _of_flow(flow: Flow, answers: _Answers, noises: Noises, batch: Batch) -> NormLaw | None:
    counts = batch.counted * batch.counted.sum() / batch.of
    each = flow.squares.sum(0) * counts
    total = float(each.sum())
    if not 0 < total < math.inf:
        return None
    draws = np.diagonal(answers.grams, axis1=1, axis2=2) @ batch.counted
    return _law(each / total, draws, total, flow, noises, answers)


def _of_weights(flow: Flow, x: Signal, answers: _Answers, noises: Noises, batch: Batch) -> NormLaw | None:
    if flow.gram.shape[0] > 1:
        return None
    gram = x.units * x.gram[0]
    pairs = flow.gram[0] * gram
    total, moved, more = batch.over_batches(pairs)
    pairs = pairs * batch.whole
    if not 0 < total < math.inf or not pairs.sum() > 0:
        return None
    draws = answers.grams.reshape(OUTPUTS, -1) @ (gram * batch.whole).ravel()
    elasticity, shift = flow.elasticity + x.elasticity, flow.shift + x.shift
    both = Signal(x.gram, x.units, elasticity, shift, x.mean, x.kurtosis, source=weakest([x.source, flow.source]))
    law = _law(pairs.sum(1) / pairs.sum(), draws, total, both, noises, answers)
    return replace(law, mean=law.mean + moved, variance=law.variance + more, moved=moved, by_batches=more)
