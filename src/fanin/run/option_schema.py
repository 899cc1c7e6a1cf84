"""JSON schemas of option files, which editors complete and check YAML by: asked of the constructors themselves.

A constructor is called with a word that no key can mean; what it says must be there instead is the type, the range or
the list of words. What it does not check is what its argument is declared to be. So a schema allows what a run does.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Mapping, Sequence
from functools import partial
from types import UnionType
from typing import Any

import torch
from torch import nn

from fanin.catalogue import GROUPS
from fanin.errors import OptionError, UserError
from fanin.parts.activations import relu
from fanin.parts.normalization import NoNorm
from fanin.run.make_option import find, make

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"

INTERPOLATED: Schema = {"type": "string", "pattern": r"\$\{"}
"""A value that Hydra works out, as ${model.depth}."""

NO_WORD = "\0"
"""What no key can mean."""


def option_schema(group: str, node: Mapping[str, Any], comments: Mapping[str, str] | None = None) -> Schema:
    """The schema of an option's YAML.

    Args:
        group: of which it is an option.
        node: what the YAML says.
        comments: what is said of each key, by the key with its parents.

    Raises:
        UserError: its `_target_` is no option of the group.
    """
    comments = comments or {}
    properties: Schema = {}
    for name, value in node.items() if GROUPS[group].several else ():
        if isinstance(value, Mapping):
            under = {key.partition(".")[2]: said for key, said in comments.items() if key.startswith(f"{name}.")}
            properties[name] = _keys(f"{group}.{name}", value, under)
    whole = _object(properties) if GROUPS[group].several else _keys(group, node, comments)
    return {"$schema": DRAFT, "title": f"an option of {group}: {GROUPS[group].words}", **whole}


def _keys(key: str, node: Mapping[str, Any], comments: Mapping[str, str]) -> Schema:
    """The schema of what one target is made of."""
    row = GROUPS[key.partition(".")[0]]
    target = str(node.get("_target_") or row.target)
    function = find(target, row.bases, f"{key}._target_")
    parameters = inspect.signature(function).parameters
    hints, said = _hints(function), _said_of_arguments(function)
    properties: Schema = {"_target_": {"const": target, "description": "the class that is made"}}
    if "_partial_" in node:
        properties["_partial_"] = {"const": node["_partial_"], "description": "what else it needs, a run gives it"}
    plain = {name: value for name, value in node.items() if name not in (*properties, *row.read)}
    plain |= {name: value for name, value in plain.items() if "${" not in str(value)}
    for name, parameter in parameters.items():
        if name in row.offered or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        described = comments.get(name) or said.get(name, "")
        default = node.get(name, parameter.default)
        one = _value(partial(_made, key, target, plain), name, hints.get(name))
        one |= {"description": described} if described else {}
        one |= {"default": default} if default is not parameter.empty and name in node else {}
        properties[name] = one
    for name, described in row.read.items():
        numbers = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}
        default = {"default": node[name]} if name in node else {}
        properties[name] = {"anyOf": [{"type": "null"}, numbers], "description": described} | default
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    required = [name for name in ("_target_",) if not row.target]
    return _object(properties, open_ended=open_ended) | ({"required": required} if required else {})


def _object(properties: Schema, *, open_ended: bool = False) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": open_ended}


def _made(key: str, target: str, plain: Mapping[str, Any], /, **changes: Any) -> object:
    """What a target makes of its keys, with some of them changed; of a model's, on the meta device."""
    keys = {name: value for name, value in {**plain, **changes}.items() if "${" not in str(value)}
    offered = {
        "in_features": 784,
        "input_shape": (1, 28, 28),
        "out_features": 10,
        "activation": relu,
        "normalization": NoNorm(),
        "dropout": None,
        "params": [nn.Parameter(torch.zeros(2, 2))],
    }
    given = {name: offered[name] for name in GROUPS[key.partition(".")[0]].offered}
    with torch.device("meta"):
        return make(key, {"_target_": target, **keys}, **given)


def _value(made: Any, name: str, hint: Any) -> Schema:
    """The schema of one key: what its constructor says of it, else what it is declared to be; or an interpolation."""
    allowed = ""
    try:
        made(**{name: NO_WORD})
    except OptionError as error:
        allowed = error.allowed if error.name.rpartition(".")[2] == name else ""
    except UserError:
        pass
    declared = _declared(hint)
    found = said_schemas(allowed) or declared
    # What is said of a word may pass over lists.
    found += [one for one in declared if one.get("type") == "array" and one not in found]
    if not found:
        return {}
    if {"type": "null"} not in found and _takes(made, name, None):
        found.append({"type": "null"})
    return joined(found)


def _takes(made: Any, name: str, value: object) -> bool:
    try:
        made(**{name: value})
    except UserError:
        return False
    return True


def joined(schemas: Sequence[Schema]) -> Schema:
    """One schema of which one of several is to hold, or an interpolation: the plainest, for the sake of its messages.

    >>> joined([{"type": "integer", "minimum": 1}, {"type": "null"}])["type"]
    ['integer', 'null', 'string']
    """
    words = [one["const"] for one in schemas if "const" in one]
    rest = [one for one in schemas if "const" not in one]
    if words and {"type": "string"} not in rest:
        return {"anyOf": [{"enum": words}, *rest, INTERPOLATED]}
    types = [one.get("type") for one in rest]
    if len(set(map(str, types))) < len(types) or not all(isinstance(one, str) for one in types):
        return {"anyOf": [*rest, INTERPOLATED]}
    merged = {name: value for one in rest for name, value in one.items()}
    if "string" not in types:
        types, merged = [*types, "string"], merged | {"pattern": INTERPOLATED["pattern"]}
    return merged | {"type": types if len(types) > 1 else types[0]}


NUMBER = re.compile(r"(an integer|a finite number|a number)(?: of 64 bits)?((?: (?:and )?(?:>=?|<=?) [-+.\de]+)*)")
"""A number as `fanin.errors.number` and `integer` tell of it."""

BOUNDS = {">": "exclusiveMinimum", ">=": "minimum", "<": "exclusiveMaximum", "<=": "maximum"}


def said_schemas(allowed: str) -> list[Schema]:
    """What an error says is allowed, as schemas of which one is to hold; [] where it is told in other words.

    >>> said_schemas("a finite number > 0 and <= 1")
    [{'type': 'number', 'exclusiveMinimum': 0, 'maximum': 1}]
    >>> said_schemas("an integer >= 1, or all"), said_schemas("one of fan_in, fan_out"), said_schemas("some other")
    ([{'type': 'integer', 'minimum': 1}, {'const': 'all'}], [{'const': 'fan_in'}, {'const': 'fan_out'}], [])
    """
    if allowed.startswith("one of "):
        return [{"const": word} for word in allowed.removeprefix("one of ").split(", ")]
    found: list[Schema] = []
    plain: dict[str, Schema] = {
        "null": {"type": "null"}, "a word": {"type": "string"}, "a truth value": {"type": "boolean"},
    }  # fmt: skip
    for piece in re.split(r",? or ", allowed.replace("true or false", "a truth value")):
        if number := NUMBER.fullmatch(piece):
            bounds = re.findall(r"(>=?|<=?) (\S+)", number.group(2))
            kind = "integer" if number.group(1) == "an integer" else "number"
            found.append({"type": kind} | {BOUNDS[sign]: _as_number(bound) for sign, bound in bounds})
        elif piece in plain:
            found.append(plain[piece])
        elif re.fullmatch(r"[a-z_]+", piece):
            found.append({"const": piece})
        else:
            return []
    return found


def _as_number(text: str) -> float:
    value = float(text)
    return int(value) if value == int(value) else value


def _hints(function: Any) -> dict[str, Any]:
    own = getattr(function, "__init__", function) if isinstance(function, type) else function
    try:
        return typing.get_type_hints(own)
    except (NameError, TypeError, AttributeError):  # names that only a type checker knows
        return {}


def _declared(hint: Any) -> list[Schema]:
    """What an argument is declared to be, [] where that is nothing that YAML has."""
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null", dict: "object"}
    if hint in kinds:
        return [{"type": kinds[hint]}]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        each = [_declared(one) for one in arguments]
        return [schema for one in each for schema in one] if all(each) else []
    if origin is typing.Literal:
        return [{"const": one} for one in arguments]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return [{"type": "object"}]
    if isinstance(origin, type) and issubclass(origin, Sequence):
        items = _declared(arguments[0])
        return [{"type": "array"} | ({"items": joined(items)} if items else {})]
    return []


def _said_of_arguments(function: Any) -> dict[str, str]:
    """What a docstring says of each argument."""
    match = re.search(r"^Args:\n(.*?)(?:\n\n|\n\S|\Z)", inspect.getdoc(function) or "", re.MULTILINE | re.DOTALL)
    items = re.split(r"\n(?=\S)", inspect.cleandoc(match.group(1))) if match else []
    pairs = [re.sub(r"\s+", " ", item).partition(": ") for item in items]
    return {name: said for names, _, said in pairs for name in names.split(", ")}
