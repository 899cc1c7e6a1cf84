"""The law of a model, put together from the stages that it runs: norms over depth, forwards and backwards, of a batch.

The line is that of infinite width for the Gram matrix of the real batch; the band is of first order in 1/n. Backwards
it starts at the loss: outputs are drawn from their law, and what the loss answers to them is R = dL/d outputs, so that
gradients have their level without a measurement:

    G = R R^T at the output      ||dL/dW_l||_F^2 = sum_ab G_ab n_in K_ab
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fanin.theory.answers import Residuals, answers_to
from fanin.theory.bands import FIRST_ORDER
from fanin.theory.batch import Batch
from fanin.theory.gradient_spread import Node
from fanin.theory.norm_law import NormLaw, of_flow, of_signal
from fanin.theory.signals import Flow, Noises, Signal
from fanin.theory.stages import BatchNormalized, Linear, NoRule, Place, Stage, meet
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
    signals: list[Signal | None] = field(default_factory=list)
    flows: list[Flow | None] = field(default_factory=list)
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
                    found.outputs[place] = of_signal(signal, noises, batch)
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
    answers = answers_to(top, noises, batch, residuals, classes)
    flows: list[list[Flow]] = [[] for _ in steps]
    noises.along = answers.coupled + top.gram[0] * answers.grams.mean(0)  # K_ab R_a R_b by independent draws
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
                found.output_gradients[place] = of_flow(flow, answers, noises, batch)
                if isinstance(step.stage, Linear):
                    found.weight_gradients[place] = of_weights(flow, taken[0], answers, noises, batch)
                below = step.stage.backward(taken, signal, flow, at)
        except NoRule as reason:
            found.flows_stopped_at, found.flows_why = step.name, str(reason)
            break
        for source, one in zip(step.sources, below, strict=True):
            flows[source].append(one)
        belows[place] = below
    found.flows = met
    nodes = [
        Node(step.stage, step.sources, signal, flow, flows[place], belows[place])
        if signal is not None and flow is not None and place in belows
        else None
        for place, (step, signal, flow) in enumerate(zip(steps, signals, met, strict=True))
    ]
    found.weight_gradients = with_own_spread(found.weight_gradients, nodes, signals, noises, batch, answers)
    return found
