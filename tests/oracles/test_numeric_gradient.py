"""The gradient of every parameter of every layer against central differences, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fanin import streams
from fanin.parts import activations
from fanin.parts.initializers import TorchDefault
from fanin.parts.losses import cross_entropy
from fanin.parts.models import Mlp, weight_layers
from fanin.parts.normalization import BatchNorm, LayerNorm, NoNorm, Normalization
from fanin.parts.regularizers import L2

H = 1e-4
# Truncation: H^4/30 times a fifth derivative, below 1e-10 for derivatives up to 3e7. Rounding: the loss is about 2
# and one evaluation good to some 1e-15, which the division by H makes 1e-11, and normalization larger.
TOLERANCE = 1e-9


def central_difference(loss: Callable[[], Tensor], parameter: Tensor) -> Tensor:
    """The slope in every entry, of fourth order: [8 (f(H) - f(-H)) - (f(2H) - f(-2H))] / (12 H)."""
    gradient = torch.empty_like(parameter)
    flat, slopes = parameter.view(-1), gradient.view(-1)
    for i in range(len(flat)):
        kept, total = flat[i].item(), 0.0
        for shift, share in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
            flat[i] = kept + shift * H
            total += share * loss().item()
        flat[i] = kept
        slopes[i] = total / (12 * H)
    return gradient


def network(activation: Callable[[], nn.Module], norm: Normalization) -> Mlp:
    model = Mlp(
        in_features=4,
        out_features=3,
        depth=4,
        width=5,
        bias=True,
        activation=activation,
        normalization=norm,
    ).double()
    TorchDefault()(model, lambda name: streams.generator(8, "init", name))
    return model


@pytest.mark.parametrize("activation", [activations.tanh, activations.relu])
@pytest.mark.parametrize("place", ["pre_activation", "post_activation"])
@pytest.mark.parametrize("kind", [NoNorm, BatchNorm, LayerNorm])
def test_gradient_of_every_layer(
    activation: Callable[[], nn.Module], kind: type[NoNorm | BatchNorm | LayerNorm], place: str
) -> None:
    norm = kind(placement=place)
    model = network(activation, norm)
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(10, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (10,), generator=generator)
    penalty = L2(strength=0.1)

    def loss() -> Tensor:
        return cross_entropy(model(x), y) + penalty.penalty(
            [layer.get_parameter("weight") for _, layer in weight_layers(model)]
        )

    # No step may carry a pre-activation over the kink of ReLU: every evaluation sees one pattern of signs.
    patterns: dict[str, set[bytes]] = {}

    def record(name: str, z: Tensor) -> None:
        patterns.setdefault(name, set()).add((z > 0).numpy().tobytes())

    for name, module in model.named_children():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(lambda _, inputs, name=name: record(name, inputs[0]))
    loss().backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        slopes = {name: central_difference(loss, parameter) for name, parameter in model.named_parameters()}
    assert all(len(seen) == 1 for seen in patterns.values())

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        worst = (parameter.grad - slopes[name]).abs().max().item()
        assert worst < TOLERANCE, f"{name}: off by {worst}"
    assert len(list(model.named_parameters())) == 8 + (0 if isinstance(norm, NoNorm) else 6)
