"""Networks whose matrix products are of integers of 8 bits: weights by row, inputs by example or by what was seen."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fanin.errors import UserError
from fanin.record.atomic_files import write_atomically
from fanin.torch_internals import PYTREE_LOG

MODES = ("dynamic", "static")

STEPS = 127.5
"""By which torchao divides the largest magnitude, for the length of a step: half of the 255 between -128 and 127."""


@dataclass
class Quantized:
    """A quantized copy of a network.

    Attributes:
        model: with torchao's tensors for weights.
        layers: those that were quantized.
        tensors: what has to be stored: int8 weights, their steps and those of inputs, and all that stayed as it was.
    """

    model: nn.Module
    layers: list[str]
    tensors: dict[str, Tensor]

    @property
    def bytes(self) -> int:
        """Of these tensors."""
        return sum(one.nbytes for one in self.tensors.values())

    @property
    def zeros(self) -> float:
        """The share of zeros among the integers."""
        weights = [self.tensors[f"{name}.weight"] for name in self.layers]
        return 1 - sum(int(one.count_nonzero()) for one in weights) / sum(one.numel() for one in weights)


def quantized(model: nn.Module, mode: str, calibration: Tensor) -> Quantized:
    """A copy of a network whose linear layers multiply integers; the model stays as it is.

    $W_ij = s_i q_ij$ with $s_i = max_j |W_ij| / 127.5$ and q rounded to [-128, 127]; inputs likewise, with one step for
    each example that is found while it is answered (dynamic), or one for all, from the largest magnitude that the
    layer was given in the calibration (static). Convolutions, biases and normalization stay as they are.
    Source: Jacob et al. 2018; computed by torchao.

    Args:
        model: in evaluation mode, float32, on the CPU.
        mode: "dynamic" or "static".
        calibration: examples [N, ...] as the network takes them, of its training part.

    Raises:
        UserError: torchao is not installed, or there is no linear layer.
    """
    with _quiet():
        try:
            from torchao.quantization import (
                Int8DynamicActivationInt8WeightConfig,
                Int8StaticActivationInt8WeightConfig,
                PerRow,
                PerTensor,
                quantize_,
            )
        except ImportError:
            raise UserError('quantization needs torchao: pip install "fanin[quantize]"') from None
    made = copy.deepcopy(model)
    layers = [name for name, module in made.named_modules() if type(module) is nn.Linear]
    if not layers:
        raise UserError("there is no linear layer in this network, and only such are quantized")
    steps = input_steps(made, layers, calibration) if mode == "static" else {}
    for name in layers:
        config: Any = Int8DynamicActivationInt8WeightConfig(version=2)
        if mode == "static":
            scale = steps[name].reshape(1, 1)
            config = Int8StaticActivationInt8WeightConfig(act_quant_scale=scale, granularity=[PerTensor(), PerRow()])
        with _quiet():
            quantize_(made, config, filter_fn=lambda module, found, name=name: found == name)
    return Quantized(made, layers, _plain(made, layers, steps))


@torch.no_grad()
def input_steps(model: nn.Module, layers: list[str], examples: Tensor, batch: int = 1000) -> dict[str, Tensor]:
    """The step of each layer's inputs: the largest magnitude that it is given for some examples, by 127.5."""
    largest: dict[str, Tensor] = {name: torch.zeros(()) for name in layers}

    def look(name: str, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        largest[name] = torch.maximum(largest[name], given[0].abs().amax())

    handles = [model.get_submodule(name).register_forward_pre_hook(partial(look, name)) for name in layers]
    try:
        for some in torch.split(examples, batch):
            model(some)
    finally:
        for handle in handles:
            handle.remove()
    return {name: value.clamp(min=torch.finfo(torch.float32).tiny) / STEPS for name, value in largest.items()}


def _plain(model: nn.Module, layers: list[str], steps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network as tensors that need no torchao: NAME.weight, NAME.weight_step and NAME.input_step of each layer."""
    found: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        layer = name.rpartition(".")[0]
        if layer in layers and name.endswith(".weight"):
            found[name] = value.qdata.clone()
            found[f"{name}_step"] = value.scale.clone()
            if layer in steps:
                found[f"{layer}.input_step"] = steps[layer]
        else:
            found[name] = value.clone()
    return found


def write_quantized(path: Path, made: Quantized) -> Path:
    """Write its tensors, which torch.load(weights_only=True) reads; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, partial(torch.save, made.tensors))
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torchao's import makes torch say of itself."""
    log = logging.getLogger(PYTREE_LOG)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
