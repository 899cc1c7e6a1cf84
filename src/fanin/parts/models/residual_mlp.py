"""A multilayer perceptron with shortcuts around its hidden layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from fanin.errors import OptionError, flag, integer
from fanin.parts.models.blocks import Hidden, Parts, Residual, branch_scale, residual_branches
from fanin.parts.models.layers import empty_linear
from fanin.parts.models.widths import Widths, hidden_widths
from fanin.parts.normalization import Normalization
from fanin.parts.per_run import stackable
from fanin.parts.regularizers import Dropout


@stackable
class ResidualMlp(nn.Sequential):
    """A chain of `depth` weight matrices, all but the first and the last in residual branches of m matrices each.

    $h_0 = W_1 x$;  $h_l = S_l(h_(l-1)) + scale * F_l(h_(l-1))$;  logits = $W_depth s(h_L)$;  with $F_l(h) = W s(... W
    s(h))$ of m matrices, $s(z) = dropout(f(norm(z)))$ or $dropout(norm(f(z)))$ and $L = (depth - 2) / m$ branches. S
    is the identity or, where a block's output is not as wide as its input, a matrix. This is the pre-activation form:
    nothing but sums lies on the path from h_0 to h_L. Without branches (depth=2) it is the mlp of that depth. Source:
    He et al. 2016, Identity mappings in deep residual networks.

    The pieces: linear_1, then block_1 with relu_1, linear_2, relu_2, linear_3, [projection], add, then block_2 with
    relu_3, linear_4, ..., at last relu_<depth-1>, linear_<depth>: a relu has the number of the matrix before it, and
    depth leaves the projections out.

    Args:
        in_features: entries of one flattened example.
        out_features: classes.
        depth: number of weight matrices, 2 + m L.
        width: units of every hidden layer; or a list of depth - 1, of each in their order.
        bias: whether the linear layers have biases.
        scale: of the branches: a number > 0 or "depth", 1/sqrt(L), which keeps the variance of h_L of the order of
            that of h_0 whatever L is.
        layers_per_branch: m.
        activation: called once per hidden layer for a fresh module.
        normalization: its `placement` says whether it stands before or after the activation; one of the weights acts
            on all matrices but the last.
        dropout: p after each activation, input_p before the first matrix; None for none.

    Raises:
        OptionError: a value is not allowed, depth or a list of widths does not fit, the normalization does not fit the
            width.
    """

    def __init__(
        self,
        *,
        in_features: int,
        out_features: int,
        depth: int = 10,
        width: Widths = 100,
        bias: bool = True,
        scale: float | str = 1.0,
        layers_per_branch: int = 2,
        activation: Callable[[], nn.Module],
        normalization: Normalization,
        dropout: Dropout | None = None,
    ) -> None:
        integer("in_features", in_features, 1)
        integer("out_features", out_features, 1)
        integer("depth", depth, 2)
        widths = hidden_widths(width, depth)
        flag("bias", bias)
        branches, rest = divmod(depth - 2, integer("layers_per_branch", layers_per_branch, 1))
        if rest:
            fix = f"for whole branches take depth={depth - rest} or {depth - rest + layers_per_branch}"
            fix += "" if isinstance(width, int) else ", one more than there are widths"
            raise OptionError("depth", depth, f"2 more than a multiple of layers_per_branch={layers_per_branch}", fix)
        factor = branch_scale(scale, branches)
        hidden = Hidden(activation, normalization, dropout)
        parts = hidden.inputs() | {"linear_1": hidden.weight(empty_linear(in_features, widths[0], bias))}
        index = 1  # of the weight layer that has run last, of widths[index - 1] units
        for block in range(1, branches + 1):
            branch: Parts = {}
            before = widths[index - 1]
            for _ in range(layers_per_branch):
                branch |= hidden.after(index, widths[index - 1])
                index += 1
                branch[f"linear_{index}"] = hidden.weight(empty_linear(widths[index - 2], widths[index - 1], bias))
            after = widths[index - 1]
            projection = None if after == before else hidden.weight(empty_linear(before, after, bias))
            parts[f"block_{block}"] = Residual(branch, projection, factor)
        parts |= hidden.after(index, widths[-1])
        parts[f"linear_{depth}"] = empty_linear(widths[-1], out_features, bias)
        super().__init__(OrderedDict(parts))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, out_features] of inputs [B, ...], whose further axes are flattened to in_features."""
        hidden = inputs.flatten(1)
        for module in self:
            hidden = module(hidden)
        return hidden

    def residual_branches(self) -> list[list[nn.Module]]:
        """The weight layers of each branch, in the order of the forward pass."""
        return residual_branches(self)
