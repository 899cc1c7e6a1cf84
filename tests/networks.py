"""Small models of every kind, drawn in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fanin.parts import activations
from fanin.parts.initializers import TorchDefault
from fanin.parts.normalization import NoNorm
from fanin.streams import generator

IMAGE = (2, 7, 6)


def build(kind: type[Any], **changes: Any) -> Any:
    """A model of 3 outputs, of vectors of 5 or of images of 2 x 7 x 6, without normalization; tanh, all float64."""
    shape = IMAGE if "Cnn" in kind.__name__ or "Resnet" in kind.__name__ else None
    settings: dict[str, Any] = {"out_features": 3} | ({"input_shape": shape} if shape else {"in_features": 5})
    if kind.__name__ != "LinearModel":
        settings |= {"activation": activations.tanh, "normalization": NoNorm()}
    return kind(**settings | changes).double()


def drawn(model: Any, seed: int = 0) -> Any:
    """The model with weights and biases drawn, and all vectors away from 0 and 1."""
    TorchDefault()(model, lambda name: generator(seed, "init", name))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.linspace(-0.4, 0.6, len(parameter)))
    return model


def normal(seed: int, *shape: int) -> torch.Tensor:
    """Standard normals in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def names(model: nn.Module) -> list[str]:
    """Qualified names of the modules that have none inside, in the order of registration."""
    return [name for name, module in model.named_modules() if next(module.children(), None) is None]


def one_line(error: BaseException) -> str:
    """The message, which must be one line."""
    assert "\n" not in str(error)
    return str(error)
