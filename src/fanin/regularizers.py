"""Regularizers: a penalty on the weights, noise on the activations, and stopping early."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.errors import choice, integer, number

MONITORS = ("val_loss", "val_error", "train_loss", "train_error")


@dataclass(kw_only=True)
class L2:
    """Squared-norm penalty added to the loss; its gradient is strength * w.

    penalty = strength / 2 * sum w^2, over weight matrices only: never biases or normalization parameters. The
    factor 1/2 is the textbook's. Source: Krogh & Hertz 1991.

    Args:
        strength: >= 0.

    Raises:
        OptionError: strength is negative or not finite.
    """

    strength: float = 1e-4

    def __post_init__(self) -> None:
        self.strength = number("strength", self.strength, 0)

    def penalty(self, weights: Sequence[Tensor]) -> Tensor:
        """The scalar penalty of one weight or more, of any shapes, differentiable."""
        return 0.5 * self.strength * torch.stack([weight.square().sum() for weight in weights]).sum()


@dataclass(kw_only=True)
class Dropout:
    """Which share of the units is dropped where; `make` gives the module for one place.

    Source: Srivastava et al. 2014.

    Args:
        p: probability of dropping a hidden unit, in [0, 1).
        input_p: probability of dropping an input, in [0, 1).

    Raises:
        OptionError: a probability is out of range.
    """

    p: float = 0.5
    input_p: float = 0.0

    def __post_init__(self) -> None:
        self.p = number("p", self.p, 0, 1, open_high=True)
        self.input_p = number("input_p", self.input_p, 0, 1, open_high=True)

    def make(self, p: float) -> DropoutModule:
        """A fresh dropout layer with drop probability p."""
        return DropoutModule(p)


class DropoutModule(nn.Module):
    """Inverted dropout with a random generator of its own.

    y = x * mask / (1 - p), mask ~ Bernoulli(1 - p) for each entry, so that E y = x; y = x at evaluation.

    Args:
        p: drop probability in [0, 1).

    Attributes:
        generator: draws the masks, on the device of x; whoever trains sets it; None: torch's global one.
        masks: ready masks [B, ...] with entries 0 and 1/(1 - p), one for each call, that are taken instead of drawing.

    Raises:
        OptionError: p is out of range.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = number("p", p, 0, 1, open_high=True)
        self.generator: torch.Generator | None = None
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


@dataclass(kw_only=True)
class EarlyStopping:
    """Stop when the monitored number has not improved for a while; `new` gives the counter of one run.

    Source: Prechelt 1998.

    Args:
        monitor: val_loss, val_error, train_loss or train_error; smaller is better.
        patience: evaluations in a row without improvement after which to stop, >= 1.
        min_delta: an improvement is a fall by more than this below the best, >= 0.

    Raises:
        OptionError: a value is out of range.
    """

    monitor: str = "val_loss"
    patience: int = 10
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        choice("monitor", self.monitor, MONITORS)
        integer("patience", self.patience, 1)
        self.min_delta = number("min_delta", self.min_delta, 0)

    def new(self) -> Patience:
        """A counter at its start."""
        return Patience(self.patience, self.min_delta)


class Patience:
    """Counts evaluations in a row without improvement.

    Attributes:
        best: the smallest value that counted as an improvement; inf before the first.
        waited: evaluations since then.
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        self.patience, self.min_delta = patience, min_delta
        self.best = math.inf
        self.waited = 0

    def update(self, value: float) -> bool:
        """Take one evaluation; True when it is time to stop. NaN is no improvement."""
        if value < self.best - self.min_delta:  # false for NaN
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, float]:
        """What a resumed run needs."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a state_dict."""
        self.best, self.waited = float(state["best"]), int(state["waited"])
