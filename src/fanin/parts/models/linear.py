"""One weight matrix: softmax regression, and the logistic neuron."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from fanin.errors import flag, integer
from fanin.parts.models.layers import empty_linear
from fanin.parts.per_run import stackable


@stackable
class LinearModel(nn.Sequential):
    """Logits that are linear in the inputs, $z = W x + b$.

    With loss=cross_entropy softmax regression; with one output and loss=binary_cross_entropy the logistic neuron.
    Its only child is linear_1. Source: Cox 1958.

    Args:
        in_features: entries of one flattened example.
        out_features: outputs.
        bias: whether there is a b [out_features].

    Raises:
        OptionError: a size is not a positive integer, bias not a boolean.

    >>> {name: tuple(one.shape) for name, one in LinearModel(in_features=4, out_features=2).named_parameters()}
    {'linear_1.weight': (2, 4), 'linear_1.bias': (2,)}
    """

    def __init__(self, *, in_features: int, out_features: int, bias: bool = True) -> None:
        integer("in_features", in_features, 1)
        integer("out_features", out_features, 1)
        flag("bias", bias)
        super().__init__(OrderedDict(linear_1=empty_linear(in_features, out_features, bias)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, out_features] of inputs [B, ...], whose further axes are flattened to in_features."""
        logits: Tensor = self[0](inputs.flatten(1))
        return logits
