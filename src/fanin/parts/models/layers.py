"""What initializers, probes and regularizers mean by "the weight layers", and their fans."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def weight_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that own a weight matrix (or kernel): parameter `weight` with two axes or more.

    Normalization layers own a weight vector and are left out.

    Returns:
        (qualified name, module) in registration order, which for a chain is the order of the forward pass.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    >>> [name for name, _ in weight_layers(model)]
    ['0', '2']
    """
    return [(name, module) for name, module in model.named_modules() if is_weight_layer(module)]


def is_weight_layer(module: nn.Module) -> bool:
    """Whether the module itself owns a weight matrix (or kernel)."""
    weight = dict(module.named_parameters(recurse=False)).get("weight")
    return weight is not None and weight.ndim >= 2


def fans(weight: Tensor) -> tuple[int, int]:
    """How many inputs one output sums over, and how many outputs one input reaches.

    fan_in = shape[1] * receptive, fan_out = shape[0] * receptive, receptive = product of the kernel's sides
    (1 for a matrix). Source: Glorot & Bengio 2010; for convolutions He et al. 2015.

    Args:
        weight: [out, in] or [out, in, *kernel].

    Returns:
        (fan_in, fan_out).

    Raises:
        ValueError: fewer than two axes.

    >>> import torch
    >>> fans(torch.empty(10, 784)), fans(torch.empty(16, 3, 5, 5))
    ((784, 10), (75, 400))
    """
    if weight.ndim < 2:
        raise ValueError(f"fans need a weight with 2 axes or more, not shape {tuple(weight.shape)}")
    receptive = math.prod(weight.shape[2:])
    return weight.shape[1] * receptive, weight.shape[0] * receptive


class _Undrawn:
    """Not torch's skip_init: that draws on the meta device, and imports sympy, a third of a second at every start."""

    def reset_parameters(self) -> None:
        """Fill the parameters with NaN: whatever no initializer fills is found before the first step."""
        with torch.no_grad():
            for parameter in self.parameters():  # type: ignore[attr-defined]
                parameter.fill_(math.nan)


class _UndrawnLinear(_Undrawn, nn.Linear):
    pass


class _UndrawnConv(_Undrawn, nn.Conv2d):
    pass


def empty_linear(in_features: int, out_features: int, bias: bool) -> nn.Linear:
    """A linear layer y = x W^T + b with its memory set aside but nothing drawn: an initializer fills it.

    Torch's own initialization costs no time and takes nothing from torch's global generator, for it does not run.
    Lands on the default device: under `torch.device("meta")` it has no memory.

    Args:
        in_features, out_features: W is [out_features, in_features].
        bias: whether there is a b [out_features].
    """
    layer: nn.Linear = _UndrawnLinear(in_features, out_features, bias)
    layer.__class__ = nn.Linear
    return layer


def empty_conv(in_channels: int, out_channels: int, kernel: int, bias: bool, stride: int = 1) -> nn.Conv2d:
    """A convolution y = W * x + b with its memory set aside but nothing drawn; see `empty_linear`.

    Zeros around the maps make up for the kernel's width: H x W becomes ceil(H / stride) x ceil(W / stride).

    Args:
        in_channels, out_channels, kernel: W is [out_channels, in_channels, kernel, kernel], kernel odd.
        bias: whether there is a b [out_channels].
        stride: places from one output to the next.
    """
    layer: nn.Conv2d = _UndrawnConv(in_channels, out_channels, kernel, stride, kernel // 2, bias=bias)
    layer.__class__ = nn.Conv2d
    return layer
