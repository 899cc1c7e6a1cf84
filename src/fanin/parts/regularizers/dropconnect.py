"""DropConnect: noise on the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fanin.errors import UserError, flag, number
from fanin.parts.noise import NoiseModule
from fanin.parts.normalization.reparametrized import Reparametrized, ReparametrizedConv2d, ReparametrizedLinear
from fanin.parts.regularizers.base import Regularizer


@dataclass(kw_only=True)
class DropConnect(Regularizer):
    """Single connections set to 0 at random in training, the others scaled up; the last weight layer stays whole.

    $z = (M * W) x / (1 - p) + b$ with a mask $M ~ Bernoulli(1 - p)$ for each weight of a layer, drawn anew at every
    call, so that $E z = W x + b$, $Var z_i = p/(1 - p) sum_j W_ij^2 x_j^2$; at evaluation $z = W x + b$. Dropout is the
    case of a mask that is the same for all connections of a unit.

    The paper draws a mask for each example (per_example), which takes examples times the memory of the weights, and
    evaluates with draws from a normal of the mean and variance above; here evaluation takes the mean weights, or
    averages over masks where evaluation.samples asks for it. Biases are not dropped. A recurrent layer calls
    its hidden weights, and so draws, at each time step. Runs with it are trained one by one, not as one program, and
    behind their norms stands the band of fresh draws, for theory has no law of it.
    Source: Wan, Zeiler, Zhang, LeCun & Fergus 2013.

    Args:
        p: probability of dropping a connection, in [0, 1).
        per_example: a mask for each example of a batch; false: one for the batch.

    Raises:
        OptionError: p is out of range, per_example no boolean.

    >>> layer = nn.Linear(3, 2, bias=False)
    >>> _ = DropConnect(p=0.5).wrap(nn.Sequential(layer, nn.Linear(2, 1)))
    >>> twice = layer(torch.eye(3)).T / layer.weight  # of the weights, row by row
    >>> sorted({round(one, 3) + 0.0 for one in twice.flatten().tolist()} | {0.0, 2.0})  # no -0
    [0.0, 2.0]
    """

    key: ClassVar[str] = "p"

    p: float = 0.5
    per_example: bool = False

    def __post_init__(self) -> None:
        self.p = number("p", self.p, 0, 1, open_high=True)
        flag("per_example", self.per_example)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model, whose hidden linear layers and convolutions drop connections from now on.

        Raises:
            UserError: it has none.
        """
        from fanin.parts.models.layers import weight_layers  # whose package takes its dropout from this one

        hidden = [layer for _, layer in weight_layers(model)[:-1] if _droppable(layer)]
        if not hidden:
            raise UserError(
                f"regularizer=dropconnect: {type(model).__name__} has no linear layer or convolution before its last "
                "weight layer; take model=mlp, or leave it out"
            )
        for layer in hidden:
            kind: Any = type(layer)
            layer.__class__ = _dropping(kind)
            layer.p, layer.per_example = self.p, self.per_example  # type: ignore[assignment]
            layer.generator = None  # type: ignore[assignment]
        return model


class Dropping(NoiseModule):
    """A weight layer that multiplies its weights with a mask in training."""

    p: float
    per_example: bool
    weight: nn.Parameter
    bias: nn.Parameter | None
    effective: Callable[[], Tensor]

    def masked(self, examples: int) -> Tensor:
        """The weights times a mask, of the weight's shape or, with a mask for each example, [examples, ...]."""
        weight = self.effective()
        shape = (examples, *weight.shape) if self.per_example else weight.shape
        kept = torch.full(shape, 1 - self.p, dtype=weight.dtype, device=weight.device)
        return weight * torch.bernoulli(kept, generator=self.generator).div(1 - self.p)  # under vmap, too

    @property
    def drops(self) -> bool:
        """Whether connections are dropped now."""
        return self.training and self.p > 0


class DroppingLinear(Dropping):
    """y = x (M * W)^T / (1 - p) + b."""

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, ..., out] of [B, ..., in]."""
        if not self.drops:
            return cast(Tensor, super().forward(inputs))
        weight = self.masked(len(inputs))
        if not self.per_example:
            return F.linear(inputs, weight, self.bias)
        product = torch.einsum("boi,b...i->b...o", weight, inputs)
        return product if self.bias is None else product + self.bias


class DroppingConv2d(Dropping):
    """A convolution with kernels (M * W) / (1 - p)."""

    stride: tuple[int, int]
    padding: Any
    dilation: tuple[int, int]
    groups: int
    _conv_forward: Callable[[Tensor, Tensor, Tensor | None], Tensor]

    def forward(self, maps: Tensor) -> Tensor:
        """[B, out, H', W'] of maps [B, in, H, W]."""
        if not self.drops:
            return cast(Tensor, super().forward(maps))
        weight, examples = self.masked(len(maps)), len(maps)
        if not self.per_example:
            return self._conv_forward(maps, weight, self.bias)
        # The examples as groups of channels of one.
        one, kernels = maps.reshape(1, -1, *maps.shape[2:]), weight.flatten(0, 1)
        groups = examples * self.groups
        convolved = F.conv2d(one, kernels, None, self.stride, self.padding, self.dilation, groups)
        product = convolved.view(examples, -1, *convolved.shape[2:])
        return product if self.bias is None else product + self.bias.view(-1, 1, 1)


class _WholeLinear(ReparametrizedLinear):
    def effective(self) -> Tensor:
        return self.weight


class _WholeConv2d(ReparametrizedConv2d):
    def effective(self) -> Tensor:
        return self.weight


PLAIN: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: _WholeLinear, nn.Conv2d: _WholeConv2d}


def _droppable(layer: nn.Module) -> bool:
    """Whether it is known how a layer uses its weight; a kernel's padding is of zeros."""
    known = type(layer) in PLAIN or isinstance(layer, (ReparametrizedLinear, ReparametrizedConv2d))
    return known and not (isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros")


@cache
def _dropping(kind: Any) -> Any:
    """The class of a weight layer that drops connections of what it was."""
    base = PLAIN.get(kind, kind)
    assert issubclass(base, Reparametrized)
    mixin = DroppingLinear if issubclass(base, nn.Linear) else DroppingConv2d
    return type(kind.__name__, (mixin, base), {})
