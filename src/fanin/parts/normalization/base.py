"""What a model asks of a normalization, and the option that does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import nn

from fanin.errors import OptionError, choice, flag, number

PLACEMENTS = ("pre_activation", "post_activation")


class Normalization(Protocol):
    """What a model asks of a normalization."""

    neutral: ClassVar[bool]
    """Whether it changes nothing."""

    @property
    def placement(self) -> str:
        """ "pre_activation": norm before the nonlinearity; "post_activation": after it."""

    def make(self, features: int, dims: int = 0) -> nn.Module | None:
        """A fresh module for activations, or None where none stands between the layers.

        Args:
            features: units of a layer [B, features], or channels of maps [B, features, H, W].
            dims: axes after that of the features: 0 or 2.
        """

    def wrap(self, layer: nn.Module) -> nn.Module:
        """A hidden weight layer as it is, or turned into one that computes with a function of its `weight`."""


@dataclass(kw_only=True)
class Settings:
    """What the options have in common: a placement, and doing nothing unless they say so."""

    neutral: ClassVar[bool] = False

    placement: str = "pre_activation"

    def __post_init__(self) -> None:
        choice("placement", self.placement, PLACEMENTS)

    def make(self, features: int, dims: int = 0) -> nn.Module | None:
        """None: nothing stands between the layers."""
        return None

    def wrap(self, layer: nn.Module) -> nn.Module:
        """The layer itself."""
        return layer


@dataclass(kw_only=True)
class NoNorm(Settings):
    """No normalization; the placement is accepted, so that a sweep over both may include this option."""

    neutral: ClassVar[bool] = True


@dataclass(kw_only=True)
class Statistics(Settings):
    """What the options have in common that divide by sqrt(var + eps) and then scale and shift."""

    eps: float = 1e-5
    affine: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.eps = number("eps", self.eps, 0, open_low=True)
        flag("affine", self.affine)


class MisfitError(OptionError):
    """A normalization that does not fit the layer it is made for.

    It is found while a model is made, and is not one of the model's own keys: its name is whole.
    """

    def within(self, group: str) -> OptionError:
        """Itself."""
        return self
