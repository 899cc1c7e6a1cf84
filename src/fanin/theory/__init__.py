"""What theory says a freshly drawn network does, to be laid over what was measured.

Pure functions of plain numbers: no torch, no scipy, no file is needed to draw a line. Where an activation has no law
(`fanin.parts.activations.law_of`) no theory is known, and nothing is laid over. The laws hold for plain chains of fully
connected layers with independent normal weights and zero biases, without normalization or dropout: the caller
has to make sure of that.

>>> layers = [Layer(f"linear_{step}", 100, 100, 2.0) for step in range(1, 51)]
>>> round(forward_theory(layers, input_norm=1.0, law=RELU).post[48].median, 2)
0.54
"""

from fanin.theory.backward import backward_moments, gradient_line
from fanin.theory.expectation import Critical, Expectation
from fanin.theory.forward import ForwardTheory, Layer, NormTheory, forward_theory
from fanin.theory.laws import IDENTITY, RELU, ActivationLaw
from fanin.theory.ratio import Moments, log_ratio_moments
from fanin.theory.slope import SlopeTest, slope_moments, slope_test
from fanin.theory.verdict import Gradients, InitAnalysis, analyse

__all__ = [
    "IDENTITY",
    "RELU",
    "ActivationLaw",
    "Critical",
    "Expectation",
    "ForwardTheory",
    "Gradients",
    "InitAnalysis",
    "Layer",
    "Moments",
    "NormTheory",
    "SlopeTest",
    "analyse",
    "backward_moments",
    "forward_theory",
    "gradient_line",
    "log_ratio_moments",
    "slope_moments",
    "slope_test",
]
