"""Layer-sequential unit variance: weights adjusted to what the layers do to real inputs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fanin.devices import widened
from fanin.errors import integer, number
from fanin.parts.initializers.base import settle
from fanin.parts.initializers.biases import ConstantBiases
from fanin.parts.initializers.orthogonal import Orthogonal
from fanin.parts.models.layers import weight_layers
from fanin.parts.models.passes import copied_buffers, forward
from fanin.parts.noise import reseed, undisturbed
from fanin.probes.capture import capturing
from fanin.probes.modules import Named
from fanin.theory.weights import Weights

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Lsuv(ConstantBiases):
    """Orthogonal weights, then layer after layer $W <- W / sqrt(Var(output))$ until the output has variance 1.

    The layers come in the order of the forward pass. The variance is over all entries of a weight layer's output
    (before normalization and activation) on one batch, of all its calls where it is called more than once.
    Where that overshoots, in a layer that feeds itself, the square root gives way to ever smaller powers.
    Dropout draws the same masks at every pass, and running statistics are left as they were.
    Source: Mishkin & Matas 2016.

    Args:
        tolerance: of the variance, > 0.
        max_tries: rescalings of a layer, >= 1.
        bias, forget_bias: of the biases, see `ConstantBiases`.

    Raises:
        OptionError: a value is out of range.
    """

    tolerance: float = 0.1
    max_tries: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tolerance = number("tolerance", self.tolerance, 0, open_low=True)
        integer("max_tries", self.max_tries, 1)

    def variance(self, fan_in: int, fan_out: int) -> None:
        """None: it depends on the data."""

    def weight_law(self, layer: nn.Module) -> Weights:
        """Those of Orthogonal, rescaled until outputs have variance 1 on the probe batch."""
        return replace(Orthogonal().weight_law(layer), calibrated=self.tolerance)

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight with an orthogonal draw."""
        Orthogonal().fill(weight, fan_in, fan_out, generator)

    @torch.no_grad()
    def calibrate(self, model: nn.Module, inputs: Tensor) -> None:
        """Rescale each weight layer until its output on the inputs [B, ...] has variance 1 within the tolerance.

        A layer that cannot get there (its output is constant or not finite, or does not follow its weight) is told
        in a warning.
        """
        with undisturbed(model):
            for layer in _output_variances(model, weight_layers(model), inputs):
                self._scale(model, layer, inputs)

    def _scale(self, model: nn.Module, named: Named, inputs: Tensor) -> None:
        """Rescale one layer."""
        (name, layer), exponent, before = named, 0.5, 1.0
        for tries in range(self.max_tries + 1):
            variance = _output_variances(model, [named], inputs)[named]
            if abs(variance - 1) <= self.tolerance:
                return
            if tries == self.max_tries or not 0 < variance < math.inf:
                break
            if (variance - 1) * (before - 1) < 0:  # from one side of 1 to the other
                exponent /= 2
            layer.get_parameter("weight").div_(variance**exponent)
            settle(layer)
            before = variance
        log.warning("lsuv: the output of %s stays at variance %.3g", name, variance)


def _output_variances(model: nn.Module, layers: Sequence[Named], inputs: Tensor) -> dict[Named, float]:
    """The variance of the output of each layer that one forward pass comes through, in the order of that pass."""
    with capturing(layers) as seen:
        reseed(model, inputs.device)
        forward(model, inputs, tensors=copied_buffers(model))
    outputs: dict[Named, list[Tensor]] = {}
    for named, output in zip(seen.ran, seen.activations, strict=True):
        outputs.setdefault(named, []).append(widened(output).flatten())
    return {named: torch.cat(calls).var(correction=0).item() for named, calls in outputs.items()}
