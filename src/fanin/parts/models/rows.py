"""Images as sequences: one vector per row, for models that read rows in turn or hold each against all others."""

from __future__ import annotations

from torch import Tensor

from fanin.errors import UserError
from fanin.parts.models.images import image_shape
from fanin.parts.normalization import Normalization


def rows(images: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H, C * W]: row t has the t-th row of every channel, one after the other.

    >>> import torch
    >>> rows(torch.zeros(5, 3, 28, 20)).shape
    torch.Size([5, 28, 60])
    """
    return images.transpose(1, 2).flatten(2)


def sequence_shape(model: str, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows of an image [C, H, W], and entries of a row: (H, C * W).

    Args:
        model: the option's name, for the error.
        input_shape: of one example.

    Raises:
        UserError: the examples are not images.

    >>> sequence_shape("rnn", (3, 28, 20))
    (28, 60)
    """
    channels, height, width = image_shape(model, input_shape)
    return height, channels * width


def check_normalization(model: str, normalization: Normalization) -> None:
    """Refuse what would mix examples or rows, or what is meant for other layers.

    Raises:
        UserError: the normalization is none of none, layer and rms.
    """
    if not normalization.neutral and not normalization.takes_vectors:
        kind = type(normalization).__name__
        raise UserError(f"model={model}: normalizes each vector by itself, not by {kind}; choose none, layer or rms")
