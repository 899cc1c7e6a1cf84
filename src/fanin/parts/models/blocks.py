"""What models are made of between their weight layers: one hidden stage for all, and residual blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from fanin.errors import OptionError, number
from fanin.parts.models.layers import is_weight_layer
from fanin.parts.normalization import Normalization
from fanin.parts.regularizers import Dropout

Parts = dict[str, nn.Module]
"""Modules by the names that they will have in a model, in the order in which they run."""


@dataclass(frozen=True)
class Hidden:
    """What a model does to each hidden weight layer, and to its output z.

    h = dropout(f(norm(z))) or, by the normalization's placement, dropout(norm(f(z))).

    Args:
        activation: called once per hidden layer for a fresh f.
        normalization: makes a norm for each hidden layer; may also reparametrize the weight.
        dropout: p after each hidden layer, input_p on the inputs; None for none.
    """

    activation: Callable[[], nn.Module]
    normalization: Normalization
    dropout: Dropout | None = None

    def inputs(self) -> Parts:
        """Dropout on the inputs, dropout_0, where there is any."""
        return {"dropout_0": self.dropout.make(self.dropout.input_p)} if self.dropout and self.dropout.input_p else {}

    def weight(self, layer: nn.Module) -> nn.Module:
        """A hidden weight layer, reparametrized where the normalization says so."""
        return self.normalization.wrap(layer)

    def after(self, index: int, features: int, dims: int = 0, *, drop: bool = True) -> Parts:
        """The stage after a weight layer, named by the kinds and the layer's number: batchnorm_2, relu_2, dropout_2.

        Args:
            index: of the weight layer, from 1.
            features: units, or channels, of its output.
            dims: 0 for [B, features], 2 for [B, features, H, W].
            drop: whether dropout belongs here.
        """
        activation, norm = self.activation(), self.normalization.make(features, dims)
        stage = [(type(activation), activation), (type(self.normalization), norm)]
        if self.normalization.placement == "pre_activation":
            stage.reverse()
        parts = {f"{kind.__name__.lower()}_{index}": module for kind, module in stage if module is not None}
        if drop and self.dropout and self.dropout.p > 0:
            parts[f"dropout_{index}"] = self.dropout.make(self.dropout.p)
        return parts


class Add(nn.Module):
    """The sum at the end of a residual branch, y = h + scale * F, a module so that probes see it.

    Args:
        scale: of the branch.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        """The sum of two tensors of one shape."""
        return shortcut + self.scale * branch

    def extra_repr(self) -> str:
        """The scale, for print(model)."""
        return f"scale={self.scale:.4g}"


class Residual(nn.Module):
    """A residual block, h -> S(h) + scale * F(h).

    Its children are the branch's modules under their own names, then `projection` where S is one, and `add`.

    Args:
        branch: F, a chain.
        projection: S, a weight layer; None for the identity.
        scale: of the branch.
    """

    def __init__(self, branch: Parts, projection: nn.Module | None = None, scale: float = 1.0) -> None:
        super().__init__()
        for name, module in branch.items():
            self.add_module(name, module)
        self.projection = projection
        self.add = Add(scale)
        self._branch = tuple(branch)

    def branch(self) -> list[nn.Module]:
        """The modules of F in their order."""
        return [getattr(self, name) for name in self._branch]

    def forward(self, hidden: Tensor) -> Tensor:
        """The sum of shortcut and branch, of the shape of either."""
        out = hidden
        for module in self.branch():
            out = module(out)
        total: Tensor = self.add(hidden if self.projection is None else self.projection(hidden), out)
        return total


def branch_scale(scale: float | str, branches: int) -> float:
    """The scale of residual branches as a number; "depth" is 1/sqrt(branches).

    Raises:
        OptionError: neither a number > 0 nor "depth".
    """
    if scale == "depth":
        return 1 / math.sqrt(max(branches, 1))
    if isinstance(scale, str):
        raise OptionError("scale", scale, "a number > 0 or depth")
    return number("scale", scale, 0, open_low=True)


def residual_branches(model: nn.Module) -> list[list[nn.Module]]:
    """The weight layers of each residual branch of a model, in the order of the forward pass."""
    blocks = [module for module in model.modules() if isinstance(module, Residual)]
    return [[layer for layer in block.branch() if is_weight_layer(layer)] for block in blocks]
