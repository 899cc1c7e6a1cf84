"""Initializers: the law of the weights before the first step, what conf/initializer names.

Every draw is made on the CPU in float32, scaled there, and only then copied: one seed gives the same weights
on every device and in every dtype. Draws are standard (variance or bound 1) before they are scaled: whatever
the variance, one seed gives rescaled copies of one draw.
"""

from fanin.parts.initializers.base import Initializer, Stream
from fanin.parts.initializers.biases import ConstantBiases, DrawnBiases
from fanin.parts.initializers.critical import Critical
from fanin.parts.initializers.delta_orthogonal import DeltaOrthogonal
from fanin.parts.initializers.draws import DISTRIBUTIONS, TRUNCATED_VARIANCE, draw
from fanin.parts.initializers.fan_scaled import (
    MODES,
    KaimingNormal,
    KaimingUniform,
    LecunNormal,
    TorchDefault,
    VarianceScaling,
    XavierNormal,
    XavierUniform,
)
from fanin.parts.initializers.fixed import Constant, Dirac, Identity, Zeros
from fanin.parts.initializers.fixup import Fixup
from fanin.parts.initializers.gains import gain_of
from fanin.parts.initializers.independent import Independent, Normal, TruncatedNormal, Uniform
from fanin.parts.initializers.jacobian import Jacobian
from fanin.parts.initializers.lsuv import Lsuv
from fanin.parts.initializers.orthogonal import Orthogonal
from fanin.parts.initializers.pretrained import Pretrained
from fanin.parts.initializers.weight_norm_scaled import WeightNormScaled

__all__ = [
    "DISTRIBUTIONS",
    "MODES",
    "TRUNCATED_VARIANCE",
    "Constant",
    "ConstantBiases",
    "Critical",
    "DeltaOrthogonal",
    "Dirac",
    "DrawnBiases",
    "Fixup",
    "Identity",
    "Independent",
    "Initializer",
    "Jacobian",
    "KaimingNormal",
    "KaimingUniform",
    "LecunNormal",
    "Lsuv",
    "Normal",
    "Orthogonal",
    "Pretrained",
    "Stream",
    "TorchDefault",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "WeightNormScaled",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
    "draw",
    "gain_of",
]
