"""The laws of activations; which activation has which, `fanin.parts.activations.LAWS` says.

A law fits here when the activation is positively homogeneous, phi(a z) = a phi(z) for a > 0: only then is the
factor of a layer independent of the norm that comes in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fanin.theory.ratio import Moments, log_ratio_moments


@dataclass(frozen=True)
class ActivationLaw:
    """How an activation passes on the squared norm of normal pre-activations.

    Attributes:
        name: name of the activation.
        half: E phi(z)^2 / E z^2 for z ~ N(0, 1), the same as E phi'(z)^2; 1/2 for ReLU (He et al. 2015).
        moments: (fan_in, fan_out, c) -> mean and variance of ln(||x_l||^2 / ||x_(l-1)||^2).
    """

    name: str
    half: float
    moments: Callable[[int, int, float], Moments]

    @property
    def critical_c(self) -> float:
        """The c that keeps E||x_l||^2 / n_l constant: 1 / half."""
        return 1 / self.half


RELU = ActivationLaw("relu", half=0.5, moments=partial(log_ratio_moments, gate=True))
IDENTITY = ActivationLaw("identity", half=1.0, moments=partial(log_ratio_moments, gate=False))
