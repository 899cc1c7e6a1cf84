"""Noise that is added to the gradients of each step, after they have been clipped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fanin.errors import number
from fanin.parts.per_run import stackable
from fanin.streams import generator


class GradientNoise(ABC):
    """What is added to the gradient of every step: independent normal entries of one variance."""

    neutral: ClassVar[bool] = False
    """Whether nothing is added."""

    @abstractmethod
    def variance(self, step: int) -> float:
        """Of each entry of the noise of a step, counted from 0, in units of the gradient squared."""

    def drawn(self, step: int, count: int, seed: int, device: torch.device) -> Tensor:
        """The noise of a step for P = count parameters of a run: [P], from (seed, "noise", step)."""
        stream = generator(seed, "noise", step, device=device)
        return torch.randn(count, generator=stream, device=device).mul_(self.variance(step) ** 0.5)


@stackable
@dataclass(kw_only=True)
class NoNoise(GradientNoise):
    """Nothing is added."""

    neutral: ClassVar[bool] = True

    def variance(self, step: int) -> float:
        """0."""
        return 0.0


@stackable
@dataclass(kw_only=True)
class AnnealedNoise(GradientNoise):
    """Normal noise whose variance falls with the step: $g <- g + n$, $n ~ N(0, eta / (1 + t)^gamma)$ for each entry.

    It is added after penalties and clipping, to the gradients of all parameters, and reaches the optimizer's moments as
    the gradient does. Draws come from a stream of their own, one for each step: nothing else of a run draws otherwise.
    With gamma = 0 and model=surface the gradient of a known function is noisy, as that of a mini-batch is: gradient
    descent with the rate a on a curvature h then ends in a cloud of variance $a eta / (h (2 - a h))$.
    Source: Neelakantan, Vilnis, Le, Sutskever, Kaiser, Kurach & Martens 2015.

    Args:
        eta: variance at the first step, >= 0, in units of the gradient squared; 0.01, 0.3 and 1 in the paper.
        gamma: how fast it falls, >= 0; 0 keeps it.

    Raises:
        OptionError: a value is out of range.

    >>> noise = AnnealedNoise(eta=0.3, gamma=0.5)
    >>> noise.variance(0), noise.variance(3)
    (0.3, 0.15)
    """

    eta: float = 0.01
    gamma: float = 0.55

    def __post_init__(self) -> None:
        self.eta = number("eta", self.eta, 0)
        self.gamma = number("gamma", self.gamma, 0)

    def variance(self, step: int) -> float:
        """eta / (1 + t)^gamma."""
        return float(self.eta / (1 + step) ** self.gamma)


class NoiseStream:
    """The noise of one run, step by step.

    Args:
        noise: what is drawn.
        seed: of the run.

    Attributes:
        step: of the next draw.
    """

    def __init__(self, noise: GradientNoise, seed: int) -> None:
        self.noise, self.seed, self.step = noise, seed, 0

    def __call__(self, count: int, device: torch.device) -> Tensor:
        """The next step's noise for P = count parameters, [P]."""
        drawn = self.noise.drawn(self.step, count, self.seed, device)
        self.step += 1
        return drawn
