"""Dropout: noise on the activations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fanin.errors import OptionError, number
from fanin.parts.noise import NoiseModule
from fanin.parts.per_run import is_number, stackable
from fanin.parts.regularizers.base import Regularizer


@stackable
@dataclass(kw_only=True)
class Dropout(Regularizer):
    """Units set to 0 at random in training, the others scaled up.

    $y = x m / (1 - p)$ with a mask $m ~ Bernoulli(1 - p)$ for each entry, so that $E y = x$; at evaluation $y = x$.
    Source: Srivastava et al. 2014.

    Args:
        p: probability of dropping a hidden unit, in [0, 1).
        input_p: probability of dropping an input, in [0, 1).
        recurrent_p: of a recurrent model with variational=true the probability of dropping a unit on the recurrent
            connections, in [0, 1), with one mask for all time steps; 0: on the others alone. None: p.

    Raises:
        OptionError: a probability is out of range.
    """

    key: ClassVar[str] = "p"

    p: float = 0.5
    input_p: float = 0.0
    recurrent_p: float | None = None

    def __post_init__(self) -> None:
        self.p = number("p", self.p, 0, 1, open_high=True)
        self.input_p = number("input_p", self.input_p, 0, 1, open_high=True)
        if self.recurrent_p is not None:
            try:
                self.recurrent_p = number("recurrent_p", self.recurrent_p, 0, 1, open_high=True)
            except OptionError as error:
                raise OptionError("recurrent_p", error.value, f"{error.allowed}, or null") from None

    def make(self, p: float) -> DropoutModule:
        """A fresh dropout layer with drop probability p."""
        return DropoutModule(p)

    @staticmethod
    def program_keys(keys: Mapping[str, Any]) -> object:
        """Which probabilities are above 0: at 0 there is no layer."""
        return {key: value > 0 for key, value in keys.items() if is_number(value)}


class DropoutModule(NoiseModule):
    """Inverted dropout with a random generator of its own.

    y = x * mask / (1 - p), mask ~ Bernoulli(1 - p) for each entry, so that E y = x; y = x at evaluation.

    Args:
        p: drop probability in [0, 1).

    Attributes:
        generator: draws the masks, on the device of x; set by the trainer; None: torch's global one.
        masks: ready masks [B, ...] with entries 0 and 1/(1 - p), one for each call, that are taken instead of drawing.

    Raises:
        OptionError: p is out of range.

    >>> import torch
    >>> layer = DropoutModule(0.5)
    >>> layer.masks = iter([torch.tensor([2.0, 0.0])])
    >>> layer(torch.ones(2)), layer.eval()(torch.ones(2))
    (tensor([2., 0.]), tensor([1., 1.]))
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = number("p", p, 0, 1, open_high=True)
        self.masks: Iterator[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape, with entries dropped in training."""
        if not self.training or self.p == 0:
            return x
        if self.masks is not None:
            return x * next(self.masks)
        keep = 1 - self.p
        mask = torch.empty_like(x).bernoulli_(keep, generator=self.generator)
        return x * mask.div_(keep)

    def extra_repr(self) -> str:
        """The drop probability, for print(model)."""
        return f"p={self.p}"
