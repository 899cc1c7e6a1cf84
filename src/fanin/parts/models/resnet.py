"""A convolutional residual network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from fanin.errors import flag, integer
from fanin.parts.models.blocks import Hidden, Parts, Residual, residual_branches
from fanin.parts.models.images import check_channels, check_kernel, check_stages, image_shape
from fanin.parts.models.layers import empty_conv, empty_linear
from fanin.parts.normalization import Normalization
from fanin.parts.per_run import stackable
from fanin.parts.regularizers import Dropout


@stackable
class Resnet(nn.Sequential):
    """Stages of residual blocks of two convolutions, then the mean of each map and one matrix.

    $h_0 = W_1 x$; $h_l = S_l(h_(l-1)) + F_l(h_(l-1))$, $F_l(h) = W s(W s(h))$, each W a convolution; logits = $W
    mean(s(h_L)) + b$; with $s(z) = f(norm(z))$ or $norm(f(z))$: the pre-activation form. The first block of each stage
    but the first has stride 2 in its first convolution: it halves the maps' sides, rounded up. S is the identity, or,
    where the shape changes, a convolution of 1 x 1 with the block's stride. Source: He et al. 2016, Identity mappings
    in deep residual networks.

    The pieces: conv_1, then block_1 with relu_1, conv_2, relu_2, conv_3, [projection], add, then block_2 with relu_3,
    ..., at last a relu, averagepool and linear_<n>; numbers are those of the weight layers, projections left out.

    Args:
        input_shape: (C, H, W) of an image.
        out_features: classes.
        channels: of each stage's maps.
        blocks: residual blocks in each stage.
        kernel: side of the kernels, odd.
        bias: whether convolutions and the linear layer have biases.
        activation: called once per hidden layer for a fresh module.
        normalization: its `placement` says whether it stands before or after the activation; one of the weights acts
            on all weight layers but the last.
        dropout: p between the convolutions of a block (Zagoruyko & Komodakis 2016) and before the last matrix, input_p
            on the image; None for none.

    Raises:
        OptionError: a value is not allowed, the normalization does not fit, the last stage's maps would have one place.
        UserError: examples are not images.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        out_features: int,
        channels: Sequence[int] = (8, 16, 32),
        blocks: int = 1,
        kernel: int = 3,
        bias: bool = True,
        activation: Callable[[], nn.Module],
        normalization: Normalization,
        dropout: Dropout | None = None,
    ) -> None:
        image_channels, *sides = image_shape("resnet", input_shape)
        integer("out_features", out_features, 1)
        check_channels(channels)
        check_stages(channels, (max(sides) - 1).bit_length(), sides)
        integer("blocks", blocks, 1)
        check_kernel(kernel)
        flag("bias", bias)
        hidden = Hidden(activation, normalization, dropout)

        def conv(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Module:
            return hidden.weight(empty_conv(inputs, outputs, side, bias, stride))

        parts = hidden.inputs() | {"conv_1": conv(image_channels, channels[0], kernel)}
        before, index = channels[0], 1
        for stage, features in enumerate(channels):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                branch: Parts = hidden.after(index, before, 2, drop=False)
                branch[f"conv_{index + 1}"] = conv(before, features, kernel, stride)
                branch |= hidden.after(index + 1, features, 2)
                branch[f"conv_{index + 2}"] = conv(features, features, kernel)
                changed = stride != 1 or before != features
                projection = conv(before, features, 1, stride) if changed else None
                parts[f"block_{stage * blocks + block + 1}"] = Residual(branch, projection)
                before, index = features, index + 2
        last = hidden.after(index, before, 2)
        dropped = {name: last.pop(name) for name in [*last] if name.startswith("dropout")}
        parts |= last | {"averagepool": AveragePool()} | dropped
        parts[f"linear_{index + 1}"] = empty_linear(before, out_features, bias)
        super().__init__(OrderedDict(parts))

    def residual_branches(self) -> list[list[nn.Module]]:
        """The weight layers of each branch, in the order of the forward pass; projections belong to none."""
        return residual_branches(self)


class AveragePool(nn.Module):
    """The mean of each map over all its places. Source: Lin, Chen & Yan 2014."""

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C]."""
        return maps.mean((2, 3))
