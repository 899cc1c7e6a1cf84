"""Optimizers in the textbook's form: what conf/optimizer names."""

from fanin.parts.optimizers.adadelta import Adadelta
from fanin.parts.optimizers.adagrad import Adagrad
from fanin.parts.optimizers.adam import Adam
from fanin.parts.optimizers.adamw import AdamW
from fanin.parts.optimizers.averaged_momentum import EmaMomentum, UnbiasedMomentum
from fanin.parts.optimizers.lion import Lion
from fanin.parts.optimizers.momentum import Momentum
from fanin.parts.optimizers.muon import Muon
from fanin.parts.optimizers.nadam import NAdam
from fanin.parts.optimizers.nesterov import Nesterov
from fanin.parts.optimizers.radam import RAdam
from fanin.parts.optimizers.rmsprop import Rmsprop
from fanin.parts.optimizers.sgd import GD, SGD

__all__ = [
    "GD",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "EmaMomentum",
    "Lion",
    "Momentum",
    "Muon",
    "NAdam",
    "Nesterov",
    "RAdam",
    "Rmsprop",
    "UnbiasedMomentum",
]
