"""Pruned weights: entries that are 0 from the start to the end of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fanin.errors import OptionError, integer, number
from fanin.parts.models.layers import weight_layers
from fanin.parts.per_run import stackable
from fanin.parts.regularizers.base import Regularizer
from fanin.process import typed_path
from fanin.record.checkpoint_file import damage

KIND = "a file of masks, as fanin-prune writes"
ROUNDING = 5e-4
"""By how much a share that was typed may differ from that of the file."""


@stackable
@dataclass(kw_only=True)
class Mask(Regularizer):
    """Weights outside of a mask are 0: where the training starts, and after each of its steps.

    $w <- m w$ with m of 0 and 1, and $g <- m g$ before clipping, so that what is pruned counts nowhere. Of runs that
    are trained as one program each has masks of its own. What `fanin-prune` writes is such a run; masks are the
    mechanism of magnitude pruning and of lottery tickets. Source: Han et al. 2015; Frankle & Carbin 2019.

    Args:
        path: a file of masks: a bool tensor for each pruned layer, under its name, that `torch.load` reads.
        share: of zeros among these layers' weights, for reports to sort by; null does not say. It has to be that of
            the file, to three digits.
        redraw: 0, or the number of another draw of the initial weights: all else, batches too, stays as the seed says.

    Raises:
        OptionError: a value is of a wrong kind.
    """

    key: ClassVar[str] = "redraw"

    path: str | None = None
    share: float | None = None
    redraw: int = 0

    def __post_init__(self) -> None:
        if self.path is not None and not isinstance(self.path, str):
            raise OptionError("path", self.path, KIND)
        if self.share is not None:
            self.share = number("share", self.share, 0, 1)
        self.redraw = integer("redraw", self.redraw, 0)

    @staticmethod
    def program_keys(keys: Mapping[str, Any]) -> object:
        """Nothing but that there is one: each run has its own."""
        return "its own"

    def masks(self) -> dict[str, Tensor]:
        """By the layers' names.

        Raises:
            OptionError: there is no such file, or it holds something else.
        """
        if self.path is None:
            raise OptionError("path", None, KIND)
        file = typed_path(Path(self.path).expanduser())
        if not file.is_file():
            raise OptionError("path", self.path, KIND, "there is no such file")
        said = file.stat()
        try:
            return _read(file, said.st_mtime_ns, said.st_size)
        except Exception as error:
            told = str(error) if isinstance(error, ValueError) else type(error).__name__
            raise OptionError("path", self.path, KIND, f"it cannot be read ({told})") from None

    def check(self, model: nn.Module) -> None:
        """Refuse masks that do not fit a model.

        Raises:
            OptionError: so it is.
        """
        masks, layers = self.masks(), dict(weight_layers(model))
        for name, mask in masks.items():
            shape = tuple(layers[name].get_parameter("weight").shape) if name in layers else None
            if shape != tuple(mask.shape):
                has = "the model has no such layer" if shape is None else f"the model's is {shape}"
                raise OptionError("path", self.path, "masks that fit the model", f"{name} {tuple(mask.shape)}: {has}")
        zeros = share_of_zeros(masks)
        if self.share is not None and abs(self.share - zeros) > ROUNDING:
            raise OptionError("share", self.share, f"null or that of the file, {zeros:.4g}")

    @torch.no_grad()
    def apply(self, model: nn.Module) -> None:
        """Set what is pruned to 0."""
        layers = dict(weight_layers(model))
        for name, mask in self.masks().items():
            weight = layers[name].get_parameter("weight")
            weight.mul_(mask.to(weight.device))


def share_of_zeros(masks: Mapping[str, Tensor]) -> float:
    """Of all entries of some masks.

    >>> share_of_zeros({"linear_1": torch.tensor([[True, False]]), "linear_2": torch.tensor([[True, True]])})
    0.25
    """
    entries = sum(mask.numel() for mask in masks.values())
    return 1 - sum(int(mask.sum()) for mask in masks.values()) / entries if entries else 0.0


@lru_cache(maxsize=64)
def _read(file: Path, _written: int, _size: int) -> dict[str, Tensor]:
    """What is in a file of masks; every run of a grid asks."""
    if reason := damage(file):
        raise ValueError(reason)
    found = torch.load(file, weights_only=True, map_location="cpu")
    whole = isinstance(found, dict) and found
    if not whole or not all(isinstance(one, Tensor) and one.dtype == torch.bool for one in found.values()):
        raise ValueError("no bool tensors by name")
    return dict(found)
