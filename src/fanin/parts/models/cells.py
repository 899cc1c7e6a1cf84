"""Recurrent layers: a cell that goes over a sequence.

The product with the inputs is made for all time steps at once, that with the hidden state step by step. The matrices
of a layer's gates are stacked in one, as in torch: initializers see fan_in as it is and fan_out times the number of
gates, and an orthogonal draw is one of the stack, not of each gate. There is one bias, with the inputs; torch has a
second one, with the hidden state.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from fanin.parts.models.layers import empty_linear
from fanin.parts.normalization import Normalization

State = tuple[Tensor, ...]
"""The hidden state [B, width] first, then what else a cell remembers."""


class RecurrentLayer(nn.Module):
    """What the layers share: W [gates * width, inputs] and b for the inputs, U [gates * width, width] for h.

    Args:
        inputs: entries of a vector of the sequence.
        width: hidden units.
        bias: whether there is a b.
        activation: called for each fresh module.
        normalization: acts on one vector at a time; the same modules at all time steps.
    """

    gates: ClassVar[int] = 1
    memories: ClassVar[int] = 1

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        bias: bool,
        activation: Callable[[], nn.Module],
        normalization: Normalization,
    ) -> None:
        super().__init__()
        self.width = width
        self.input = empty_linear(inputs, self.gates * width, bias)
        self.hidden = empty_linear(width, self.gates * width, bias=False)
        self.build(activation, normalization)
        self.states = Stack()

    @abstractmethod
    def build(self, activation: Callable[[], nn.Module], normalization: Normalization) -> None:
        """Add what the cell has beside W and U."""

    def forward(self, sequence: Tensor, mask: Tensor | None = None) -> Tensor:
        """Hidden states [B, T, width] after each vector of a sequence [B, T, inputs]; all is 0 before the first.

        Args:
            sequence: the vectors.
            mask: [B, width], multiplies h wherever U does.
        """
        driven = self.drive(sequence)
        # Not len(), which would be the number of one batch in an exported program.
        state: State = (driven.new_zeros(driven.shape[0], self.width),) * self.memories
        states = []
        for step in driven.unbind(1):
            remembered = state[0] if mask is None else state[0] * mask
            state = self.advance(step, self.hidden(remembered), state)
            states.append(state[0])
        stacked: Tensor = self.states(states)
        return stacked

    def drive(self, sequence: Tensor) -> Tensor:
        """What the inputs contribute, [B, T, gates * width]."""
        driven: Tensor = self.input(sequence)
        return driven

    @abstractmethod
    def advance(self, driven: Tensor, recurrent: Tensor, state: State) -> State:
        """The state after one step, from W x + b and U h, [B, gates * width] each, and the state before."""


class RnnLayer(RecurrentLayer):
    """$h_t = f(norm(W x_t + U h_(t-1) + b))$. Source: Elman 1990; normalization: Ba et al. 2016."""

    def build(self, activation: Callable[[], nn.Module], normalization: Normalization) -> None:
        """See RecurrentLayer."""
        self.norm = normalization.make(self.width)
        self.activation = activation()

    def advance(self, driven: Tensor, recurrent: Tensor, state: State) -> State:
        """See the class."""
        return (self.activation(_normed(self.norm, driven + recurrent)),)


class GatedLayer(RecurrentLayer):
    """What lstm and gru share: normalizations of the gates' pre-activations, and the logistic function."""

    def build(self, activation: Callable[[], nn.Module], normalization: Normalization) -> None:
        """See RecurrentLayer."""
        self.input_norm = normalization.make(self.gates * self.width)
        self.hidden_norm = normalization.make(self.gates * self.width)
        self.gate = nn.Sigmoid()
        self.candidate = activation()

    def drive(self, sequence: Tensor) -> Tensor:
        """norm(W x + b) for all time steps."""
        return _normed(self.input_norm, self.input(sequence))


class LstmLayer(GatedLayer):
    """Long short-term memory: a memory c behind an input gate i, a forget gate f and an output gate o.

    $(i, f, o, g) = norm(W x_t + b) + norm(U h_(t-1))$; $c_t = s(f) c_(t-1) + s(i) f(g)$; $h_t = s(o) tanh(norm(c_t))$,
    $s(z) = 1/(1 + exp(-z))$, f the activation: tanh in the textbook's. The outer tanh is one whatever f is: a state
    that feeds itself unbounded through four gates explodes within some steps. torch stacks its gates as i, f, g, o.
    Source: Hochreiter & Schmidhuber 1997, Gers et al. 2000; normalization: Ba et al. 2016, appendix.
    """

    gates = 4
    memories = 2

    def build(self, activation: Callable[[], nn.Module], normalization: Normalization) -> None:
        """See RecurrentLayer."""
        super().build(activation, normalization)
        self.memory_norm = normalization.make(self.width)
        self.output = nn.Tanh()

    def forget_gate(self) -> Tensor | None:
        """The biases of the forget gate, [width], for initializers to set; None without biases."""
        bias: Tensor | None = self.input.bias
        return None if bias is None else bias[self.width : 2 * self.width]

    def advance(self, driven: Tensor, recurrent: Tensor, state: State) -> State:
        """See the class."""
        z = driven + _normed(self.hidden_norm, recurrent)
        i, f, o = self.gate(z[:, : 3 * self.width]).chunk(3, dim=-1)
        c = f * state[1] + i * self.candidate(z[:, 3 * self.width :])
        return o * self.output(_normed(self.memory_norm, c)), c


class GruLayer(GatedLayer):
    """Gated recurrent unit: a reset gate r on what is remembered, an update gate z between old and new.

    $a = norm(W x_t + b)$, $u = norm(U h_(t-1))$, each in three parts;  $r = s(a_r + u_r)$;  $z = s(a_z + u_z)$;
    $n = f(a_n + r u_n)$;  $h_t = (1 - z) n + z h_(t-1)$, $s(z) = 1/(1 + exp(-z))$, f the activation: tanh in the
    textbook's. The reset gate acts after the product with U, as in torch and in cuDNN; Cho et al. 2014 have U (r h),
    before it, and some texts exchange z and 1 - z. Ba et al. 2016 normalize the gates and the candidate each on their
    own, here all three parts are one vector.
    """

    gates = 3

    def advance(self, driven: Tensor, recurrent: Tensor, state: State) -> State:
        """See the class."""
        both = 2 * self.width
        recurrent = _normed(self.hidden_norm, recurrent)
        r, z = self.gate(driven[:, :both] + recurrent[:, :both]).chunk(2, dim=-1)
        n = self.candidate(driven[:, both:] + r * recurrent[:, both:])
        return (n + z * (state[0] - n),)


class Stack(nn.Module):
    """The hidden states of all time steps as one, a module for probes to see what the next layer receives."""

    def forward(self, states: list[Tensor]) -> Tensor:
        """T states [B, width] as [B, T, width]."""
        return torch.stack(states, dim=1)


def _normed(norm: nn.Module | None, x: Tensor) -> Tensor:
    """Normalized where there is a normalization."""
    return x if norm is None else norm(x)
