"""Optimizers in the textbook's form: what conf/optimizer names."""

from fanin.optimizers.adam import Adam
from fanin.optimizers.momentum import Momentum
from fanin.optimizers.sgd import SGD

__all__ = ["SGD", "Adam", "Momentum"]
