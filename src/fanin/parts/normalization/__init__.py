"""Normalization: settings that make one module per hidden layer, and where it stands, or that rescale its weight.

Not biases or weights of a linear layer: the scale gamma and shift beta here start at 1 and 0, and are neither
initialized nor penalized with the weights.
"""

from fanin.parts.normalization.base import PLACEMENTS, NoNorm, Normalization
from fanin.parts.normalization.batch import BatchNorm
from fanin.parts.normalization.layer import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from fanin.parts.normalization.local_response import LocalResponseNorm
from fanin.parts.normalization.spectral import SpectralNorm
from fanin.parts.normalization.weight import WeightNorm

__all__ = [
    "PLACEMENTS",
    "BatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "LocalResponseNorm",
    "NoNorm",
    "Normalization",
    "RMSNorm",
    "SpectralNorm",
    "WeightNorm",
]
