"""The law of a model, put together from the stages that it runs: norms over depth, forwards and backwards, of a batch.

The line is that of infinite width for the Gram matrix of the real batch; the band is of first order in 1/n. Backwards
it starts at the loss: outputs are drawn from their law, and what the loss answers to them is R = dL/d outputs, so that
gradients have their level without a measurement:

    G = R R^T at the output      ||dL/dW_l||_F^2 = sum_ab G_ab n_in K_ab
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fanin.theory.answers import Answers, Residuals, answers_to
from fanin.theory.bands import FIRST_ORDER
from fanin.theory.batch import Batch
from fanin.theory.drawn_maps import channels
from fanin.theory.gradient_spread import Node
from fanin.theory.norm_law import NormLaw, of_flow, of_signal
from fanin.theory.shared_gradients import of_shared
from fanin.theory.signals import Flow, Noises, Signal
from fanin.theory.stages import Convolution, Linear, NoRule, Place, Shared, Stage, meet
from fanin.theory.weight_gradients import of_weights, with_own_spread


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
    signals: list[Signal | None]
    flows: list[Flow | None]
    stopped_at: str = ""
    why: str = ""
    flows_stopped_at: str = ""
    flows_why: str = ""


def compose(steps: Sequence[Step], batch: Batch, residuals: Residuals | None, classes: int) -> Composition:
    """The law of a model at a batch.

    Args:
        steps: in the order in which they run; the last one gives the model's outputs.
        batch: of inputs.
        residuals: how the loss answers; None for no gradients.
        classes: outputs of an example.
    """
    noises = Noises(len(steps) + 1, len(batch.counted), max((step.stage.draws for step in steps), default=2))
    noises.of = batch.of
    noises.channels = channels(sum(isinstance(step.stage, Convolution) for step in steps))
    nothing: list[None] = [None] * len(steps)
    found = Composition([*nothing], [*nothing], [*nothing], [*nothing], [*nothing])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        _run_forwards(steps, batch, noises, found)
        if residuals is not None and found.signals and (top := found.signals[-1]) is not None:
            if len(top.gram) > 1 or not top.normal:
                found.flows_stopped_at, found.flows_why = steps[-1].name, "the outputs are no weighted sums"
            else:
                _run_backwards(steps, batch, noises, found, answers_to(top, noises, batch, residuals, classes))
    return found


def _inputs(step: Step, signals: Sequence[Signal | None]) -> list[Signal] | None:
    """What a step takes, None where it is not known."""
    taken = [one for source in step.sources if (one := signals[source]) is not None]
    return taken if len(taken) == len(step.sources) else None


def _run_forwards(steps: Sequence[Step], batch: Batch, noises: Noises, found: Composition) -> None:
    """Fill in the signals and the laws of their norms."""
    for place, step in enumerate(steps):
        taken = _inputs(step, found.signals)
        if taken is None:
            continue
        try:
            signal = step.stage.forward(taken, Place(place + 1, noises))
            found.signals[place], found.outputs[place] = signal, of_signal(signal, noises, batch)
        except NoRule as reason:
            if not found.stopped_at:
                found.stopped_at, found.why = step.name, str(reason)


def _run_backwards(steps: Sequence[Step], batch: Batch, noises: Noises, found: Composition, answers: Answers) -> None:
    """Fill in the flows, from what the loss answers on, and the laws of their norms and of the weights' gradients."""
    top = found.signals[-1]
    assert top is not None
    noises.along = answers.coupled + top.gram[0] * answers.grams.mean(0)  # K_ab R_a R_b by independent draws
    noises.follows = top.elasticity
    arriving: list[list[Flow]] = [[] for _ in steps]
    arriving[-1].append(_answered(answers, top))
    leaving: dict[int, Sequence[Flow]] = {}
    shared: dict[int, tuple[int, Shared]] = {}
    for place in range(len(steps) - 1, -1, -1):
        step, signal, taken = steps[place], found.signals[place], _inputs(steps[place], found.signals)
        if not arriving[place] or signal is None or taken is None:
            continue
        at = Place(place + 1, noises)
        try:
            flow = meet(arriving[place], signal.units, at)
            found.flows[place] = flow
            found.output_gradients[place] = of_flow(flow, answers, noises, batch)
            if isinstance(step.stage, Linear):
                found.weight_gradients[place] = of_weights(flow, taken[0], answers, noises, batch)
            if step.stage.shifts:
                every = step.stage.gradients(taken[0], signal, flow, at)
                shared |= {place + by: (place, one) for by, one in zip(step.stage.shifts, every, strict=True)}
                if not any(steps[source].sources for source in step.sources):
                    continue  # nobody asks for the gradient of data, which takes a convolution's time
            leaving[place] = step.stage.backward(taken, signal, flow, at)
        except NoRule as reason:
            found.flows_stopped_at, found.flows_why = step.name, str(reason)
            break
        for source, one in zip(step.sources, leaving[place], strict=True):
            arriving[source].append(one)
    nodes = [
        Node(step.stage, step.sources, signal, flow, arriving[place], leaving[place])
        if signal is not None and flow is not None and place in leaving
        else None
        for place, (step, signal, flow) in enumerate(zip(steps, found.signals, found.flows, strict=True))
    ]
    found.weight_gradients = with_own_spread(found.weight_gradients, nodes, found.signals, noises, batch, answers)
    for place, law in of_shared(shared, nodes, noises, batch, answers).items():
        found.weight_gradients[place] = law


def _answered(answers: Answers, top: Signal) -> Flow:
    """The gradient with respect to the outputs."""
    nothing = np.zeros_like(top.elasticity)
    level, shift = answers.grams.mean(0)[None], np.zeros_like(top.shift)
    return Flow(level, nothing, shift, None, np.ones_like(shift), source=FIRST_ORDER)
