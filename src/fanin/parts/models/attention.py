"""A small encoder: the rows of an image look at each other."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fanin.errors import OptionError, choice, flag, integer
from fanin.parts.models.attend import (
    LinearAttention,
    LowRankAttention,
    MultiHead,
    RandomFeatureAttention,
    SoftmaxAttention,
)
from fanin.parts.models.blocks import Add, branch_scale
from fanin.parts.models.layers import empty_linear
from fanin.parts.models.rows import check_normalization, rows, sequence_shape
from fanin.parts.normalization import Normalization
from fanin.parts.per_run import stackable
from fanin.parts.regularizers import Dropout

KINDS = ("softmax", "low_rank", "linear", "random_features")


@stackable
class Attention(nn.Module):
    """Rows as tokens, blocks of attention and of a feed-forward network, the mean over the tokens, a classifier.

    $x_t = W row_t + b + position_t$, a row with all channels; twice a block: $x <- x + scale branch(norm(x))$, the
    branch attention over all rows (see `MultiHead`) first, then $W2 f(W1 x + b1) + b2$ on each row.
    placement=pre_activation has the normalization before each branch, as above, and once more before the mean (Xiong
    et al. 2020); post_activation has $x <- norm(x + scale branch(x))$ (Vaswani et al. 2017).

    Without a normalization the weights decide how tokens grow: branches of variance 2/fan_in multiply their squares by
    4 (attention) and 2 (feed-forward), so that with scale=1 two blocks end at 225 times the square that they start
    with, and training diverges at usual rates. scale=depth keeps them of one order (De & Smith 2020).

    Args:
        input_shape: (C, H, W) of an image: H tokens.
        out_features: outputs.
        kind: softmax, low_rank, linear or random_features.
        layers: blocks.
        width: entries of a token, a multiple of heads.
        heads: of the attention.
        hidden: units of the feed-forward network.
        scale: of the branches: a number > 0 or "depth", 1/sqrt(2 layers).
        rank: for kind=low_rank, how many mixtures of tokens are attended to, at most H; else not used.
        features: for kind=random_features, how many; else not used.
        bias: whether the linear layers have biases.
        activation: of the feed-forward network, called for each fresh module.
        normalization: none, layer or rms, of each token.
        dropout: p on each branch's outcome, input_p on the rows; None for none.

    Raises:
        OptionError: a size is not a positive integer, or does not fit the others.
        UserError: examples are not images, or the normalization mixes tokens or examples.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        out_features: int,
        kind: str = "softmax",
        layers: int = 2,
        width: int = 64,
        heads: int = 4,
        hidden: int = 128,
        scale: float | str = "depth",
        rank: int = 4,
        features: int = 64,
        bias: bool = True,
        activation: Callable[[], nn.Module],
        normalization: Normalization,
        dropout: Dropout | None = None,
    ) -> None:
        super().__init__()
        tokens, entries = sequence_shape("attention", input_shape)
        choice("kind", kind, KINDS)
        integer("out_features", out_features, 1)
        integer("layers", layers, 1)
        integer("width", width, 1)
        integer("hidden", hidden, 1)
        factor = branch_scale(scale, 2 * layers)
        integer("rank", rank, 1, tokens if kind == "low_rank" else None)
        integer("features", features, 1)
        flag("bias", bias)
        if width % integer("heads", heads, 1):
            raise OptionError("heads", heads, f"a divisor of the width {width}")
        check_normalization("attention", normalization)

        def residual(branch: nn.Module) -> NormedResidual:
            drop = dropout.make(dropout.p) if dropout and dropout.p > 0 else None
            norm, placement = normalization.make(width), normalization.placement
            return NormedResidual(branch, norm, drop, placement=placement, scale=factor)

        def attend(place: int) -> nn.Module:
            if kind == "low_rank":
                return LowRankAttention(tokens, rank)
            if kind == "random_features":
                return RandomFeatureAttention(width // heads, features, place)
            return SoftmaxAttention() if kind == "softmax" else LinearAttention()

        self.dropout = dropout.make(dropout.input_p) if dropout and dropout.input_p > 0 else None
        self.embedding = empty_linear(entries, width, bias)
        self.positions = Positions(tokens, width)
        self.blocks = nn.Sequential()
        for index in range(1, layers + 1):
            forward = OrderedDict(
                up=empty_linear(width, hidden, bias), activation=activation(), down=empty_linear(hidden, width, bias)
            )
            self.blocks.add_module(
                f"attention_{index}", residual(MultiHead(width, heads, bias=bias, attend=attend(index)))
            )
            self.blocks.add_module(f"forward_{index}", residual(nn.Sequential(forward)))
        self.norm = normalization.make(width) if normalization.placement == "pre_activation" else None
        self.mean = TokenMean()
        self.classifier = empty_linear(width, out_features, bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [B, out_features] of images [B, C, H, W]."""
        tokens = rows(inputs)
        if self.dropout is not None:
            tokens = self.dropout(tokens)
        tokens = self.blocks(self.positions(self.embedding(tokens)))
        if self.norm is not None:
            tokens = self.norm(tokens)
        outputs: Tensor = self.classifier(self.mean(tokens))
        return outputs

    def residual_branches(self) -> list[list[nn.Module]]:
        """The linear layers that each branch's values go through: values and outcome, or both of the feed-forward."""
        branches = [block.get_submodule("branch") for block in self.blocks]
        ends = (("value", "out") if isinstance(branch, MultiHead) else ("up", "down") for branch in branches)
        return [[branch.get_submodule(name) for name in names] for branch, names in zip(branches, ends, strict=True)]


class NormedResidual(nn.Module):
    """x + a drop(branch(norm(x))) for placement pre_activation, norm(x + a drop(branch(x))) for post_activation.

    Args:
        branch: of the shape of its input.
        norm: or None.
        drop: dropout, or None.
        placement: of the norm.
        scale: a.
    """

    def __init__(
        self, branch: nn.Module, norm: nn.Module | None, drop: nn.Module | None, *, placement: str, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.before = norm if placement == "pre_activation" else None
        self.branch = branch
        self.drop = drop
        self.add = Add(scale)
        self.after = None if self.before is norm else norm

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of x."""
        inner = self.branch(x if self.before is None else self.before(x))
        total: Tensor = self.add(x, inner if self.drop is None else self.drop(inner))
        return total if self.after is None else self.after(total)


class TokenMean(nn.Module):
    """The mean over the tokens, a module for probes to see."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, F] -> [B, F]."""
        return x.mean(1)


class Positions(nn.Module):
    """Adds to each token where it stands, by fixed waves.

    p_(t, k) = sin(t / 10000^(k/F)) for even k, cos(t / 10000^((k-1)/F)) for odd k. Source: Vaswani et al. 2017.

    Args:
        tokens: n.
        width: F.
    """

    table: Tensor

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        # On the CPU first: on the meta device these functions would import sympy, two seconds at every start.
        entry = torch.arange(width, dtype=torch.float64, device="cpu")
        token = torch.arange(tokens, dtype=torch.float64, device="cpu").unsqueeze(1)
        waves = token / 10000 ** ((entry - entry % 2) / width)
        table = torch.where(entry % 2 == 0, waves.sin(), waves.cos())
        self.register_buffer("table", torch.empty(tokens, width).copy_(table))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, n, F] plus the positions [n, F]."""
        return x + self.table
