"""Regularizers: what conf/regularizer names, any number of them at once.

Penalties on the weights, changes of the weights beside the step, noise on the activations or on the
weights, softer targets, a gradient
taken elsewhere, and stopping early. "Weights" are weight matrices and kernels: never biases or normalization
parameters.
"""

from fanin.parts.regularizers.base import Regularizer
from fanin.parts.regularizers.dropconnect import DropConnect
from fanin.parts.regularizers.dropout import Dropout, DropoutModule
from fanin.parts.regularizers.early_stopping import EarlyStopping
from fanin.parts.regularizers.label_smoothing import LabelSmoothing
from fanin.parts.regularizers.mask import Mask
from fanin.parts.regularizers.max_norm import MaxNorm
from fanin.parts.regularizers.patience import Patience
from fanin.parts.regularizers.penalties import L1, L2, Penalty
from fanin.parts.regularizers.sam import SAM
from fanin.parts.regularizers.weight_decay import WeightDecay

__all__ = [
    "L1",
    "L2",
    "SAM",
    "DropConnect",
    "Dropout",
    "DropoutModule",
    "EarlyStopping",
    "LabelSmoothing",
    "Mask",
    "MaxNorm",
    "Patience",
    "Penalty",
    "Regularizer",
    "WeightDecay",
]
