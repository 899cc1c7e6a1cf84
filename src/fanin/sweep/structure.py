"""What configurations have in common: the program that trains them, the networks that they draw."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from fanin.catalogue import GROUPS, PARTS
from fanin.errors import UserError
from fanin.targets import load


def structure_key(values: Mapping[str, Any]) -> str | None:
    """What runs must have in common to be trained together; None if a run can only be trained alone.

    What each group's options share stands in the table of groups, and a part may say it itself: free to differ are
    seed, initializer, schedule, the rule for the learning rate, early stopping, the optimizer's numbers, the strength
    of penalties, and dropout's probabilities as long as the same ones are above 0. What computes in a step has to be
    marked as stackable; a part of a user's own is not unless it says so, for it may hold anything.

    Args:
        values: a configuration without mistakes as plain values, interpolations resolved.

    Returns:
        equal strings for configurations that can be trained together.
    """
    from fanin.parts.per_run import is_stackable, program_keys, trains_alone  # torch

    shared: list[object] = []
    for key, node in _options(values):
        row = GROUPS[key.partition(".")[0]]
        target = node.get("_target_") or row.target
        part = _found(target, row.bases)
        keys = {name: value for name, value in node.items() if name != "_target_"}
        if (row.in_step and not is_stackable(part)) or trains_alone(part, keys):
            return None
        found = program_keys(part, keys, row.shared)
        if found is not None:
            shared.append([key, target, found])
    return json.dumps(shared, sort_keys=True)


def drawn_key(values: Mapping[str, Any]) -> str | None:
    """Equal for configurations whose networks are drawn alike but for the seed: what is expected of one, is of all.

    None for those of which nothing is expected.
    """
    if values["probe"].get("band") == "off":
        return None
    return json.dumps([values[name] for name in DRAWN], sort_keys=True)


DRAWN = ("data", "preprocess", "initializer", *(name for name in PARTS if GROUPS[name].shapes_model))
"""The groups that decide what a drawn network does on the run's data."""


def _options(values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every option of a configuration, under its group and, where that takes several, its own name."""
    for group in PARTS:
        if GROUPS[group].several:
            yield from ((f"{group}.{name}", node) for name, node in values[group].items())
        else:
            yield group, values[group]


@lru_cache(maxsize=256)
def _found(target: str, bases: tuple[str, ...]) -> object:
    """The class or function that a `_target_` names, None if there is none."""
    try:
        return load(target, *bases)
    except UserError:
        return None
