"""Weights adjusted to what the layers do to small changes of real inputs, and so to gradients."""

from __future__ import annotations

import logging
import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.errors import UserError, integer, number
from fanin.parts.initializers.base import settle
from fanin.parts.initializers.biases import ConstantBiases
from fanin.parts.initializers.fan_scaled import LecunNormal
from fanin.parts.models.passes import copied_buffers, forward
from fanin.parts.noise import reseed, undisturbed
from fanin.probes.jacobians import Call, calls_of, jacobian_norm

BETTER = 0.98
"""What a rescaling must leave of ln J; more is left where a normalization undoes it, and only its eps would be met."""

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Jacobian(ConstantBiases):
    """Normal weights of variance $1 / fan_in$, then layer after layer $W <- W / sqrt(J)$ until J is 1: LSUV backwards.

    $J = E ||dx_(l+1) / dx_l||_F^2 / n_(l+1)$, the averaged partial Jacobian norm from a weight layer's input to that of
    the next one, the last one's to the output; estimated on one batch with a few random vectors. Where J is 1 at every
    layer gradients keep their size on their way down. The layers come in the order of the forward pass; where a
    rescaling goes too far, it is taken back or the square root gives way to ever smaller powers. Dropout draws the same
    masks at every pass, and running statistics are left as they were. A layer that runs more than once in a pass stays
    as it is drawn.
    Source: Doshi, He & Gromov 2023; He, Doshi & Gromov 2022.

    Args:
        tolerance: of J, > 0.
        max_tries: rescalings of a layer, >= 1.
        vectors: random vectors, >= 1.
        bias, forget_bias: of the biases, see `ConstantBiases`.

    Raises:
        OptionError: a value is out of range.
    """

    tolerance: float = 0.02
    max_tries: int = 10
    vectors: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tolerance = number("tolerance", self.tolerance, 0, open_low=True)
        integer("max_tries", self.max_tries, 1)
        integer("vectors", self.vectors, 1)

    def variance(self, fan_in: int, fan_out: int) -> None:
        """None: it depends on the data."""

    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight with normal draws of variance 1 / fan_in."""
        LecunNormal().fill(weight, fan_in, fan_out, generator)

    def check(self, model: nn.Module) -> None:
        """Refuse a model with shortcuts, past which no rescaling of a branch brings a Jacobian to 1.

        Raises:
            UserError: it has some.
        """
        super().check(model)
        find = getattr(model, "residual_branches", None)
        if find is not None and find():
            raise UserError(
                f"initializer=jacobian: {type(model).__name__} has shortcuts, beside which no layer brings a Jacobian "
                "to 1; take initializer=fixup, or a model without them"
            )

    def calibrate(self, model: nn.Module, inputs: Tensor) -> None:
        """Rescale each weight layer until its J on the inputs [B, ...] is 1 within the tolerance.

        A layer that cannot get there (a normalization undoes the rescaling, say) is told in a warning.
        """
        with undisturbed(model), torch.enable_grad():
            calls = self._weighing(model, inputs)[0]
            often = Counter(call.name for call in calls)
            for place, call in enumerate(calls):
                if often[call.name] == 1:
                    self._scale(model, place, call, inputs)
            for name in (name for name, count in often.items() if count > 1):
                log.warning("jacobian: %s runs more than once in a pass, and stays as it is drawn", name)

    def _scale(self, model: nn.Module, place: int, call: Call, inputs: Tensor) -> None:
        """Rescale the layer of one call."""
        exponent, weight, norm = 0.5, call.module.get_parameter("weight"), self._norm(model, place, inputs)
        for _ in range(self.max_tries):
            if abs(norm - 1) <= self.tolerance or not 0 < norm < math.inf:
                break
            held = weight.detach().clone()
            self._set(call.module, held / norm**exponent)
            after = self._norm(model, place, inputs)
            better = after > 0 and abs(math.log(after)) < BETTER * abs(math.log(norm))
            if not better or (norm - 1) * (after - 1) < 0:  # too far, or from one side of 1 to the other
                exponent /= 2
            if better:
                norm = after
            else:
                self._set(call.module, held)
        if math.isnan(norm):
            log.warning("jacobian: nothing flows from %s to the next layer, and it stays as it is drawn", call.name)
        elif abs(norm - 1) > self.tolerance:
            log.warning("jacobian: that of %s stays at %.3g", call.name, norm)

    @staticmethod
    def _set(layer: nn.Module, weight: Tensor) -> None:
        with torch.no_grad():
            layer.get_parameter("weight").copy_(weight)
            settle(layer)

    def _norm(self, model: nn.Module, place: int, inputs: Tensor) -> float:
        """J of one call; nan where nothing flows through it."""
        calls, outputs = self._weighing(model, inputs)
        start, end = calls[place].input, calls[place + 1].input if place + 1 < len(calls) else outputs
        if start is None or end is None or not (start.requires_grad and end.requires_grad):
            return math.nan
        found = jacobian_norm(start, end, self.vectors, torch.Generator().manual_seed(0))
        return math.nan if found is None else found

    def _weighing(self, model: nn.Module, inputs: Tensor) -> tuple[list[Call], Tensor]:
        """The calls of weight layers in a pass, and its outputs."""
        reseed(model, inputs.device)
        given = inputs.detach().clone()
        if given.is_floating_point():
            given.requires_grad_()
        with calls_of(model) as calls:
            outputs = forward(model, given, tensors=copied_buffers(model))
        return [call for call in calls if call.weighs], outputs
