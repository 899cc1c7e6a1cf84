"""The multilayer perceptron, whose parts are all parameters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from fanin.errors import flag, integer
from fanin.parts.models.blocks import Hidden
from fanin.parts.models.layers import empty_linear
from fanin.parts.models.widths import Widths, hidden_widths
from fanin.parts.normalization import Normalization
from fanin.parts.per_run import stackable
from fanin.parts.regularizers import Dropout


@stackable
class Mlp(nn.Sequential):
    """A chain of `depth` weight matrices with an activation after each but the last.

    $h_0 = x$;  $z_l = W_l h_(l-1) + b_l$;  $h_l = dropout(f(norm(z_l)))$ or $dropout(norm(f(z_l)))$;  logits = $z_L$.
    depth=1 is softmax regression (in -> out), depth=2 has one hidden layer (in -> width -> out). After the
    last matrix comes nothing.

    The pieces are children in the order in which they run: linear_1, [batchnorm_1], relu_1, [dropout_1],
    linear_2, ..., linear_<depth>; dropout on the input is dropout_0. Weights hold whatever was in memory
    until an initializer fills them.

    Args:
        in_features: entries of one flattened sample.
        out_features: classes.
        depth: number of weight matrices, 1 or more.
        width: units of every hidden layer; or a list of depth - 1, of each in their order.
        bias: whether the linear layers have biases.
        activation: called once per hidden layer for a fresh module.
        normalization: its `placement` says whether it stands before or after the activation; one of the weights acts
            on all matrices but the last.
        dropout: p after each hidden layer, input_p before the first matrix; None for none.

    Raises:
        OptionError: a size is not a positive integer, a list of widths does not fit the depth, bias not a boolean, the
            normalization does not fit the width.

    >>> from fanin.parts.activations import relu
    >>> from fanin.parts.normalization import NoNorm
    >>> model = Mlp(in_features=4, out_features=2, depth=2, width=3, activation=relu, normalization=NoNorm())
    >>> [name for name, _ in model.named_children()], [tuple(weight.shape) for weight in model.parameters()]
    (['linear_1', 'relu_1', 'linear_2'], [(3, 4), (2, 3)])
    """

    def __init__(
        self,
        *,
        in_features: int,
        out_features: int,
        depth: int = 50,
        width: Widths = 100,
        bias: bool = False,
        activation: Callable[[], nn.Module],
        normalization: Normalization,
        dropout: Dropout | None = None,
    ) -> None:
        integer("in_features", in_features, 1)
        integer("out_features", out_features, 1)
        sizes = [in_features, *hidden_widths(width, depth), out_features]
        flag("bias", bias)
        hidden = Hidden(activation, normalization, dropout)
        parts = hidden.inputs()
        for index in range(1, depth):
            parts[f"linear_{index}"] = hidden.weight(empty_linear(sizes[index - 1], sizes[index], bias))
            parts |= hidden.after(index, sizes[index])
        parts[f"linear_{depth}"] = empty_linear(sizes[-2], sizes[-1], bias)
        super().__init__(OrderedDict(parts))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, out_features] of inputs [B, ...], whose further axes are flattened to in_features."""
        hidden = inputs.flatten(1)
        for module in self:
            hidden = module(hidden)
        return hidden
