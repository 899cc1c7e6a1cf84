"""An activation's module as theory sees it: a function of numbers, its derivative by automatic differentiation."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from fanin.theory.gaussian_maps import Activation, FloatArray

_maps: dict[tuple[type, str], Activation | None] = {}
"""Of torch's own modules: what is computed for one run serves all of a grid."""

TRIED = np.linspace(-3.0, 3.0, 13)


def activation_map(module: nn.Module) -> Activation | None:
    """What a module does to one number, None if it does more than that.

    A module without parameters that maps every entry on its own has a map, whatever its class is called: torch's and
    one's own alike. A module that mixes entries (softmax) or draws numbers (rrelu in training) has none.

    >>> activation_map(nn.ReLU()).mean_square(2.0)
    1.0
    >>> round(activation_map(nn.ReLU(inplace=True)).derivative_mean_square(2.0), 6)
    0.5
    >>> activation_map(nn.Softmax(dim=-1)) is None
    True
    """
    key = (type(module), repr(module))
    known = type(module).__module__.startswith("torch.nn.")  # whose settings their names tell
    if known and key in _maps:
        return _maps[key]
    found = None if next(module.parameters(), None) is not None else _map_of(module)
    if known:
        _maps[key] = found
    return found


def _map_of(module: nn.Module) -> Activation | None:
    # Numbers on the CPU, whoever asks: a model that is only checked is made on the meta device, which has none.
    def phi(z: FloatArray) -> FloatArray:
        with torch.no_grad():
            return np.asarray(module(torch.tensor(z, dtype=torch.float64, device="cpu")).numpy())

    def derivative(z: FloatArray) -> FloatArray:
        with torch.inference_mode(False), torch.enable_grad():  # whoever asks: weights are drawn without gradients
            x = torch.tensor(z, dtype=torch.float64, device="cpu", requires_grad=True)
            y = module(x.clone())  # which it may work on in place
            if not y.requires_grad:  # a constant, or a step
                return np.zeros_like(z)
            return np.asarray(torch.autograd.grad(y.sum(), x)[0].numpy())

    try:
        together, apart = phi(TRIED), np.array([phi(one[None])[0] for one in TRIED])
        again = derivative(TRIED).shape == TRIED.shape and np.array_equal(together, phi(TRIED))
    except Exception:  # of a module that wants another shape or type
        return None
    alike = together.shape == TRIED.shape and np.allclose(together, apart, rtol=1e-12, atol=1e-12)
    return Activation(phi, derivative) if alike and again else None
