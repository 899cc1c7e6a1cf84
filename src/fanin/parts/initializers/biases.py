"""Biases: one constant for all, the forget gate's apart; and biases that are drawn, with a variance of their own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.errors import OptionError, number
from fanin.parts.initializers.base import Initializer, Stream
from fanin.parts.initializers.draws import draw, write
from fanin.parts.models.layers import biases
from fanin.theory.weights import Weights


@dataclass(kw_only=True)
class ConstantBiases(Initializer):
    """Biases that start at one constant, $b = bias$, and those of forget gates at one of their own.

    A positive bias opens a ReLU that would be closed; a forget gate that starts at $s(1) = 0.73$ in place of
    $s(0) = 0.5$ keeps what a memory holds, and the gradient through it, for longer. Source: Gers, Schmidhuber & Cummins
    2000; Jozefowicz, Zaremba & Sutskever 2015.

    Args:
        bias: the constant, of either sign; other than 0 only for models with biases.
        forget_bias: of a forget gate's biases; None: bias. Only for models with forget gates and biases.

    Raises:
        OptionError: bias or forget_bias is not a finite number.
    """

    bias: float = 0.0
    forget_bias: float | None = None

    def __post_init__(self) -> None:
        self.bias = number("bias", self.bias)
        if self.forget_bias is not None:
            try:
                self.forget_bias = number("forget_bias", self.forget_bias)
            except OptionError as error:
                raise OptionError("forget_bias", error.value, f"{error.allowed}, or null") from None

    def check(self, model: nn.Module) -> None:
        """Refuse to set biases of a model that has none.

        Raises:
            OptionError: what does not fit.
        """
        super().check(model)
        if self.bias != 0 and not biases(model):
            raise OptionError("bias", self.bias, "0 for a model without biases", "or take model.bias=true")
        if self.forget_bias is not None and not forget_gates(model):
            raise OptionError(
                "forget_bias",
                self.forget_bias,
                "null for a model without biases of a forget gate",
                "or take model=lstm model.bias=true",
            )

    def fill_model(self, model: nn.Module, stream: Stream) -> None:
        """Fill all weight layers and their biases, and move the biases by the constants."""
        super().fill_model(model, stream)
        forget = self.bias if self.forget_bias is None else self.forget_bias
        gates = [(gate, gate.detach().float().cpu().clone()) for gate in forget_gates(model)]
        for bias in biases(model).values() if self.bias != 0 else ():
            write(bias, bias.detach().float().cpu() + self.bias)
        for gate, drawn in gates if forget != self.bias else ():
            write(gate, drawn + forget)

    def weight_laws(self, model: nn.Module) -> dict[nn.Module, Weights | None]:
        """Those of the weights; none for a layer whose biases are not 0 in the mean, of which theory has no law."""
        laws = super().weight_laws(model)
        if self.bias == 0 and not self.forget_bias:
            return laws
        return {layer: law if getattr(layer, "bias", None) is None else None for layer, law in laws.items()}


def forget_gates(model: nn.Module) -> list[Tensor]:
    """The biases of a model's forget gates, each [width], views of the parameters that hold them.

    A module that has a forget gate says so by a method `forget_gate`, which gives the biases, or None without any.
    """
    finders = [getattr(module, "forget_gate", None) for module in model.modules()]
    found = [find() for find in finders if callable(find)]
    return [gate for gate in found if isinstance(gate, Tensor)]


@dataclass(kw_only=True)
class DrawnBiases(ConstantBiases):
    """Biases of one mean and one variance, independent of the weights, in the distribution of the weights.

    They shift what a layer hands on, q = v m + s: with them a network of tanh has a fixed point of its lengths away
    from 0 (Poole et al. 2016). At variance 0 nothing is drawn, and all are the constant.

    Args:
        bias_variance: s, variance of a bias, >= 0; above 0 only for models with biases.
        bias, forget_bias: the means, see `ConstantBiases`.

    Raises:
        OptionError: a value is out of range.
    """

    distribution = "normal"
    bias_variance: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bias_variance = number("bias_variance", self.bias_variance, 0)

    def bias_variance_of(self, fan_in: int) -> float:
        """bias_variance, of every layer."""
        return self.bias_variance

    def check(self, model: nn.Module) -> None:
        """Refuse to draw biases for a model that has none.

        Raises:
            OptionError: what does not fit.
        """
        super().check(model)
        if self.bias_variance > 0 and not biases(model):
            raise OptionError(
                "bias_variance", self.bias_variance, "0 for a model without biases", "or take model.bias=true"
            )

    def fill_bias(self, bias: Tensor, fan_in: int, generator: torch.Generator) -> None:
        """Overwrite a bias [out] with draws, or with zeros where the variance is 0."""
        if self.bias_variance == 0:
            super().fill_bias(bias, fan_in, generator)
        else:
            write(bias, draw(bias.shape, self.bias_variance, self.distribution, generator))
