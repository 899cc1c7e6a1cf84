"""Learning-rate schedules: functions of the step, with a warm-up that composes with any of them."""

from fanin.parts.schedules.annealing import Cosine, ExponentialRise, Linear, OneCycle, Polynomial, Timed
from fanin.parts.schedules.base import WARMUPS, Schedule
from fanin.parts.schedules.cycles import Triangular, WarmRestarts
from fanin.parts.schedules.decay import Constant, Exponential, InverseTime, NaturalExponential, Piecewise, Step
from fanin.parts.schedules.plateau import Plateau

__all__ = [
    "WARMUPS",
    "Constant",
    "Cosine",
    "Exponential",
    "ExponentialRise",
    "InverseTime",
    "Linear",
    "NaturalExponential",
    "OneCycle",
    "Piecewise",
    "Plateau",
    "Polynomial",
    "Schedule",
    "Step",
    "Timed",
    "Triangular",
    "WarmRestarts",
]
