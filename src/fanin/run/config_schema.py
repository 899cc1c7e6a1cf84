"""The JSON schema of an experiment, which sets keys of all groups, and those of options that are not fanin's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fanin.catalogue import GROUPS, PARTS
from fanin.run.option_schema import DRAFT, Schema

OWN: Schema = {
    "seed": {"type": ["integer", "string"], "minimum": 0, "description": "of weights, data order, dropout and probes"},
    "force": {"type": "boolean", "description": "run a finished run again"},
    "pause_at": {
        "type": ["integer", "null"],
        "minimum": 1,
        "description": "a step at which the run pauses, to go on without it or with a later one",
    },
    "objective": {"type": ["string", "null"], "description": "a metric of result.json for sweepers that search"},
    "study": {
        "type": ["object", "null"],
        "description": "what the report claims and draws: _target_ names a class that derives from fanin.Study",
        "required": ["_target_"],
    },
    "hydra": {"type": "object", "description": "Hydra's own: mode, sweeper.params, sweep.dir, launcher, ..."},
}
"""Keys of a configuration that no group has."""


def config_schema(options: Mapping[str, Mapping[str, Schema]]) -> Schema:
    """The schema of an experiment: of each group, the keys of whichever option its defaults choose.

    Args:
        options: the schema of each option of each group.
    """
    properties: Schema = {"defaults": _defaults(options)}
    for group in PARTS:
        keys = _merged([one["properties"] for one in options.get(group, {}).values()])
        said = {"type": "object", "description": GROUPS[group].words}
        properties[group] = said | {"properties": keys, "additionalProperties": False}
    title = "settings over all groups, and the grid they are swept over"
    return {
        "$schema": DRAFT, "title": title, "type": "object",
        "properties": properties | OWN, "additionalProperties": False,
    }  # fmt: skip


def _defaults(options: Mapping[str, Mapping[str, Schema]]) -> Schema:
    """The list of options that a file begins with: `- override /model: mlp`."""
    chosen: Schema = {}
    for group, names in options.items():
        one: Schema = {"enum": sorted(names)}
        if GROUPS[group].several:
            one = {"anyOf": [one, {"type": "array", "items": one}]}
        chosen |= {f"override /{group}": one, group: one}
    for group in sorted(GROUPS.keys() - options.keys()):
        chosen[group] = {"type": ["string", "null"]}
    hydra = {"^override (/)?hydra/": {"type": "string"}}
    entry = {"type": "object", "properties": chosen, "patternProperties": hydra, "additionalProperties": False}
    return {"type": "array", "items": {"anyOf": [{"enum": ["_self_", "launching"]}, entry]}}


def _merged(each: Iterable[Schema]) -> Schema:
    """Properties of which a key may be in several, each with another meaning."""
    found: dict[str, dict[str, Schema]] = {}
    for properties in each:
        for name, schema in properties.items():
            bare = {word: value for word, value in schema.items() if word not in ("description", "default", "required")}
            found.setdefault(name, {})[json.dumps(bare, sort_keys=True)] = bare
    return {
        name: next(iter(kinds.values())) if len(kinds) == 1 else {"anyOf": list(kinds.values())}
        for name, kinds in found.items()
    }


def typed_by_values(node: Mapping[str, Any], comments: Mapping[str, str], path: str = "") -> Schema:
    """The schema of an option that is not fanin's: each key of the type of its default; there may be more keys."""
    kinds = {bool: "boolean", int: "number", float: "number", str: "string"}
    properties: Schema = {}
    for name, value in node.items():
        here = f"{path}{name}"
        if isinstance(value, Mapping):
            properties[name] = typed_by_values(value, comments, f"{here}.")
        elif type(value) in kinds and name != "defaults":
            properties[name] = {"type": sorted({kinds[type(value)], "string", "null"})}
        else:
            properties[name] = {}
        if said := comments.get(here):
            properties[name]["description"] = said
    return {"type": "object", "properties": properties}
