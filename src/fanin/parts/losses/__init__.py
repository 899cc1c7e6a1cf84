"""Losses: what training minimizes, what conf/loss names."""

from fanin.parts.losses.base import (
    BinaryCrossEntropy,
    CrossEntropy,
    Hinge,
    Loss,
    Squared,
    SquaredOfNumbers,
    cross_entropy,
    error,
)
from fanin.parts.losses.distillation import Distillation
from fanin.parts.losses.elbo import Elbo
from fanin.parts.losses.reconstruction import Reconstruction
from fanin.parts.losses.value import Value

__all__ = [
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Distillation",
    "Elbo",
    "Hinge",
    "Loss",
    "Reconstruction",
    "Squared",
    "SquaredOfNumbers",
    "Value",
    "cross_entropy",
    "error",
]
