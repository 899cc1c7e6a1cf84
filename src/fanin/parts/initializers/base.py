"""What every initializer is: one law for a weight, applied to each weight layer from a stream of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from fanin.parts.initializers.draws import write
from fanin.parts.models.layers import fans, weight_layers
from fanin.theory.weights import Weights

Stream = Callable[[str], torch.Generator]
"""From a parameter's qualified name ("linear_1.weight") to a CPU generator of its own."""


class Initializer(ABC):
    """Fills every weight layer of a model, each from a stream of its own.

    Attributes:
        trained: whether its weights were trained before, so that they are evaluated even if no step is taken.

    In the life of a run: `check` before anything is built, then the call, then `calibrate`.
    """

    trained: ClassVar[bool] = False

    @abstractmethod
    def variance(self, fan_in: int, fan_out: int) -> float | None:
        """Variance of one weight, or None if the weights are not i.i.d."""

    def bias_variance_of(self, fan_in: int) -> float:
        """Variance of one bias of a layer that has biases: 0, unless an initializer draws them."""
        return 0.0

    def weight_law(self, layer: nn.Module) -> Weights | None:
        """What theory needs to know of a layer's weights and biases; None if there is no law for them."""
        return None

    def weight_laws(self, model: nn.Module) -> dict[nn.Module, Weights | None]:
        """The same of every weight layer; overridden where a layer's place in the model matters."""
        return {layer: self.weight_law(layer) for _, layer in weight_layers(model)}

    @abstractmethod
    def fill(self, weight: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        """Overwrite a weight [out, in, *kernel] in place; the generator is the CPU's."""

    def fill_bias(self, bias: Tensor, fan_in: int, generator: torch.Generator) -> None:
        """Overwrite a bias [out] in place: with zeros, unless an initializer says otherwise."""
        write(bias, torch.zeros(bias.shape, device="cpu"))

    def fill_model(self, model: nn.Module, stream: Stream) -> None:
        """Fill all weight layers and their biases; overridden where a layer's place in the model matters."""
        for name, layer in weight_layers(model):
            prefix = f"{name}." if name else ""
            weight = layer.get_parameter("weight")
            fan_in, fan_out = fans(layer)
            self.fill(weight, fan_in, fan_out, stream(f"{prefix}weight"))
            if isinstance(bias := getattr(layer, "bias", None), Tensor):
                self.fill_bias(bias, fan_in, stream(f"{prefix}bias"))

    @torch.no_grad()
    def __call__(self, model: nn.Module, stream: Stream) -> None:
        """Fill all weight layers of the model and their biases; other parameters are left alone.

        Then every module that has a method `after_init` gets it called, to set what follows from its weights.
        """
        self.fill_model(model, stream)
        settle(model)

    def check(self, model: nn.Module) -> None:  # noqa: B027 (most can fill any model)
        """Refuse a model that this initializer cannot fill; the model may be on the meta device.

        Raises:
            UserError: what does not fit.
        """

    def remarks(self) -> Sequence[str]:
        """What a user should know of the weights, a line each; told once."""
        return ()

    def frozen(self, model: nn.Module) -> Collection[str]:
        """The names of the parameters that are not trained; the model may be on the meta device."""
        return ()

    def calibrate(self, model: nn.Module, inputs: Tensor) -> None:  # noqa: B027 (most look at no data)
        """Adjust the weights to data, once after the call.

        Args:
            model: filled, in training mode.
            inputs: probe batch of training inputs [B, ...].
        """


def settle(model: nn.Module) -> None:
    """Let every module that has a method `after_init` set what follows from its weights, children last."""
    for module in model.modules():
        after_init = getattr(module, "after_init", None)
        if callable(after_init):
            after_init()
