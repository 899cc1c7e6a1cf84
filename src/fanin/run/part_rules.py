"""Which stages of theory a part is: one table for torch's parts and fanin's own.

A part of one's own brings its rule with it, a method

    def signal_rule(self) -> Sequence[fanin.theory.stages.Stage]

that gives the stages it consists of, in their order. An activation needs none: whatever maps every entry on its own has
a rule by quadrature. Nothing is decided by a class's name: a part is what its `forward` computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from fanin.parts.activation_maps import activation_map
from fanin.parts.models.attend import MultiHead, SoftmaxAttention
from fanin.parts.models.attention import Positions, TokenMean
from fanin.parts.models.blocks import Add
from fanin.parts.models.cells import GatedLayer, GruLayer, LstmLayer, RecurrentLayer, RnnLayer
from fanin.parts.models.layers import fans, is_weight_layer
from fanin.parts.models.recurrent import Last
from fanin.parts.models.resnet import AveragePool
from fanin.parts.normalization.layer import RootMeanSquare
from fanin.parts.normalization.weight import WeightNormConv2d, WeightNormLinear
from fanin.parts.regularizers.dropout import DropoutModule
from fanin.run.walk import Ran
from fanin.theory.gaussian_maps import Activation
from fanin.theory.stages import (
    Activated,
    Added,
    Attended,
    Averaged,
    BatchNormalized,
    Convolution,
    Dropped,
    Flattened,
    Gated,
    Largest,
    Linear,
    MeanOfPlaces,
    Normalized,
    Nothing,
    Once,
    Passed,
    Recurrent,
    Shifted,
    Stage,
    Unknown,
)
from fanin.theory.stages.gated import gru, lstm
from fanin.theory.weights import Weights

Maps = dict[Any, Activation | None]
"""Activations that one recipe has looked at: modules of one class and one setting share theirs."""


def stages_of(module: nn.Module, weights: Mapping[nn.Module, Weights | str], maps: Maps) -> list[Stage]:
    """The stages that a part is, in their order; Unknown where there is no rule for it.

    Args:
        module: that runs.
        weights: what the weight layers are drawn from, or why that has no law.
        maps: of activations seen before.
    """
    own = getattr(module, "signal_rule", None)
    if callable(own):
        return list(own())
    if hasattr(module, "parametrizations"):
        return [Unknown("its weight is made from others")]
    if is_weight_layer(module):
        return [_weight_layer(module, weights)]
    rule = next((rule for kind, rule in RULES if isinstance(module, kind) and _as(module, kind)), None)
    if rule is not None:
        return [rule(module)]
    activation = _map_of(module, maps)
    return [Unknown() if activation is None else Activated(activation)]


def is_compound(module: nn.Module) -> bool:
    """Whether a module of parts may have a rule as a whole."""
    return isinstance(module, (RecurrentLayer, MultiHead))


Compound = list[tuple[Stage, tuple[int | None, ...], int]]
"""Stages with what each takes, earlier ones by number or None for what the compound takes, and whose part each is."""


def compound_rule(
    module: nn.Module, parts: Sequence[Ran], weights: Mapping[nn.Module, Weights | str], maps: Maps
) -> Compound | None:
    """The rule of a module of parts as a whole; None where there is none, and each part counts for itself.

    Args:
        module: that runs once, of one input.
        parts: that ran in it.
        weights, maps: as of `stages_of`.
    """
    if isinstance(module, MultiHead):
        return _attention(module, parts, weights)
    if not isinstance(module, RecurrentLayer) or not _as(module, RecurrentLayer):
        return None
    if isinstance(module, GatedLayer):
        return _gated(module, parts, weights, maps)
    if type(module).advance is not RnnLayer.advance or type(module).drive is not RecurrentLayer.drive:
        return None
    driven, remembered = (_weight_layer(layer, weights) for layer in (module.input, module.hidden))
    activation = _map_of(module.get_submodule("activation"), maps)
    if not isinstance(driven, Linear) or not isinstance(remembered, Linear):
        return None
    if module.norm is not None or activation is None or "orthogonal" in (driven.weights.kind, remembered.weights.kind):
        return None
    if any(weights.calibrated is not None for weights in (driven.weights, remembered.weights)):
        return None
    width = module.width
    whole = Recurrent(width, driven.weights, remembered.weights, activation)
    rule: Compound = [(driven, (None,), 0), (Nothing(width), (None,), 1), (whole, (None,), len(parts) - 1)]
    states: dict[int, int] = {}
    for at, part in enumerate(parts[:-1]):  # each time's state, and what the recurrent matrix makes of it
        if part.module is module.activation:
            states[len(states)] = len(rule)
            rule.append((Once(len(states) - 1), (2,), at))
        elif part.module is module.hidden and states:
            rule.append((remembered, (states[len(states) - 1],), at))
    return rule


def _gated(
    module: GatedLayer, parts: Sequence[Ran], weights: Mapping[nn.Module, Weights | str], maps: Maps
) -> Compound | None:
    cells = {LstmLayer.advance: lstm, GruLayer.advance: gru}
    cell = cells.get(type(module).advance)
    driven, remembered = (_weight_layer(layer, weights) for layer in (module.input, module.hidden))
    activation = _map_of(module.get_submodule("candidate"), maps)
    if cell is None or activation is None or not isinstance(driven, Linear) or not isinstance(remembered, Linear):
        return None
    if module.input_norm is not None or type(module).drive is not GatedLayer.drive:
        return None
    drawn = driven.weights, remembered.weights
    if any(one.kind == "orthogonal" or one.calibrated is not None for one in drawn):
        return None
    whole = Gated(module.width, module.gates, module.memories, *drawn, cell(activation.phi))
    first = next(at for at, part in enumerate(parts) if part.module is module.hidden)
    mine: tuple[int | None, ...] = (None,)
    return [(driven, mine, 0), (Nothing(remembered.fan_out), mine, first), (whole, mine, len(parts) - 1)]


def _attention(module: MultiHead, parts: Sequence[Ran], weights: Mapping[nn.Module, Weights | str]) -> Compound | None:
    layers = (module.query, module.key, module.value, module.attend, module.out)
    if not _as(module, MultiHead) or [part.module for part in parts] != list(layers):
        return None
    if type(module.attend).forward is not SoftmaxAttention.forward:
        return None
    query, key, value, out = (_weight_layer(layer, weights) for layer in layers if layer is not module.attend)
    three = [one.weights for one in (query, key, value) if isinstance(one, Linear)]
    if len(three) < 3 or not isinstance(out, Linear) or any(one.calibrated is not None for one in three):
        return None
    whole = Attended(out.fan_in, module.heads, *three)
    mine: tuple[int | None, ...] = (None,)
    return [(query, mine, 0), (key, mine, 1), (value, mine, 2), (whole, mine, 3), (out, (3,), 4)]


def _as(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module computes what its base does: one's own class may override that."""
    return type(module).forward is kind.forward


def _weight_layer(module: nn.Module, weights: Mapping[nn.Module, Weights | str]) -> Stage:
    drawn = weights.get(module, "its weights are not drawn by the initializer")
    if isinstance(drawn, str):
        return Unknown(drawn)
    if getattr(module, "bias", None) is None:
        drawn = replace(drawn, bias_variance=0.0)
    fan_in, fan_out = fans(module)
    if isinstance(module, nn.Linear) and (_as(module, nn.Linear) or isinstance(module, WeightNormLinear)):
        return Linear(fan_in, fan_out, drawn)
    plain = isinstance(module, nn.Conv2d) and (_as(module, nn.Conv2d) or isinstance(module, WeightNormConv2d))
    if plain and isinstance(module, nn.Conv2d):
        return _convolution(module, drawn)
    return Unknown()


def _convolution(layer: nn.Conv2d, drawn: Weights) -> Stage:
    if layer.groups > 1 or layer.dilation != (1, 1) or isinstance(layer.padding, str):
        return Unknown("theory has convolutions of all channels and neighbouring places")
    if layer.padding_mode not in ("zeros", "circular"):
        return Unknown(f"theory has no padding_mode={layer.padding_mode}")
    kernel, stride, padding = ((one[0], one[1]) for one in (layer.kernel_size, layer.stride, layer.padding))
    circular = layer.padding_mode == "circular"
    return Convolution(fans(layer)[0], layer.out_channels, kernel, stride, padding, circular, drawn)


def _pool(module: nn.MaxPool2d | nn.AvgPool2d) -> Stage:
    kernel, stride, padding = (_pair(one) for one in (module.kernel_size, module.stride, module.padding))
    if kernel != stride or padding != (0, 0) or getattr(module, "dilation", 1) != 1 or module.ceil_mode:
        return Unknown("theory has pooling of windows beside each other")
    return Largest(kernel) if isinstance(module, nn.MaxPool2d) else Averaged(kernel)


def _pooled_to_a_size(module: nn.AdaptiveAvgPool2d) -> Stage:
    if module.output_size not in (1, (1, 1)):
        return Unknown("theory has adaptive pooling of whole maps")
    return Averaged(None)


def _pair(one: int | tuple[int, ...]) -> tuple[int, int]:
    return (one, one) if isinstance(one, int) else (one[0], one[1])


def _map_of(module: nn.Module, maps: Maps) -> Activation | None:
    settings = {key: value for key, value in vars(module).items() if isinstance(value, (int, float, str, tuple))}
    key = (type(module), tuple(sorted(settings.items(), key=repr)))
    try:
        if key not in maps:
            maps[key] = activation_map(module)
    except TypeError:  # of settings that cannot be compared
        return activation_map(module)
    return maps[key]


def _scales(module: nn.Module) -> bool:
    """Whether a normalization has learned to scale or shift, which it does not begin with."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    return (weight is not None and bool((weight != 1).any())) or (bias is not None and bool((bias != 0).any()))


def _layer_norm(module: nn.LayerNorm | RootMeanSquare | nn.RMSNorm | nn.GroupNorm) -> Stage:
    if _scales(module):
        return Unknown("it scales what it has normalized")
    if isinstance(module, nn.GroupNorm):
        return Normalized(True, module.eps, module.num_groups, over_places=True)
    if isinstance(module, RootMeanSquare):
        return Normalized(False, module.eps, over_places=module.dims > 0)
    if len(module.normalized_shape) > 1:
        return Normalized(isinstance(module, nn.LayerNorm), module.eps or 0.0, over_places=True)
    return Normalized(isinstance(module, nn.LayerNorm), module.eps or 0.0)


def _batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d) -> Stage:
    if not module.training:
        return Unknown("in evaluation mode it divides by what it has seen before")
    return Unknown("it scales what it has normalized") if _scales(module) else BatchNormalized(module.eps)


def _dropout(module: DropoutModule | nn.Dropout) -> Stage:
    return Passed() if module.p == 0 or not module.training else Dropped(1 - module.p)


RULES: Sequence[tuple[type[nn.Module], Callable[[Any], Stage]]] = (
    (nn.Identity, lambda module: Passed()),
    (Add, lambda module: Added(module.scale)),
    (DropoutModule, _dropout),
    (nn.Dropout, _dropout),
    (nn.LayerNorm, _layer_norm),
    (nn.GroupNorm, _layer_norm),
    (nn.RMSNorm, _layer_norm),
    (RootMeanSquare, _layer_norm),
    (nn.BatchNorm1d, _batch_norm),
    (nn.MaxPool2d, _pool),
    (nn.AvgPool2d, _pool),
    (AveragePool, lambda module: Averaged(None)),
    (Last, lambda module: Once(-1)),
    (Positions, lambda module: Shifted(module.table.double().cpu().numpy())),
    (TokenMean, lambda module: MeanOfPlaces()),
    (nn.AdaptiveAvgPool2d, _pooled_to_a_size),
    (nn.Flatten, lambda module: Flattened() if module.start_dim == 1 and module.end_dim == -1 else Unknown()),
)
"""Rules by what a part computes, the `forward` of a class."""
