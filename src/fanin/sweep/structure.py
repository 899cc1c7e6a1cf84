"""Which configurations can be trained as one program: those that differ in numbers only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from hydra.utils import get_object

DROPOUT, EARLY_STOPPING, SAM = (f"fanin.parts.regularizers.{name}" for name in ("Dropout", "EarlyStopping", "SAM"))
SMOOTHING = "fanin.parts.regularizers.LabelSmoothing"
EQUAL = (
    "data", "preprocess", "augment", "model", "activation", "normalization", "loss", "clipping", "averaging", "batch",
    "probe", "trainer",
)  # fmt: skip
"""Groups whose every key shapes the program."""

OUTSIDE = ("data", "preprocess", "augment")
"""Those of them that have done their work before the program runs."""


def structure_key(values: Mapping[str, Any]) -> str | None:
    """What runs must have in common to be trained together; None where a run can only be trained alone.

    Free to differ: seed, initializer, schedule, the rule for the learning rate, early stopping, the optimizer's
    numbers, the strength of penalties, and dropout's probabilities as long as the same ones are above 0 (at 0 there is
    no layer). What an initializer freezes is not free: it shapes the program.

    Only parts of fanin's own are known to be functions of their inputs; a user's model, activation, normalization,
    loss, regularizer or optimizer may hold anything, and is trained alone. So is what makes more of a step than one
    pass: SAM, and optimizers that ask for more than the gradient.

    Args:
        values: a configuration without mistakes as plain values, interpolations resolved.

    Returns:
        equal strings for configurations that can be trained together.
    """
    parts = {group: values[group] for group in EQUAL}
    regularizers, optimizer = values["regularizer"], values["optimizer"]
    kinds = {name: str(part["_target_"]) for name, part in regularizers.items()}
    computing = [str(part["_target_"]) for group, part in parts.items() if group not in OUTSIDE and "_target_" in part]
    if not (
        all(target.startswith("fanin.") for target in (*computing, *kinds.values()))
        and _takes_stacks(str(parts["model"]["_target_"]))
        and SAM not in kinds.values()
        and _stackable(str(optimizer["_target_"]))
    ):
        return None
    penalties = [[name, kind] for name, kind in kinds.items() if kind != EARLY_STOPPING]
    smoothing = [regularizers[name] for name, kind in kinds.items() if kind == SMOOTHING]
    dropout = [
        {key: value > 0 for key, value in regularizers[name].items() if _is_number(value)}
        for name, kind in kinds.items()
        if kind == DROPOUT
    ]
    words = {name: "a number" if _is_number(value) else value for name, value in optimizer.items()}
    return json.dumps([parts, penalties, smoothing, _frozen(values["initializer"]), dropout, words], sort_keys=True)


def _frozen(initializer: Mapping[str, Any]) -> dict[str, Any]:
    """What says which parameters are not trained, of a pretrained network: what is loaded, and frozen of that."""
    if not initializer.get("freeze"):
        return {}
    keys = ["include", "exclude", "freeze", "strict"]
    if not initializer["strict"]:  # then what is loaded depends on what is there
        keys += ["path", "checkpoint"]
    return {key: initializer[key] for key in keys}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@lru_cache
def _takes_stacks(target: str) -> bool:
    """Whether a model is a function of its tensors and inputs, for vmap to stack."""
    return bool(getattr(get_object(target), "stackable", False))


@lru_cache
def _stackable(target: str) -> bool:
    """Whether an optimizer is one of fanin's that take a number per run."""
    from fanin.parts.optimizers.base import GroupOptimizer  # torch

    found = get_object(target) if target.startswith("fanin.parts.optimizers.") else None
    return isinstance(found, type) and issubclass(found, GroupOptimizer)
