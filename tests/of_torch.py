"""Torch's activations as theory sees them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fanin.theory.gaussian_maps import Activation, FloatArray


def activation(function: Callable[[Tensor], Tensor]) -> Activation:
    """A function of tensors, its derivative by autograd."""

    def phi(z: FloatArray) -> FloatArray:
        with torch.no_grad():
            return function(torch.from_numpy(np.array(z, dtype=np.float64))).numpy()

    def derivative(z: FloatArray) -> FloatArray:
        x = torch.from_numpy(np.array(z, dtype=np.float64)).requires_grad_()
        return torch.autograd.grad(function(x).sum(), x)[0].numpy()

    return Activation(phi, derivative)
