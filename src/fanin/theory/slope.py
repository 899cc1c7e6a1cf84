"""The slope of ln||x_l|| over the hidden layers: what one seed should show, and what many seeds did show.

The slope runs from layer 1 to layer L-1, the last hidden one, and is that of the norm per unit: the growth
sqrt(n_l / n_(l-1)) that only comes from widths is divided out (it is 1 where the hidden widths are the same).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from fanin.theory.forward import Layer, check_chain
from fanin.theory.laws import RELU, ActivationLaw
from fanin.theory.ratio import Moments


class SlopeTest(NamedTuple):
    """Mean slope over seeds against theory; `z` is the deviation in standard errors."""

    mean: float
    standard_error: float
    expected: float
    z: float


def slope_moments(layers: Sequence[Layer], law: ActivationLaw = RELU) -> Moments:
    """Exact mean and variance over seeds of the slope of one seed.

        mean     = 1 / (2 (L-2))   sum_(l=2..L-1) [E ln r_l - ln(n_l / n_(l-1))]
        variance = 1 / (4 (L-2)^2) sum_(l=2..L-1) Var ln r_l            r_l = ||x_l||^2 / ||x_(l-1)||^2

    For ReLU and equal widths the mean is (ln(c/2) + E ln r at c=2) / 2.

    Args:
        layers: the weight layers l = 1..L.
        law: the activation between them.

    Returns:
        The moments; nan with fewer than two hidden layers.

    Raises:
        ValueError: the layers do not form a chain.

    Source: Hanin & Nica 2019; Burkholz & Dubatovka 2019.

    >>> layers = [Layer(f"linear_{l}", 100, 100, 2.0) for l in range(1, 51)]
    >>> round(slope_moments(layers).mean, 5)  # E ln r / 2 at width 100
    -0.01271
    """
    check_chain(layers)
    inner = layers[1:-1]
    if not inner:
        return Moments(math.nan, math.nan)
    ratios = [law.moments(layer.fan_in, layer.fan_out, layer.c) for layer in inner]
    widths = math.log(inner[-1].fan_out / inner[0].fan_in)
    return Moments(
        (math.fsum(ratio.mean for ratio in ratios) - widths) / (2 * len(inner)),
        math.fsum(ratio.variance for ratio in ratios) / (2 * len(inner)) ** 2,
    )


def slope_test(slopes: Sequence[float], layers: Sequence[Layer], law: ActivationLaw = RELU) -> SlopeTest:
    """Tests the mean slope of one configuration's seeds against theory.

        z = (mean - expected) / standard error,      standard error = sqrt(variance of one seed / seeds)

    The standard error is that of theory, not that of the sample: exact for any number of seeds, one included.
    For a batch of different inputs it is slightly too large (see forward.py), which makes the test cautious.

    Args:
        slopes: ln factor_per_layer (verdict.analyse) of every seed.
        layers: the weight layers l = 1..L, the same in all of them.
        law: the activation between them.

    Returns:
        The test; nan where there is no slope. Infinite slopes (a norm of 0, an overflow) make z infinite.
    """
    expected, variance = slope_moments(layers, law)
    if not slopes:
        return SlopeTest(math.nan, math.nan, expected, math.nan)
    mean = sum(slopes) / len(slopes)
    standard_error = math.sqrt(variance / len(slopes))
    return SlopeTest(mean, standard_error, expected, (mean - expected) / standard_error)
