"""Recurrent networks: an image is read row by row, and the last hidden state says what it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from fanin.errors import UserError, flag, integer
from fanin.parts.models.cells import GruLayer, LstmLayer, RecurrentLayer, RnnLayer
from fanin.parts.models.layers import empty_linear
from fanin.parts.models.rows import check_normalization, rows, sequence_shape
from fanin.parts.normalization import Normalization
from fanin.parts.per_run import stackable
from fanin.parts.regularizers import Dropout


class Recurrent(nn.Module):
    """`layers` recurrent layers, each reading the hidden states of the one below, and a classifier on the last state.

    x_t = row t of the image, all channels: T = H vectors of C * W entries; $h_t^(l) = cell(h_t^(l-1), h_(t-1)^(l))$;
    outputs = $V h_T^(layers) + b$. Initializers set the biases to 0, that of the forget gate too,
    unless they are told of another constant: initializer.bias, and initializer.forget_bias of an lstm.

    Args:
        input_shape: (C, H, W) of an image.
        out_features: outputs.
        width: hidden units of each layer.
        layers: recurrent layers, one above the other.
        bias: one with the inputs of each layer, and one of the classifier.
        variational: one dropout mask for all time steps, and one on the recurrent connections too, of the rate
            recurrent_p (Gal & Ghahramani 2016 take p; 0 is none); false: a fresh mask for each time step, none on the
            recurrent connections (Zaremba et al. 2014). Without dropout it changes nothing.
        activation: of the cell, called for each fresh module.
        normalization: none, layer or rms, inside the cell whatever its placement (Ba et al. 2016).
        dropout: p on what goes from layer to layer and to the classifier, input_p on the rows, recurrent_p on the
            recurrent connections; None for none.

    Raises:
        OptionError: a size is not a positive integer, bias or variational not a boolean.
        UserError: examples are not images, the normalization mixes examples, or recurrent_p is given without
            variational.
    """

    layer: ClassVar[type[RecurrentLayer]]
    trains_with: ClassVar[str] = "optimizer=adam optimizer.lr=0.01"  # gates at their middle pass little of a gradient

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        out_features: int,
        width: int = 64,
        layers: int = 1,
        bias: bool = True,
        variational: bool = False,
        activation: Callable[[], nn.Module],
        normalization: Normalization,
        dropout: Dropout | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__.lower()
        _, entries = sequence_shape(name, input_shape)
        integer("out_features", out_features, 1)
        self.width = integer("width", width, 1)
        integer("layers", layers, 1)
        flag("bias", bias)
        flag("variational", variational)
        check_normalization(name, normalization)
        p, input_p = (dropout.p, dropout.input_p) if dropout else (0.0, 0.0)
        recurrent_p = _recurrent_share(dropout, variational)
        self.layers, self.dropouts, self.recurrent_dropouts = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for index in range(1, layers + 1):
            self.layers[str(index)] = self.layer(
                entries if index == 1 else width, width, bias=bias, activation=activation, normalization=normalization
            )
            if dropout and variational and recurrent_p > 0:
                self.recurrent_dropouts[str(index)] = dropout.make(recurrent_p)
        for index, share in enumerate([input_p, *[p] * layers]):
            if dropout and share > 0:
                drop = dropout.make(share)
                self.dropouts[str(index)] = SameAtAllSteps(drop) if variational and index < layers else drop
        self.last = Last()
        self.classifier = empty_linear(width, out_features, bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [B, out_features] of images [B, C, H, W]."""
        below = rows(inputs)
        for index, layer in self.layers.items():
            mask = None
            if index in self.recurrent_dropouts:
                # Not len(), which would be the number of one batch in an exported program.
                mask = self.recurrent_dropouts[index](below.new_ones(below.shape[0], self.width))
            below = layer(self._dropped(int(index) - 1, below), mask)
        outputs: Tensor = self.classifier(self._dropped(len(self.layers), self.last(below)))
        return outputs

    def _dropped(self, place: int, x: Tensor) -> Tensor:
        """The output of layer number `place`, with entries dropped where there is dropout; 0: the rows."""
        return self.dropouts[str(place)](x) if str(place) in self.dropouts else x


def _recurrent_share(dropout: Dropout | None, variational: bool) -> float:
    """Which share of the units is dropped on the recurrent connections; a dropout of one's own may say p alone."""
    given = getattr(dropout, "recurrent_p", None)
    if given is not None and not variational:
        raise UserError(
            f"regularizer.dropout.recurrent_p={given:g}: must be null without variational dropout, which drops nothing "
            "on recurrent connections; or take model.variational=true"
        )
    if dropout is None:
        return 0.0
    return dropout.p if given is None else float(given)


class SameAtAllSteps(nn.Module):
    """Dropout with one mask for all vectors of a sequence.

    Args:
        drop: draws the mask.
    """

    def __init__(self, drop: nn.Module) -> None:
        super().__init__()
        self.mask = drop
        self.times = Times()

    def forward(self, sequence: Tensor) -> Tensor:
        """[B, T, F] of [B, T, F]."""
        dropped: Tensor = self.times(sequence, self.mask(torch.ones_like(sequence[:, :1])))
        return dropped


class Times(nn.Module):
    """A product, a module for probes to see."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x y, entry by entry."""
        return x * y


class Last(nn.Module):
    """The last of a sequence, a module for probes to see what the classifier receives."""

    def forward(self, sequence: Tensor) -> Tensor:
        """[B, T, F] -> [B, F]."""
        return sequence[:, -1]


@stackable
class Rnn(Recurrent):
    """The plain recurrent network: $h_t = f(W x_t + U h_(t-1) + b)$; see `Recurrent` and `RnnLayer`."""

    layer = RnnLayer


@stackable
class Lstm(Recurrent):
    """Long short-term memory; see `Recurrent` and `LstmLayer`.

    The gates are logistic. `activation` is the candidate's and that of the memory on its way out: activation=tanh is
    the textbook's network, the default relu another one.
    """

    layer = LstmLayer


@stackable
class Gru(Recurrent):
    """Gated recurrent units; see `Recurrent` and `GruLayer`, which says where the reset gate acts.

    The gates are logistic. `activation` is the candidate's: activation=tanh is the textbook's network, the default relu
    another one.
    """

    layer = GruLayer
