"""Augmentation: training batches changed at random, every example in its own way, the whole batch at once.

torchvision.transforms.v2 has the same changes, but its classes draw one angle, one shift, one crop a call: a whole
batch would be changed alike, and a loop over examples costs more than a small network's step. So the parameters are
drawn here, one for each example, and the batch is resampled by one call of torch's grid_sample: bilinear, 0 outside of
the image, pixel centres as in torchvision (align_corners=False). A parameter that changes nothing gives the very same
image back.

Parameters are drawn where the generator is and moved to the images: a generator on the CPU gives the same ones for
images on any device. 0 is what enters at the borders: the background of images in [0, 1], not of centred ones.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fanin.devices import widest
from fanin.errors import OptionError, UserError, choice, integer, number


class Augmentation(ABC):
    """A random change of a batch."""

    needs_image: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images [B, C, H, W] changed, with parameters from the generator; the images themselves stay as they are."""

    def check(self, shape: Sequence[int]) -> None:
        """Refuse examples of a shape that cannot be changed so.

        Raises:
            UserError: it is not [C, H, W], where an image is needed.
            OptionError: a value does not fit it.
        """
        if self.needs_image and len(shape) != 3:
            raise UserError(f"needs images [C, H, W]; an example here has shape {'x'.join(map(str, shape))}")


@dataclass(kw_only=True)
class Rotate(Augmentation):
    """Each image turned about its centre by an angle $angle ~ U(-degrees, degrees)$.

    Args:
        degrees: largest angle, in [0, 180].

    Raises:
        OptionError: degrees is out of range.
    """

    degrees: float = 15.0

    def __post_init__(self) -> None:
        self.degrees = number("degrees", self.degrees, 0, 180)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The batch turned; see Augmentation."""
        return rotated(images, uniform(-self.degrees, self.degrees, (len(images),), generator))


@dataclass(kw_only=True)
class Flip(Augmentation):
    """Each image mirrored with probability p.

    Args:
        p: in [0, 1].
        direction: horizontal: left and right change places; vertical: top and bottom.

    Raises:
        OptionError: a value is out of range.
    """

    p: float = 0.5
    direction: str = "horizontal"

    def __post_init__(self) -> None:
        self.p = number("p", self.p, 0, 1)
        choice("direction", self.direction, ("horizontal", "vertical"))

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The batch with some images mirrored; see Augmentation."""
        mirrored = uniform(0, 1, (len(images), 1, 1, 1), generator) < self.p
        return torch.where(
            mirrored.to(images.device), images.flip(-1 if self.direction == "horizontal" else -2), images
        )


@dataclass(kw_only=True)
class Scale(Augmentation):
    """Each image enlarged about its centre by a $factor ~ U(low, high)$; below 1 it shrinks, with 0 around it.

    Args:
        low: smallest factor, > 0.
        high: largest factor, >= low.

    Raises:
        OptionError: a value is out of range.
    """

    low: float = 0.9
    high: float = 1.1

    def __post_init__(self) -> None:
        self.low = number("low", self.low, 0, open_low=True)
        self.high = number("high", self.high, self.low)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The batch enlarged or shrunk; see Augmentation."""
        return scaled(images, uniform(self.low, self.high, (len(images),), generator))


@dataclass(kw_only=True)
class Translate(Augmentation):
    """Each image moved, right or left and up or down, by shares $U(-share, share)$ of its width and height.

    Distances are not rounded to whole pixels, which `Crop` moves by.

    Args:
        share: largest distance as a share of the side, in [0, 1].

    Raises:
        OptionError: share is out of range.
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        self.share = number("share", self.share, 0, 1)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The batch moved; see Augmentation."""
        sides = torch.tensor([images.shape[-1], images.shape[-2]], device=generator.device)
        return translated(images, uniform(-self.share, self.share, (len(images), 2), generator) * sides)


@dataclass(kw_only=True)
class Noise(Augmentation):
    """Independent normal noise in every entry, of images or vectors.

    $x <- x + std eps$, $eps ~ N(0, 1)$. Source: Bishop 1995.

    Args:
        std: standard deviation in units of the inputs, >= 0.

    Raises:
        OptionError: std is out of range.
    """

    needs_image: ClassVar[bool] = False
    std: float = 0.1

    def __post_init__(self) -> None:
        self.std = number("std", self.std, 0)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The batch [B, ...] with noise; see Augmentation."""
        noise = torch.randn(images.shape, generator=generator, device=generator.device)
        return images + self.std * noise.to(images)


@dataclass(kw_only=True)
class Crop(Augmentation):
    """Each image padded with 0 on all sides, and a window of its own size cut out at random, by whole pixels.

    Source: Krizhevsky 2009, and since then the usual recipe of CIFAR-10.

    Args:
        padding: pixels added on each side, >= 0.

    Raises:
        OptionError: padding is out of range.
    """

    padding: int = 4

    def __post_init__(self) -> None:
        integer("padding", self.padding, 0)

    def check(self, shape: Sequence[int]) -> None:
        """No more padding than the image has pixels a side: beyond that windows lie outside of it."""
        super().check(shape)
        if self.padding > max(shape[1:]):
            raise OptionError("padding", self.padding, f"at most the {max(shape[1:])} pixels of an image's side")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The batch cropped; see Augmentation."""
        shape = (len(images), 2)
        corners = torch.randint(2 * self.padding + 1, shape, generator=generator, device=generator.device)
        return cropped(images, self.padding, corners)


def uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Independent numbers uniform in [low, high], float32, on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def rotated(images: Tensor, degrees: Tensor) -> Tensor:
    """Images [B, C, H, W] turned counterclockwise about their centres by degrees [B]."""
    angles = degrees.to(widest(degrees.device)) * (math.pi / 180)
    cos, sin = torch.cos(angles), torch.sin(angles)
    # rows point down, so the map from where a pixel is now to where it was has this sense
    return warped(images, _maps([[cos, -sin], [sin, cos]]))


def scaled(images: Tensor, factors: Tensor) -> Tensor:
    """Images [B, C, H, W] enlarged about their centres by factors [B]."""
    shrink = 1 / factors.to(widest(factors.device))
    zero = torch.zeros_like(shrink)
    return warped(images, _maps([[shrink, zero], [zero, shrink]]))


def translated(images: Tensor, pixels: Tensor) -> Tensor:
    """Images [B, C, H, W] moved by pixels [B, 2]: to the right, and down."""
    maps = torch.eye(2, 3, dtype=widest(pixels.device), device=pixels.device).repeat(len(pixels), 1, 1)
    maps[:, :, 2] = -pixels
    return warped(images, maps)


def warped(images: Tensor, maps: Tensor) -> Tensor:
    """Images resampled: each pixel takes the value from where an affine map of its place points to.

    Args:
        images: [B, C, H, W].
        maps: [B, 2, 3]: (x, y, 1) of a pixel, measured from the image's centre, to its source, both in pixels.

    Returns:
        [B, C, H, W]; an example whose map is the identity bit by bit.
    """
    height, width = images.shape[-2:]
    maps = maps.to(images.device, widest(images.device))
    rows, columns = (torch.arange(side, device=images.device) - (side - 1) / 2 for side in (height, width))
    places = torch.stack([*torch.meshgrid(columns, rows, indexing="xy"), torch.ones_like(rows[:, None] * columns)])
    # One product for all examples: affine_grid makes one for each, which on the CPU takes three times the sampling.
    sources = maps.flatten(0, 1) @ places.flatten(1).to(maps.dtype)
    # torch's coordinates run from -1 to 1 along both sides, whatever their lengths
    units = torch.tensor([2 / width, 2 / height], dtype=maps.dtype, device=maps.device)
    grid = (sources.view(-1, 2, height, width) * units.view(2, 1, 1)).permute(0, 2, 3, 1).to(images.dtype)
    resampled = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    changed = (maps != torch.eye(2, 3, dtype=maps.dtype, device=maps.device)).any(dim=(1, 2))
    return torch.where(changed.view(-1, 1, 1, 1), resampled, images)


def cropped(images: Tensor, padding: int, corners: Tensor) -> Tensor:
    """Windows of the size of images [B, C, H, W] from the padded ones, upper left corners [B, 2] in (row, column)."""
    rows, columns = corners.to(images.device).unbind(1)
    windows = F.pad(images, [padding] * 4).unfold(2, images.shape[2], 1).unfold(3, images.shape[3], 1)  # views of all
    return windows[torch.arange(len(images), device=images.device), :, rows, columns]


def _maps(columns: list[list[Tensor]]) -> Tensor:
    """Linear maps [B, 2, 3] without a shift, from the entries [B] of their matrices."""
    matrices = torch.stack([torch.stack(row, dim=-1) for row in columns], dim=1)
    return F.pad(matrices, [0, 1])
