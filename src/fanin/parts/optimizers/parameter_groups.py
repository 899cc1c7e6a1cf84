"""Learning rates and decays of their own for some of a model's parameters: the optimizer's groups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from fanin.errors import OptionError, UserError, number

SHOWN = 3
"""Names that a line lists."""


@dataclass(frozen=True)
class Factors:
    """By what the learning rate and the weight decay of some parameters are multiplied.

    A parameter has the rate $a prod f$ over all patterns that match its name, and a that schedule and warm-up give.
    Patterns are of the shell (fnmatch: * for anything, ? for one character, [12]) over names as linear_1.weight. The
    factor of a decay is that of the optimizer's own weight_decay, which goes with the rate, and of
    regularizer=weight_decay.

    Args:
        rates: pattern -> factor of the learning rate, >= 0.
        decays: pattern -> factor of the weight decay, >= 0.

    Raises:
        OptionError: something else than numbers by patterns.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    decays: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, factors: object, decay_factors: object) -> Factors:
        """What was typed for the two keys; None for nothing."""
        return cls(_numbers("factors", factors), _numbers("decay_factors", decay_factors))

    def check(self, names: Sequence[str], optimizer: torch.optim.Optimizer, *, decays: bool) -> None:
        """Refuse what would be passed over in silence.

        Args:
            names: of the parameters that are trained.
            optimizer: of this kind the run's will be.
            decays: whether there is a decay beside it.

        Raises:
            UserError: a pattern that matches nothing; a decay's factor without a decay.
        """
        for key, patterns in (("factors", self.rates), ("decay_factors", self.decays)):
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in names):
                    listed = ", ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])])
                    allowed = "a pattern that matches a parameter that is trained"
                    raise OptionError(f"optimizer.{key}", pattern, allowed, f"there are {listed}")
        if self.decays and not decays and "weight_decay" not in optimizer.param_groups[0]:
            kind = type(optimizer).__name__
            raise UserError(
                f"optimizer.decay_factors: {kind} has no weight decay; take optimizer=adamw or regularizer=weight_decay"
            )

    def groups(self, named: Iterable[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
        """The groups for an optimizer's constructor: parameters of equal factors together, in the model's order.

        >>> import torch
        >>> named = [(name, torch.nn.Parameter(torch.zeros(1))) for name in ("a.weight", "a.bias", "b.weight")]
        >>> [(len(one["params"]), one["factor"]) for one in Factors({"a.*": 2.0, "*.bias": 0.5}).groups(named)]
        [(1, 2.0), (2, 1.0)]
        """
        found: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in named:
            found.setdefault((_product(self.rates, name), _product(self.decays, name)), []).append(parameter)
        return [{"params": some, "factor": rate, "decay_factor": decay} for (rate, decay), some in found.items()]


def spread_decays(optimizer: torch.optim.Optimizer) -> None:
    """Give each group of a fresh optimizer its own weight decay, where there is one."""
    for group in optimizer.param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = group["weight_decay"] * group.get("decay_factor", 1.0)


def _product(factors: Mapping[str, float], name: str) -> float:
    return math.prod((factor for pattern, factor in factors.items() if fnmatchcase(name, pattern)), start=1.0)


def _numbers(key: str, value: object) -> dict[str, float]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise OptionError(key, value, "null or numbers by patterns", f"such as 'optimizer.{key}={{linear_1*:0.1}}'")
    return {str(pattern): number(f"{key}.{pattern}", one, 0) for pattern, one in value.items()}
