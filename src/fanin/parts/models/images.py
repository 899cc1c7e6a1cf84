"""What models of images check before they are made."""

from __future__ import annotations

from collections.abc import Sequence

from fanin.errors import OptionError, UserError, integer


def image_shape(model: str, input_shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width of an image.

    Args:
        model: the option's name, for the error.
        input_shape: of one example.

    Raises:
        UserError: the examples are not images.
    """
    if len(input_shape) != 3:
        raise UserError(
            f"model={model}: needs images [C, H, W], and an example has shape {list(input_shape)}; "
            "choose model=mlp, or data of images"
        )
    channels, height, width = (integer("input_shape", size, 1) for size in input_shape)
    return channels, height, width


def check_channels(channels: object) -> None:
    """Refuse what is not a list of one or more positive integers, the channels of each stage.

    Raises:
        OptionError: it is not.
    """
    if isinstance(channels, str) or not isinstance(channels, Sequence) or not channels:
        raise OptionError("channels", channels, "a list of integers", "type channels=[8,16]")
    for number in channels:
        integer("channels", number, 1)


def check_stages(channels: Sequence[int], most: int, sides: Sequence[int]) -> None:
    """Refuse more stages than the images' height and width allow.

    Raises:
        OptionError: there are more than `most`.
    """
    if len(channels) > most:
        allowed = f"at most {most} stages for images of {sides[0]} x {sides[1]}"
        raise OptionError("channels", channels, allowed, "each stage halves both sides")


def check_kernel(kernel: object) -> None:
    """Refuse a kernel's side for which maps would not keep their size.

    Raises:
        OptionError: it is not odd.
    """
    if integer("kernel", kernel, 1) % 2 == 0:
        raise OptionError("kernel", kernel, "odd", "maps keep their size where the kernel has a middle")
