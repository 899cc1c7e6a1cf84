"""What theory says of a recipe before anything is trained: its activation, its phase, and its layers."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fanin.errors import UserError
from fanin.parts.activation_maps import activation_map
from fanin.parts.models.layers import fans, weight_layers
from fanin.run.make_option import is_neutral
from fanin.run.recipe import Recipe
from fanin.theory.chain import ChainLaw, ChainLayer, LogLaw, chain_law
from fanin.theory.gaussian_maps import Activation
from fanin.theory.logs import exp
from fanin.theory.phase import FixedPoint, NoCriticalPoint, critical_point, fixed_point

SMALLEST = {"float32": 1.4012984643248171e-45, "bfloat16": 9.183549615799121e-41, "float16": 5.960464477539063e-08}
"""The smallest positive number of each type: below its square root per entry a squared gradient is 0."""


@dataclass(frozen=True)
class ChainTheory:
    """The theory of one recipe.

    Attributes:
        activation: phi.
        layers: the weight layers, in order.
        point: the fixed point of the inner layers' variances.
        critical: the weight variance at which gradients neither vanish nor explode, if there is one.
        law: of every layer.
    """

    activation: Activation
    layers: tuple[ChainLayer, ...]
    point: FixedPoint
    critical: FixedPoint | NoCriticalPoint
    law: ChainLaw

    def depths(self) -> dict[str, str]:
        """Where dL/dz falls below the smallest number of a floating-point type, in layers from the output.

        Its square falls by chi_perp a layer; at the output its entries are taken to be of size 1.
        """
        rate = math.log(self.point.chi_perp) if self.point.chi_perp > 0 else -math.inf
        told = {}
        for kind, smallest in SMALLEST.items():
            layers = 2 * math.log(smallest) / rate if rate < -1e-9 else math.inf
            told[kind] = "never" if math.isinf(layers) else f"dL/dz falls below its range after {layers:.0f} layers"
        return told

    def as_json(self) -> dict[str, Any]:
        """The numbers of `fanin-theory --json`."""
        phi, point = self.activation, self.point
        square = phi.mean_square(1.0)
        critical: dict[str, Any] = {"variance": None, "q": None, "chi_par": None}
        if isinstance(self.critical, NoCriticalPoint):
            critical["why"] = self.critical.why
        else:
            critical = {key: finite(getattr(self.critical, key)) for key in critical}
        return {
            "activation": {
                "mean": phi.mean(1.0),
                "mean_square": square,
                "derivative_mean_square": phi.derivative_mean_square(1.0),
                "gain": 1 / math.sqrt(square) if square > 0 else None,
            },
            "point": {key: finite(value) for key, value in asdict(point).items()}
            | {"xi_q": finite(point.xi_q), "xi_c": finite(point.xi_c), "phase": point.phase},
            "critical": critical,
            "layers": [
                {"index": place, "name": layer.name} | _norm(post, "") | _norm(gradient, "gradient_")
                for place, (layer, post, gradient) in enumerate(
                    zip(self.layers, self.law.post, self.law.gradient, strict=True), start=1
                )
            ],
        }


def _norm(law: LogLaw, prefix: str) -> dict[str, float | None]:
    """A squared norm's law as numbers of the norm itself."""
    low, one, middle, other, high = (finite(exp(log / 2)) for log in law.quantiles)
    numbers = {"mean_square": finite(exp(law.log_mean_square / 2)), "median": middle}
    numbers |= {"q025": low, "q16": one, "q84": other, "q975": high}
    return {prefix + key: value for key, value in numbers.items()}


def finite(value: float) -> float | None:
    """A number that JSON has; None for one that is not finite."""
    return value if math.isfinite(value) else None


def chain_theory(made: Recipe, input_shape: tuple[int, ...], outputs: int, input_mean_square: float) -> ChainTheory:
    """The theory of a recipe, if it is a chain of fully connected layers with independent weights.

    Args:
        made: the recipe.
        input_shape: of one example.
        outputs: of the model.
        input_mean_square: mean of the squared inputs, over entries and examples.

    Raises:
        UserError: which part of the recipe has no law.
    """
    with torch.device("meta"):
        model = made.make_model(input_shape, outputs)
    name = type(model).__name__
    if not getattr(model, "is_chain", False):
        raise UserError(f"model: {name} is no chain of fully connected layers; only such have a law here, as model=mlp")
    if not is_neutral(made.normalization):
        raise UserError("normalization: a chain with one has no law here; take none")
    if made.dropout is not None:
        raise UserError("regularizer: a chain with dropout has no law here; leave it out")
    layers = []
    for layer_name, module in weight_layers(model):
        fan_in, fan_out = fans(module)
        variance = made.initializer.variance(fan_in, fan_out)
        if variance is None or variance <= 0:
            kind = type(made.initializer).__name__
            raise UserError(f"initializer: {kind} draws no independent weights; only such have a law here")
        biases = made.initializer.bias_variance_of(fan_in) if getattr(module, "bias", None) is not None else 0.0
        layers.append(ChainLayer(layer_name, fan_in, fan_out, fan_in * variance, biases))
    phi = activation_map(made.make_activation())
    if phi is None:
        raise UserError("activation: it does not act on every entry alone; only such activations have a law here")
    inner = layers[1] if len(layers) > 1 else layers[0]
    start = layers[0].variance * input_mean_square + layers[0].bias_variance
    return ChainTheory(
        phi,
        tuple(layers),
        fixed_point(phi, inner.variance, inner.bias_variance, max(start, 1e-12)),
        critical_point(phi, inner.bias_variance),
        chain_law(layers, input_mean_square, phi),
    )
