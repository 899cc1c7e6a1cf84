"""The table of what can be measured of a network, a user's own functions too.

A quantity is a name, what it is of, and a function. What it is of decides the rest: of activations alone it is
measured at every module (and, as a curve, at the end of every weight layer's block), of anything else at every weight
layer; and a step keeps only what the quantities of its curves are of.

A function of one's own says by the names of its parameters what it is of:

    def stable_rank(weight): return weight.flatten(1).square().sum() / torch.linalg.matrix_norm(weight.flatten(1), 2)**2
    def alignment(weight, gradient): return torch.cosine_similarity(weight.flatten(), gradient.flatten(), dim=0)

It gets the tensors of one layer of one run and returns one number; probe.measures=[my_module.stable_rank] asks for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from fanin.devices import widened
from fanin.errors import OptionError, UserError
from fanin.probes import measures
from fanin.probes.capture import Observation
from fanin.targets import find, own_source

OF = {
    "activation": "a module's output [B, ...]; at a weight layer that of its block's last module",
    "activation_gradient": "dL/d of the same",
    "weight": "W [fan_out, fan_in, ...], as the pass met it",
    "gradient": "dL/dW of the data loss",
    "bias_gradient": "dL/db of the data loss, of layers that have biases",
    "initial": "W at step 0",
    "updated": "W after the step's update; in curves of the training batch only",
}
"""What a quantity can be of: the tensors of one layer, by the names that functions call them by."""

Norms = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Quantity:
    """What is measured, and how.

    Args:
        name: its column and tag.
        of: keys of OF.
        many: (norms, n tensors [R, ...] of each of `of`) -> values [n, R]; `norms` gives those of tensors, each once.
    """

    name: str
    of: tuple[str, ...]
    many: Callable[..., Tensor]

    @property
    def everywhere(self) -> bool:
        """Whether it is measured at every module, and not at weight layers only."""
        return {"activation", "activation_gradient"}.issuperset(self.of)


def each(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """A measure of tensors [R, B, F] for n tensors [R, B, ...] whose further axes are flattened to one."""
    return lambda norms, tensors: torch.stack([function(tensor.flatten(2)) for tensor in tensors])


def _norm(norms: Norms, tensors: Sequence[Tensor]) -> Tensor:
    return norms(tensors)


def _nonfinite(norms: Norms, tensors: Sequence[Tensor]) -> Tensor:
    return measures.nonfinites(tensors, norms(tensors))


def _variance(norms: Norms, weights: Sequence[Tensor], fan_ins: Sequence[int]) -> Tensor:
    pairs = zip(weights, fan_ins, strict=True)
    return torch.stack([measures.scaled_variance(weight.flatten(2), fan_in) for weight, fan_in in pairs])


def _movement(norms: Norms, weights: Sequence[Tensor], initial: Sequence[Tensor], initial_norms: Tensor) -> Tensor:
    return measures.distances(norms, weights, initial) / initial_norms


def _update_ratio(norms: Norms, updated: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    return measures.distances(norms, updated, weights) / norms(weights)


TABLE = {
    one.name: one
    for one in (
        Quantity("activation_norm", ("activation",), _norm),
        Quantity("dead_units", ("activation",), each(measures.dead_units)),
        Quantity("activation_cosine", ("activation",), each(measures.cosine)),
        Quantity("activation_nonfinite", ("activation",), _nonfinite),
        Quantity("activation_gradient_norm", ("activation_gradient",), _norm),
        Quantity("gradient_norm", ("gradient",), _norm),
        Quantity("bias_gradient_norm", ("bias_gradient",), _norm),
        Quantity("gradient_nonfinite", ("gradient",), _nonfinite),
        Quantity("weight_norm", ("weight",), _norm),
        Quantity("weight_zeros", ("weight",), each(measures.zeros)),
        Quantity("weight_variance", ("weight", "fan_in"), _variance),
        Quantity("weight_movement", ("weight", "initial", "initial_norm"), _movement),
        Quantity("update_ratio", ("updated", "weight"), _update_ratio),
    )
}
"""Every quantity that fanin knows, by name: another one is a line here."""


def resolved(quantities: Iterable[str | Quantity]) -> list[Quantity]:
    """Quantities, given as they are or by the names of the table."""
    return [TABLE[one] if isinstance(one, str) else one for one in quantities]


def needs(quantities: Iterable[str | Quantity]) -> frozenset[str]:
    """What some quantities are of, together."""
    return frozenset(name for one in resolved(quantities) for name in one.of)


def tensors_of(seen: Observation, name: str, places: Collection[int]) -> Any:
    """What a quantity is of, for the modules at some places, or for the weight layers; None if that was not seen."""
    if name == "activation":
        return [seen.activations[place] for place in places] or None
    if name == "activation_gradient":
        return [seen.activation_gradients[place] for place in places] or None
    if name == "initial_norm":
        return seen.initial_norms() if seen.initial else None
    return {
        "weight": seen.weights, "fan_in": seen.fan_ins, "gradient": seen.gradients, "initial": seen.initial,
        "updated": seen.updated, "bias_gradient": seen.bias_gradients,
    }[name] or None  # fmt: skip


Measures = Mapping[str, str | Callable[..., Any]] | Sequence[str]
"""A user's functions by their names."""


def own_quantities(measured: Measures) -> tuple[Quantity, ...]:
    """Quantities of a user's functions.

    Args:
        measured: dotted names of functions of the user's own modules, whose parameters are keys of OF; a list, each
            named as its function, or a mapping from other names to these, or to the functions themselves.

    Raises:
        OptionError: what is not one, a name that is taken, or a function that fails on an example.
    """
    if isinstance(measured, str) or not isinstance(measured, (Mapping, Sequence)):
        raise OptionError("measures", measured, "a list of functions", f"type measures=[{measured}]")
    if not isinstance(measured, Mapping):
        measured = {str(path).rpartition(".")[2]: path for path in measured}
    return tuple(_own(str(name), path) for name, path in measured.items())


def _own(name: str, path: object) -> Quantity:
    """One quantity of a user's function, tried on an example."""
    key, wanted = f"measures.{name}", "a function of your own module, such as my_module.stable_rank"
    if name in TABLE or not name.isidentifier():
        raise OptionError(
            "measures", name, "a name of letters, digits and _ that is not taken", "type {NAME: function}"
        )
    try:
        function = path if callable(path) else find(str(path)) if own_source(str(path)) else None
    except (Exception, SystemExit) as error:  # of the module itself, too
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise OptionError(key, path, wanted, said) from None
    if not isinstance(function, FunctionType):
        raise OptionError(key, path, wanted)
    of = tuple(inspect.signature(function).parameters)
    if not of or not set(of) <= OF.keys():
        raise OptionError(key, path, f"a function with parameters out of {', '.join(OF)}", f"it has {', '.join(of)}")
    quantity = Quantity(name, of, _one_by_one(name, function))
    example = torch.linspace(-1, 1, 12).view(1, 4, 3)
    quantity.many(measures.norms, *[[example] for _ in of])
    return quantity


def _one_by_one(name: str, function: Callable[..., Any]) -> Callable[..., Tensor]:
    """A user's function, called for each layer of each run."""

    def number(*tensors: Tensor) -> Tensor:
        try:
            value = widened(torch.as_tensor(function(*tensors)))
            return value.reshape(())
        except Exception as error:
            shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors)
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UserError(
                f"probe.measures.{name}: must give one number for tensors of shape {shapes}; {said}"
            ) from error

    def many(norms: Norms, *lists: Sequence[Tensor]) -> Tensor:
        with torch.no_grad():
            rows = [
                torch.stack([number(*run) for run in zip(*layer, strict=True)]) for layer in zip(*lists, strict=True)
            ]
        return torch.stack(rows)

    return many
