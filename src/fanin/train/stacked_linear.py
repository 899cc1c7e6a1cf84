"""A linear layer whose stacked form rounds as the single one does.

A deep ReLU network grows differences of rounding a thousandfold within some steps, for where a unit's sign flips its
gradient jumps: runs that are to come out as they do alone need the products that they have alone. vmap's own rule for
linear layers gives them, to the last bit on the CPU, but for two cases: it takes the weights' gradient as the
transpose of x^T g, not as g^T x, and matrix libraries have another kernel for matrices of a few columns; and it adds
the bias after the product, not in it, which is another sum where the product is made of several blocks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NARROW, LONG = 16, 256
"""Fewer outputs, or more inputs where there is a bias, than these make the difference."""


class Product(torch.autograd.Function):
    """y = x W^T + b for one run or, under vmap, for R with one product of stacked matrices.

    x [..., in], W [out, in], b [out] or None; stacked: x [R, ..., in], W [R, out, in], b [R, out].
    dL/dx = g W;  dL/dW = g^T x;  dL/db = sum g over all rows.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The product, rows of x of any number of axes."""
        rows = _rows(x, weight)
        if bias is None:
            product = rows @ weight.mT
        elif weight.ndim == 2:
            product = torch.addmm(bias, rows, weight.mT)
        else:
            product = torch.baddbmm(bias.unsqueeze(1), rows, weight.mT)
        # A view that is made in here may not be worked on in place, as a ReLU after the layer may do.
        return product if product.ndim == x.ndim else product.view(*x.shape[:-1], -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        """Keep what the gradients need."""
        x, weight, bias = inputs
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients with respect to x, W and b."""
        x, weight = ctx.saved_tensors
        rows = _rows(gradients[0], weight)
        return (
            (rows @ weight).view(x.shape) if ctx.needs_input_grad[0] else None,
            rows.mT @ _rows(x, weight) if ctx.needs_input_grad[1] else None,
            rows.sum(-2) if ctx.has_bias and ctx.needs_input_grad[2] else None,
        )

    @staticmethod
    def vmap(
        info: Any, axes: tuple[int | None, ...], x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, int]:
        """The stacked form; what all runs share is stacked without copying."""
        stacked = [
            None if one is None else one.expand(info.batch_size, *one.shape) if axis is None else one.movedim(axis, 0)
            for one, axis in zip((x, weight, bias), axes, strict=True)
        ]
        return Product.apply(*stacked), 0


class StackedLinear(nn.Linear):
    """A linear layer that goes through `Product`."""

    def forward(self, x: Tensor) -> Tensor:
        """x W^T + b; what autocast lowers is lowered before, for the backward pass to see the same types."""
        parts = [x, self.weight, self.bias]
        device = x.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            parts = [None if part is None else part.to(dtype) for part in parts]
        product: Tensor = Product.apply(*parts)
        return product


def install(model: nn.Module) -> set[str]:
    """Turn those linear layers into stacked ones for which it makes a difference; returns their weights' names.

    Under vmap a `Product` costs more than the rule of its own.
    """
    turned = set()
    for name, module in model.named_modules():
        if type(module) is nn.Linear:
            long = module.bias is not None and module.in_features > LONG
            if long or module.out_features < NARROW:
                module.__class__ = StackedLinear
                turned.add(f"{name}.weight")
    return turned


def _rows(x: Tensor, weight: Tensor) -> Tensor:
    """All axes but the last and, where W is stacked, the first as one."""
    return x.flatten(weight.ndim - 2, -2)
