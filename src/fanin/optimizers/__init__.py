"""Optimizers in the textbook's form: what conf/optimizer names."""

from fanin.optimizers.adadelta import Adadelta
from fanin.optimizers.adagrad import Adagrad
from fanin.optimizers.adam import Adam
from fanin.optimizers.adamw import AdamW
from fanin.optimizers.averaged_momentum import EmaMomentum, UnbiasedMomentum
from fanin.optimizers.lion import Lion
from fanin.optimizers.momentum import Momentum
from fanin.optimizers.muon import Muon
from fanin.optimizers.nadam import NAdam
from fanin.optimizers.nesterov import Nesterov
from fanin.optimizers.radam import RAdam
from fanin.optimizers.rmsprop import Rmsprop
from fanin.optimizers.sgd import GD, SGD

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
