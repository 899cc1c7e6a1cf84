"""A small selective state space model: the rows of an image pass through linear recurrences that they choose."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin.errors import flag, integer, number
from fanin.parts.models.attention import NormedResidual, TokenMean
from fanin.parts.models.blocks import branch_scale
from fanin.parts.models.layers import empty_linear
from fanin.parts.models.rows import check_normalization, rows, sequence_shape
from fanin.parts.normalization import Normalization
from fanin.parts.per_run import stackable
from fanin.parts.regularizers import Dropout


@stackable
class Mamba(nn.Module):
    """Rows as tokens, `layers` residual blocks of a selective state space, the mean over the tokens, a classifier.

    $x_t = W row_t + b$, a row with all channels; a block: $x <- x + scale branch(norm(x))$, the branch a `Selective`;
    post_activation has $x <- norm(x + scale branch(x))$. The order of the rows is told by the recurrence itself, and no
    positions are added. The paper's short convolution before the recurrence is left out. Source: Gu & Dao 2023.

    Args:
        input_shape: (C, H, W) of an image: H tokens.
        out_features: outputs.
        layers: blocks.
        width: entries of a token.
        expand: E / width, channels of the recurrence for each entry of a token.
        states: N, numbers that each channel remembers.
        step: of the discretization at the start, > 0; 1/step rows are remembered by the slowest state.
        scale: of the branches: a number > 0 or "depth", 1/sqrt(layers).
        bias: whether embedding and classifier have biases.
        activation: of the recurrence's inputs and of its gate, called for each fresh module: silu in the paper.
        normalization: none, layer or rms, of each token.
        dropout: p on each branch's outcome, input_p on the rows; None for none.

    Raises:
        OptionError: a size is not a positive integer, a number out of range.
        UserError: examples are not images, or the normalization mixes tokens or examples.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        out_features: int,
        layers: int = 2,
        width: int = 32,
        expand: int = 2,
        states: int = 8,
        step: float = 0.1,
        scale: float | str = "depth",
        bias: bool = True,
        activation: Callable[[], nn.Module],
        normalization: Normalization,
        dropout: Dropout | None = None,
    ) -> None:
        super().__init__()
        _, entries = sequence_shape("mamba", input_shape)
        integer("out_features", out_features, 1)
        integer("layers", layers, 1)
        integer("width", width, 1)
        integer("expand", expand, 1)
        integer("states", states, 1)
        number("step", step, 0, open_low=True)
        factor = branch_scale(scale, layers)
        flag("bias", bias)
        check_normalization("mamba", normalization)
        self.dropout = dropout.make(dropout.input_p) if dropout and dropout.input_p > 0 else None
        self.embedding = empty_linear(entries, width, bias)
        self.blocks = nn.Sequential()
        for index in range(1, layers + 1):
            branch = Selective(width, expand * width, states, step, activation)
            drop = dropout.make(dropout.p) if dropout and dropout.p > 0 else None
            norm, placement = normalization.make(width), normalization.placement
            block = NormedResidual(branch, norm, drop, placement=placement, scale=factor)
            self.blocks.add_module(f"selective_{index}", block)
        self.norm = normalization.make(width) if normalization.placement == "pre_activation" else None
        self.mean = TokenMean()
        self.classifier = empty_linear(width, out_features, bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [B, out_features] of images [B, C, H, W]."""
        tokens = rows(inputs)
        if self.dropout is not None:
            tokens = self.dropout(tokens)
        tokens = self.blocks(self.embedding(tokens))
        if self.norm is not None:
            tokens = self.norm(tokens)
        outputs: Tensor = self.classifier(self.mean(tokens))
        return outputs


class Selective(nn.Module):
    """A linear recurrence of E channels with N states each, whose step, input and output the tokens choose (S6).

    $x_t <- r(x_t)$;  $u_t = f(W_u x_t)$;  $Delta_t = softplus(W_2 W_1 u_t + d)$;
    $B_t = r(W_B u_t)$;  $C_t = r(W_C u_t)/sqrt(N)$;
    $h_t = exp(Delta_t A) h_(t-1) + Delta_t B_t u_t$ for each channel and state, $h_0 = 0$, $A = -exp(a)$;
    $y_t = C_t^T h_t + D u_t$;  out: $W_o (y_t f(W_g x_t))$. r divides by the root of the mean square: of
    tokens as the paper's blocks do, of B and C as Lieber et al. 2024 (Jamba) do; without it the outcome is of fourth
    degree in x, and training by sgd diverges in some steps. The recurrence is computed by an associative scan (`scan`).
    At the start $A = -1, -2, ..., -N$ in each channel (S4D-real), D = 1 and d such that $Delta = step$ where u = 0.
    Linear layers are without biases; W_1 has width/16 outputs. Source: Gu & Dao 2023, algorithm 2.

    Args:
        width: entries of a token.
        channels: E.
        states: N.
        step: Delta at the start.
        activation: f.
    """

    def __init__(
        self, width: int, channels: int, states: int, step: float, activation: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        rank = max(1, width // 16)
        self.enter = empty_linear(width, channels, bias=False)
        self.gate = empty_linear(width, channels, bias=False)
        self.enter_activation, self.gate_activation = activation(), activation()
        self.step_down = empty_linear(channels, rank, bias=False)
        self.step_up = empty_linear(rank, channels, bias=False)
        self.write = empty_linear(channels, states, bias=False)
        self.read = empty_linear(channels, states, bias=False)
        decays = torch.arange(1, states + 1, device="cpu").float().log().expand(channels, states)
        self.log_decay = nn.Parameter(torch.empty(channels, states).copy_(decays))
        shift = step + math.log(-math.expm1(-step))  # ln(exp(step) - 1), which softplus takes back
        self.step_shift = nn.Parameter(torch.full((channels,), shift))
        self.skip = nn.Parameter(torch.ones(channels))
        self.out = empty_linear(channels, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, width] of tokens [B, n, width]."""
        x = _scaled(x)
        u = self.enter_activation(self.enter(x))
        step = F.softplus(self.step_up(self.step_down(u)) + self.step_shift)
        decay = (-step.unsqueeze(-1) * self.log_decay.exp()).exp()
        driven = (step * u).unsqueeze(-1) * _scaled(self.write(u)).unsqueeze(-2)
        states = scan(decay, driven)
        read = _scaled(self.read(u)) / math.sqrt(states.shape[-1])
        y = (states @ read.unsqueeze(-1)).squeeze(-1) + self.skip * u
        outputs: Tensor = self.out(y * self.gate_activation(self.gate(x)))
        return outputs


def _scaled(x: Tensor) -> Tensor:
    """Each vector over the root of its mean square, which is at least 1e-3."""
    return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()


def scan(decay: Tensor, driven: Tensor) -> Tensor:
    """All states of $h_t = a_t h_(t-1) + b_t$, $h_0 = 0$, in log2(n) steps that each take all t at once.

    The pairs (a, b) of stretches that follow each other make that of both: (a', b') after (a, b) is
    $(a' a, a' b + b')$, which is associative; after step k each t has that of the 2^k places up to it.
    Source: Blelloch 1990; the variant without a way back: Hillis & Steele 1986.

    Args:
        decay: a [B, n, ...].
        driven: b, of the same shape.

    Returns:
        h, of the same shape.

    >>> scan(torch.tensor([[0.5, 0.5, 0.5]]), torch.tensor([[1.0, 1.0, 1.0]]))
    tensor([[1.0000, 1.5000, 1.7500]])
    """
    count, reach = decay.shape[1], 1
    while reach < count:
        later, before = decay[:, reach:], decay[:, : count - reach]
        joined = later * driven[:, : count - reach] + driven[:, reach:]
        driven = torch.cat([driven[:, :reach], joined], dim=1)
        decay = torch.cat([decay[:, :reach], later * before], dim=1)
        reach *= 2
    return driven
