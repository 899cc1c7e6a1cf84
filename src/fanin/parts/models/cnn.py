"""A plain convolutional network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from fanin.errors import flag, integer
from fanin.parts.models.blocks import Hidden
from fanin.parts.models.images import check_channels, check_kernel, check_stages, image_shape
from fanin.parts.models.layers import empty_conv, empty_linear
from fanin.parts.normalization import NoNorm, Normalization
from fanin.parts.per_run import stackable
from fanin.parts.regularizers import Dropout


@stackable
class Cnn(nn.Sequential):
    """Stages of convolutions, each ended by max pooling over 2 x 2 places, then two fully connected layers.

    Convolutions keep H x W by zeros around the maps; a stage halves both, rounded down. Then come the flattened maps,
    a hidden layer and the logits. With normalization=local_response and dropout it is the kind of Krizhevsky's
    network. Sources: LeCun et al. 1998; Krizhevsky, Sutskever & Hinton 2012.

    The pieces, numbered by weight layer: conv_1, [batchnorm_1], relu_1, maxpool_1, conv_2, ..., linear_3, relu_3,
    [dropout_3], linear_4.

    Args:
        input_shape: (C, H, W) of an image.
        out_features: classes.
        channels: of each stage's maps.
        depth: convolutions in each stage.
        kernel: side of the kernels, odd.
        width: units of the fully connected hidden layer.
        bias: whether convolutions and linear layers have biases.
        activation: called once per hidden layer for a fresh module.
        normalization: its `placement` says whether it stands before or after the activation; one of the weights acts
            on all weight layers but the last. Instance normalization acts on maps, and so not on the hidden layer.
        dropout: p after the fully connected hidden layer, input_p on the image; None for none.

    Raises:
        OptionError: a value is not allowed, the normalization does not fit, the image is too small for the stages.
        UserError: examples are not images.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        out_features: int,
        channels: Sequence[int] = (8, 16),
        depth: int = 1,
        kernel: int = 3,
        width: int = 64,
        bias: bool = True,
        activation: Callable[[], nn.Module],
        normalization: Normalization,
        dropout: Dropout | None = None,
    ) -> None:
        before, *sides = image_shape("cnn", input_shape)
        integer("out_features", out_features, 1)
        check_channels(channels)
        check_stages(channels, min(sides).bit_length() - 1, sides)
        integer("depth", depth, 1)
        check_kernel(kernel)
        integer("width", width, 1)
        flag("bias", bias)
        hidden = Hidden(activation, normalization, dropout)
        parts = hidden.inputs()
        index = 0
        for features in channels:
            for _ in range(depth):
                index += 1
                parts[f"conv_{index}"] = hidden.weight(empty_conv(before, features, kernel, bias))
                parts |= hidden.after(index, features, 2, drop=False)
                before = features
            parts[f"maxpool_{index}"] = nn.MaxPool2d(2)
        places = (sides[0] >> len(channels)) * (sides[1] >> len(channels))
        index += 1
        parts[f"linear_{index}"] = hidden.weight(empty_linear(before * places, width, bias))
        if normalization.needs_maps:
            hidden = Hidden(activation, NoNorm(), dropout)
        parts |= hidden.after(index, width)
        parts[f"linear_{index + 1}"] = empty_linear(width, out_features, bias)
        super().__init__(OrderedDict(parts))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, out_features] of images [B, C, H, W]."""
        hidden = inputs
        for module in self:
            hidden = module(hidden.flatten(1) if isinstance(module, nn.Linear) else hidden)
        return hidden
