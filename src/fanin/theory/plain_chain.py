"""Plain chains among compositions: fully connected layers of independent weights, one activation between each two.

Of these more is known than of other networks: the law at every width (chain.py), and, where scaled weights scale every
norm, what the critical variance would have given in the place of a draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fanin.theory.chain_layer import ChainLayer, fit_together
from fanin.theory.composition import Step
from fanin.theory.expectation import Critical
from fanin.theory.gaussian_maps import Activation
from fanin.theory.stages import Activated, Flattened, Linear, Passed

INDEPENDENT = ("normal", "independent")
"""Kinds of weights that are drawn one by one."""

IDENTITY = Activation(lambda z: z, np.ones_like)
"""What stands between layers that follow each other without anything."""


@dataclass(frozen=True)
class Chain:
    """A composition's steps that form a plain chain.

    Args:
        activation: the one between its layers.
        layers: of the chain, two or more.
        linear: places of the weight layers among the steps.
        activated: places of the activations, one fewer; of the last steps before the next layer where there are none.
        normal: whether all weights are normal.
    """

    activation: Activation
    layers: tuple[ChainLayer, ...]
    linear: tuple[int, ...]
    activated: tuple[int, ...]
    normal: bool

    @cached_property
    def critical(self) -> Critical | None:
        """What the critical variance would have given; None where no variance scales all norms alike."""
        biased = any(layer.bias_variance for layer in self.layers)
        return Critical.of_chain(self.layers, self.activation) if self.normal and not biased else None


def chain_of(steps: Sequence[Step]) -> Chain | None:
    """The chain that steps are, if they are one."""
    if any(step.sources != ((at - 1,) if at else ()) for at, step in enumerate(steps)):
        return None
    stages = [(at, step.stage) for at, step in enumerate(steps) if at]
    linear = [(at, stage) for at, stage in stages if isinstance(stage, Linear)]
    between = [(at, stage) for at, stage in stages if isinstance(stage, Activated)]
    silent = [at for at, stage in stages if isinstance(stage, (Flattened, Passed))]
    if len(linear) < 2 or len(linear) + len(between) + len(silent) < len(stages):
        return None
    activations = {stage.activation for _, stage in between} or {IDENTITY}
    places = [at for at, _ in linear]
    activated = [at for at, _ in between] if between else [at - 1 for at in places[1:]]
    alternate = all(low <= at < high for low, at, high in zip(places, activated, places[1:], strict=False))
    if len(activations) > 1 or len(activated) != len(linear) - 1 or not alternate:
        return None
    drawn = [stage.weights for _, stage in linear]
    if any(one.kind not in INDEPENDENT or one.calibrated is not None or one.variance <= 0 for one in drawn):
        return None
    layers = tuple(
        ChainLayer(steps[at].name, stage.fan_in, stage.fan_out, stage.weights.variance, stage.weights.bias_variance)
        for at, stage in linear
    )
    if not fit_together(layers):
        return None
    return Chain(activations.pop(), layers, tuple(places), tuple(activated), all(one.kind == "normal" for one in drawn))
