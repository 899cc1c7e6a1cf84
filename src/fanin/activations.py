"""Activations: functions applied to each pre-activation z on its own; each call returns a fresh module.

The modules compute out of place: a probe that looks at z after the forward pass still sees z.
"""

from __future__ import annotations

from torch import nn


def relu() -> nn.Module:
    """Rectified linear unit.

    f(z) = max(0, z), f'(z) = 1 for z > 0 and 0 for z <= 0. Source: Nair & Hinton 2010.
    """
    return nn.ReLU()


def tanh() -> nn.Module:
    """Hyperbolic tangent.

    f(z) = (e^z - e^-z) / (e^z + e^-z), f'(z) = 1 - f(z)^2. Source: LeCun et al. 1998.
    """
    return nn.Tanh()


def identity() -> nn.Module:
    """No nonlinearity: deep linear networks.

    f(z) = z, f'(z) = 1. Source: Saxe et al. 2014.
    """
    return nn.Identity()
