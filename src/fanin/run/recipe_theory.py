"""What theory says of a recipe before anything is trained: its activation, its phase, and its layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fanin.parts.activation_maps import activation_map
from fanin.parts.initializers.critical import critical_weights
from fanin.parts.models.layers import weight_layers
from fanin.run.model_steps import drawn_by, steps_of
from fanin.run.recipe import Recipe
from fanin.run.recipe_law import recipe_law
from fanin.theory.bands import EXACT, FIRST_ORDER, Band
from fanin.theory.chain import ChainLaw, chain_law
from fanin.theory.composition import Step
from fanin.theory.gaussian_maps import Activation
from fanin.theory.log_law import LogLaw
from fanin.theory.logs import exp
from fanin.theory.normalized_phase import normalized_slope
from fanin.theory.phase import FixedPoint, NoCriticalPoint, fixed_point
from fanin.theory.plain_chain import chain_of
from fanin.theory.stages import Activated, Convolution, Linear
from fanin.theory.weights import Weights

SMALLEST = {"float32": 1.4012984643248171e-45, "bfloat16": 9.183549615799121e-41, "float16": 5.960464477539063e-08}
"""The smallest positive number of each type: below its square root per entry a squared gradient is 0."""


@dataclass(frozen=True)
class TheoryLayer:
    """A weight layer's numbers, of its norm and of its gradient's; None where no law reaches."""

    name: str
    norm: dict[str, float | None]
    gradient: dict[str, float | None]


@dataclass(frozen=True)
class LawTold:
    """Which law the layers' numbers are of.

    Attributes:
        source: of it; empty without one.
        of: whose norms.
        against: what gradients are divided by; empty for nothing.
        ends_at, why: the part that ends it, and a line about that; empty where none does.
    """

    source: str
    of: str
    against: str
    ends_at: str = ""
    why: str = ""


@dataclass(frozen=True)
class RecipeTheory:
    """The theory of one recipe.

    Attributes:
        activation: phi; None if it does more than map every entry on its own.
        layers: the weight layers, in order.
        told: which law theirs is.
        point: the fixed point of the inner layers' variances; None if they differ, or none is known.
        critical: the weight variance at which gradients neither vanish nor explode, if there is one.
        law: of a plain chain.
    """

    activation: Activation | None
    layers: tuple[TheoryLayer, ...]
    told: LawTold
    point: FixedPoint | None
    critical: FixedPoint | NoCriticalPoint | None
    law: ChainLaw | None

    def depths(self) -> dict[str, str]:
        """Where dL/dz falls below the smallest number of a floating-point type, in layers from the output.

        Its square falls by chi_perp a layer; at the output its entries are taken to be of size 1.
        """
        if self.point is None:
            return {}
        rate = math.log(self.point.chi_perp) if self.point.chi_perp > 0 else -math.inf
        told = {}
        for kind, smallest in SMALLEST.items():
            layers = 2 * math.log(smallest) / rate if rate < -1e-9 else math.inf
            told[kind] = "never" if math.isinf(layers) else f"dL/dz falls below its range after {layers:.0f} layers"
        return told

    def as_json(self) -> dict[str, Any]:
        """The numbers of `fanin-theory --json`."""
        told: dict[str, Any] = {key: value or None for key, value in asdict(self.told).items()}
        return {
            "activation": _of_activation(self.activation),
            "point": _of_point(self.point),
            "critical": _of_critical(self.critical),
            "law": told,
            "layers": [
                {"index": place, "name": layer.name} | layer.norm | layer.gradient
                for place, layer in enumerate(self.layers, start=1)
            ],
        }


def _of_activation(phi: Activation | None) -> dict[str, float | None] | None:
    if phi is None:
        return None
    square = phi.mean_square(1.0)
    return {
        "mean": phi.mean(1.0),
        "mean_square": square,
        "derivative_mean_square": phi.derivative_mean_square(1.0),
        "gain": 1 / math.sqrt(square) if square > 0 else None,
    }


def _of_point(point: FixedPoint | None) -> dict[str, Any] | None:
    if point is None:
        return None
    numbers: dict[str, Any] = {key: finite(value) for key, value in asdict(point).items()}
    return numbers | {"xi_q": finite(point.xi_q), "xi_c": finite(point.xi_c), "phase": point.phase}


def _of_critical(critical: FixedPoint | NoCriticalPoint | None) -> dict[str, Any]:
    numbers: dict[str, Any] = {"variance": None, "q": None, "chi_par": None}
    if isinstance(critical, FixedPoint):
        return {key: finite(getattr(critical, key)) for key in numbers}
    return numbers | {"why": "none is known for this recipe" if critical is None else critical.why}


def _norm(law: LogLaw, prefix: str) -> dict[str, float | None]:
    """A squared norm's law as numbers of the norm itself."""
    low, one, middle, other, high = (finite(exp(log / 2)) for log in law.quantiles)
    numbers = {"mean_square": finite(exp(law.log_mean_square / 2)), "median": middle}
    numbers |= {"q025": low, "q16": one, "q84": other, "q975": high}
    return {prefix + key: value for key, value in numbers.items()}


def finite(value: float) -> float | None:
    """A number that JSON has; None for one that is not finite."""
    return value if math.isfinite(value) else None


def recipe_theory(made: Recipe, inputs: Tensor, targets: Tensor, outputs: int) -> RecipeTheory:
    """The theory of a recipe.

    A plain chain has the exact law of one example, of the inputs' mean square; anything else the composed law of the
    probe batch, as far as it goes.

    Args:
        made: the recipe.
        inputs, targets: the probe batch, [B, ...] and [B].
        outputs: of the model.
    """
    with torch.random.fork_rng(devices=[]):  # a user's model may draw from it
        model = made.make_model(tuple(inputs.shape[1:]), outputs)
    phi = activation_map(made.make_activation())
    walked = steps_of(drawn_by(made, model), model, inputs)
    chain = chain_of(walked.steps) if walked.outputs is not None else None
    square = float(inputs.double().square().mean())
    if chain is not None:
        law = chain_law(chain.layers, square, chain.activation)
        layers = tuple(
            TheoryLayer(layer.name, _norm(post, ""), _norm(gradient, "gradient_"))
            for layer, post, gradient in zip(chain.layers, law.post, law.gradient, strict=True)
        )
        source = EXACT if chain.normal else FIRST_ORDER
        told = LawTold(source, "one example", "the last layer's")
    else:
        law = None
        found = recipe_law(made, model, inputs, targets)
        names = [name for name, layer in weight_layers(model)]
        layers = tuple(
            TheoryLayer(
                name,
                _numbers(found.bands.get(("weight", name, "activation_norm")), ""),
                _numbers(found.bands.get(("weight", name, "gradient_norm")), "gradient_"),
            )
            for name in names
        )
        told = LawTold(found.source, "the probe batch", "", found.stopped_at, found.no_law)
    inner = _inner(walked.steps)
    acts = chain is not None or any(isinstance(step.stage, Activated) for step in walked.steps)
    point, critical = _phase(made, phi, inner, square) if acts else (None, None)
    return RecipeTheory(phi, layers, told, point, critical, law)


def _inner(steps: Sequence[Step]) -> Weights | None:
    """What the layers between the first and the last are drawn from, if it is one thing."""
    drawn = [step.stage.weights for step in steps if isinstance(step.stage, (Linear, Convolution))]
    inner = drawn[1:-1] or drawn[:1]
    same = {(round(one.variance, 12), one.bias_variance) for one in inner}
    return inner[0] if len(same) == 1 and inner[0].variance > 0 else None


def _phase(
    made: Recipe, phi: Activation | None, inner: Weights | None, square: float
) -> tuple[FixedPoint | None, FixedPoint | NoCriticalPoint | None]:
    """The fixed point and the critical point with the recipe's normalization and dropout, None where none is known."""
    norm = made.normalization
    if phi is None or inner is None or not norm.restores:
        return None, None
    keep = 1.0 if made.dropout is None else 1 - float(getattr(made.dropout, "p", 0.0))
    variance, spread = inner.variance / keep, inner.bias_variance
    if norm.restores == "nothing":
        point = fixed_point(phi, variance, spread, max(variance * square + spread, 1e-12))
    else:
        after, centred = norm.placement == "post_activation", norm.restores == "variance"
        slope = normalized_slope(phi, variance, spread, after=after, centred=centred)
        point = FixedPoint(variance, spread, variance + spread if after else 1.0, 0.0, slope)
    critical = critical_weights(phi, spread, norm)
    if isinstance(critical, FixedPoint):
        critical = replace(critical, variance=critical.variance * keep)
    return replace(point, variance=inner.variance), critical


def _numbers(band: Band | None, prefix: str) -> dict[str, float | None]:
    """A band as numbers of the norm."""
    keys = ("mean_square", "median", "q025", "q16", "q84", "q975")
    if band is None:
        return {prefix + key: None for key in keys}
    far = [exp((band.log_mean + by * band.log_sd) / 2) for by in (-1.959964, 1.959964)]
    values = (band.mean_square, band.median, far[0], band.low, band.high, far[1])
    return {prefix + key: None if one is None else finite(one) for key, one in zip(keys, values, strict=True)}
