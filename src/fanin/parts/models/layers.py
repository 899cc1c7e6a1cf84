"""What initializers, probes and regularizers mean by "the weight layers", and their fans; and what inputs are."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

PLAIN, TRANSPOSED = (nn.Conv1d, nn.Conv2d, nn.Conv3d), (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Convolutions."""


def takes_indices(model: nn.Module) -> bool:
    """Whether a model's inputs, where they are integers, are indices and stay integers; else they are numbers.

    A model says so itself, by an attribute `takes_indices`; of one that does not it is whether there is an embedding in
    it.

    >>> takes_indices(nn.Sequential(nn.Embedding(5, 2), nn.Flatten())), takes_indices(nn.Linear(5, 2))
    (True, False)
    """
    said = getattr(model, "takes_indices", None)
    if said is not None:
        return bool(said)
    return any(isinstance(module, (nn.Embedding, nn.EmbeddingBag)) for module in model.modules())


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


def biases(model: nn.Module) -> dict[str, Tensor]:
    """The biases of the weight layers that have some, by the layers' names."""
    found = ((name, getattr(layer, "bias", None)) for name, layer in weight_layers(model))
    return {name: bias for name, bias in found if isinstance(bias, nn.Parameter)}


def is_weight_layer(module: nn.Module) -> bool:
    """Whether the module itself owns a weight matrix (or kernel)."""
    weight = dict(module.named_parameters(recurse=False)).get("weight")
    return weight is not None and weight.ndim >= 2


def fans(layer: nn.Module | Tensor) -> tuple[int, int]:
    """How many inputs one output sums over, and how many outputs one input reaches.

    Of a matrix [out, in] they are in and out. With r = product of the kernel's sides, s = product of the strides and g
    groups: a convolution [out, in/g, *kernel] has fan_in = in/g r and fan_out = out/g r/s; a transposed one
    [in, out/g, *kernel], which lays r/s kernels over each output, has fan_in = in/g r/s and fan_out = out/g r. Where
    the stride does not divide the kernel these are means over places, rounded; edges do not count. An embedding hands
    one row on: fan_in = 1. Source: Glorot & Bengio 2010; for convolutions He et al. 2015.

    Args:
        layer: a weight layer; or its weight alone, which is then that of a matrix or a convolution of stride 1.

    Returns:
        (fan_in, fan_out), 1 or more each.

    Raises:
        ValueError: fewer than two axes.

    >>> import torch
    >>> fans(torch.empty(10, 784)), fans(torch.empty(16, 3, 5, 5))
    ((784, 10), (75, 400))
    >>> fans(nn.Conv2d(8, 16, 3, groups=4)), fans(nn.ConvTranspose2d(16, 64, 4, stride=2))
    ((18, 36), (64, 1024))
    """
    weight = layer if isinstance(layer, Tensor) else layer.get_parameter("weight")
    if weight.ndim < 2:
        raise ValueError(f"fans need a weight with 2 axes or more, not shape {tuple(weight.shape)}")
    if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
        return 1, weight.shape[1]
    # Axis 1 is what each place is connected to by a whole kernel; of axis 0 a group, by every stride-th entry of it.
    reach = math.prod(weight.shape[2:])
    share = 1 / (math.prod(layer.stride) * layer.groups) if isinstance(layer, (*PLAIN, *TRANSPOSED)) else 1
    whole, shared = weight.shape[1] * reach, max(1, round(weight.shape[0] * reach * share))
    return (shared, whole) if isinstance(layer, TRANSPOSED) else (whole, shared)


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
