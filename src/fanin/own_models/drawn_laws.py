"""What the weight layers of a model are drawn from: as it is declared, or found among the well-known laws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from fanin.devices import widened
from fanin.own_models.examined import Row, examined, fault_of
from fanin.own_models.rules import Parameter, Rules, laws_of, parameters_of
from fanin.own_models.weight_laws import Law
from fanin.parts.models.layers import fans, weight_layers
from fanin.theory.weights import Weights

KNOWN = (
    "torch_default",
    "kaiming_normal",
    "kaiming_uniform",
    "kaiming_normal(mode='fan_out')",
    "xavier_normal",
    "xavier_uniform",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
    "gpt2",
)
"""Rules that are tried where none is declared; all weight layers have to follow one of them."""

LEVEL = 1e-4
"""The probability that layers are said not to follow a rule that they were drawn by."""

FAR = 10.0
"""Standard errors of a mean square that nobody takes for chance."""

MOST = 2**16
"""Entries of a weight that are looked at."""


@dataclass(frozen=True)
class DrawnBy:
    """What weight layers are drawn from.

    Attributes:
        weights: of each layer, or why it has no law.
        rule: the rule that all follow; empty where several were declared, or none is known.
        why: why no law is known; empty where one is.
    """

    weights: Mapping[nn.Module, Weights | str]
    rule: str = ""
    why: str = ""


def drawn_laws(model: nn.Module, rules: Rules | None = None) -> DrawnBy:
    """What the weight layers of a fresh model are drawn from.

    A layer whose entries do not follow what is declared for it has no law. Where nothing is declared, the well-known
    rule under which the weights are most probable is taken, if they follow it.

    Args:
        model: fresh.
        rules: as `fanin.audit` takes them; None tries those that are well known.

    Raises:
        UserError: a rule that is not known, or a pattern that matches nothing.

    >>> import torch
    >>> generator = torch.manual_seed(0)
    >>> drawn_laws(nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 50))).rule
    'torch_default'
    """
    layers = weight_layers(model)
    owners = {id(one) for _, layer in layers for one in layer.parameters(recurse=False)}
    parameters = parameters_of(model)
    mine = [place for place, one in enumerate(parameters) if id(one.tensor) in owners]

    def rows_of(rule: Rules) -> list[Row]:
        laws = laws_of(parameters, rule)
        return [examined(_thinned(parameters[place], laws[place]), laws[place]) for place in mine]

    if rules is not None:
        rows = rows_of(rules)
        return DrawnBy(_of_layers(layers, rows, _faults(rows)), rules if isinstance(rules, str) else "")
    best: tuple[float, str, list[Row]] | None = None
    for rule in KNOWN:
        declared = laws_of(parameters, rule)
        if any(_far(parameters[place], declared[place]) for place in mine):
            continue
        rows = rows_of(rule)
        if not any(_faults(rows).values()):
            found = _log_likelihood(rows), rule, rows
            best = found if best is None or found[0] > best[0] else best
    if best is None:
        why = f"the weights follow none of {', '.join(KNOWN)} as a whole; rules= declares what they are drawn from"
        return DrawnBy({layer: "nobody says what its weights are drawn from" for _, layer in layers}, why=why)
    return DrawnBy(_of_layers(layers, best[2], {}), best[1])


def _thinned(one: Parameter, laws: Sequence[Law]) -> Parameter:
    """A parameter of fewer entries, where entries are independent."""
    step = one.tensor.numel() // MOST
    if step < 2 or not all(law.drawn for law in laws):
        return one
    return one._replace(tensor=one.tensor.detach().flatten()[::step])


def _far(one: Parameter, laws: Sequence[Law]) -> bool:
    """Whether a weight's mean square is so far from its law's that no other test is needed."""
    law = laws[0] if laws and one.tensor.ndim > 1 else None
    if law is None or not law.drawn:
        return False
    square = float(widened(_thinned(one, laws).tensor.detach()).square().mean())
    error = math.sqrt(2 / min(one.tensor.numel(), MOST))  # a normal's, which is the largest
    return abs(square / (law.std**2 + law.mean**2) - 1) > FAR * error


def _faults(rows: Sequence[Row]) -> dict[int, str]:
    """What is wrong with parameters, by the identity of each; empty of those that follow their law."""
    tests = sum(len(row.p) * len(row.laws) for row in rows)
    found = {id(row.parameter.tensor): fault_of(row, LEVEL / max(tests, 1)) for row in rows}
    return {key: fault.said for key, fault in found.items() if fault is not None}


def _log_likelihood(rows: Sequence[Row]) -> float:
    """Of all entries that are drawn; those of a rule of rotations are certain, and so are constants."""
    total = 0.0
    for row in rows:
        if row.law is not None and row.law.kind == "orthogonal":
            return math.inf
        if row.law is not None and row.law.drawn and row.parameter.tensor.ndim > 1:
            total += float(np.sum(row.law.distribution.logpdf(row.sample)))
    return total


def _of_layers(
    layers: Sequence[tuple[str, nn.Module]], rows: Sequence[Row], faults: Mapping[int, str]
) -> dict[nn.Module, Weights | str]:
    by_name = {name: row for row in rows for name in row.parameter.names}
    found: dict[nn.Module, Weights | str] = {}
    for name, layer in layers:
        prefix = f"{name}." if name else ""
        found[layer] = _of_layer(layer, by_name.get(f"{prefix}weight"), by_name.get(f"{prefix}bias"), faults)
    return found


def _of_layer(layer: nn.Module, weight: Row | None, bias: Row | None, faults: Mapping[int, str]) -> Weights | str:
    for row in (weight, bias):
        if row is None:
            continue
        if said := faults.get(id(row.parameter.tensor)):
            return f"its {row.parameter.attribute} is not as declared: {said}"
        if row.law is None:
            return f"nobody says what its {row.parameter.attribute} is drawn from"
    if weight is None or weight.law is None:
        return "nobody says what its weight is drawn from"
    law, (fan_in, _) = weight.law, fans(layer)
    if law.kind == "constant" or law.mean:
        return "its weights are not drawn around 0"
    spread = 0.0
    if bias is not None and bias.law is not None:
        if bias.law.mean:
            return "its biases are not drawn around 0"
        spread = bias.law.std**2
    if law.kind == "orthogonal":
        return Weights(law.scale**2 * min(1.0, fan_in / len(layer.get_parameter("weight"))), "orthogonal", spread)
    return Weights(fan_in * law.std**2, "normal" if law.kind == "normal" else "independent", spread)
