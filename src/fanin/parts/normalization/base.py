"""What a model asks of a normalization, and the option that does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from fanin.errors import OptionError, choice, flag, number
from fanin.parts.per_run import stackable

PLACEMENTS = ("pre_activation", "post_activation")


@dataclass(kw_only=True)
class Normalization:
    """What a model asks of a normalization; unless an option says otherwise it does nothing.

    Args:
        placement: "pre_activation": before the nonlinearity; "post_activation": after it.

    Raises:
        OptionError: the placement is neither.
    """

    neutral: ClassVar[bool] = False
    """Whether it changes nothing."""
    mixes_examples: ClassVar[bool] = False
    """Whether an example's output in training depends on the others of its batch."""
    takes_vectors: ClassVar[bool] = False
    """Whether it normalizes each vector by itself, wherever it stands: in a sequence, in a cell."""
    needs_maps: ClassVar[bool] = False
    """Whether it acts on maps [B, C, H, W] alone."""
    restores: ClassVar[str] = ""
    """What the units of each example have behind it whatever the weights' scale: "nothing" in particular, a
    "mean_square" of 1, or mean 0 and a "variance" of 1; "" where it does something else."""

    placement: str = "pre_activation"

    def __post_init__(self) -> None:
        choice("placement", self.placement, PLACEMENTS)

    def make(self, features: int, dims: int = 0) -> nn.Module | None:
        """A fresh module for activations, or None if none stands between the layers.

        Args:
            features: units of a layer [B, features], or channels of maps [B, features, H, W].
            dims: axes after that of the features: 0 or 2.
        """
        return None

    def wrap(self, layer: nn.Module) -> nn.Module:
        """A hidden weight layer as it is, or turned into one that computes with a function of its `weight`."""
        return layer


@stackable
@dataclass(kw_only=True)
class NoNorm(Normalization):
    """No normalization; the placement is accepted, so that a sweep over both may include this option."""

    neutral: ClassVar[bool] = True
    restores: ClassVar[str] = "nothing"


@dataclass(kw_only=True)
class Statistics(Normalization):
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
