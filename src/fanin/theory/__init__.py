"""What theory says a freshly drawn network does, to be laid over what was measured.

Pure functions of plain numbers and arrays: no torch, no scipy, no file is needed to draw a line.
"""

from fanin.theory.expectation import Critical, Expectation
from fanin.theory.ratio import Moments, log_ratio_moments
from fanin.theory.verdict import Gradients, InitAnalysis, analyse

__all__ = [
    "Critical",
    "Expectation",
    "Gradients",
    "InitAnalysis",
    "Moments",
    "analyse",
    "log_ratio_moments",
]
