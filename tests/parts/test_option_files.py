"""Every building block's YAML: documented, complete, and what it makes."""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from fanin.catalogue import GROUPS as GROUPS_TABLE

CONF = Path(__file__).parents[2] / "conf"
GROUPS = (
    "preprocess", "augment", "model", "activation", "initializer", "normalization", "loss", "regularizer", "optimizer",
    "clipping", "noise", "averaging", "schedule", "batch", "lr_scaling",
)  # fmt: skip
FILES = sorted(path for group in GROUPS for path in (CONF / group).glob("*.yaml"))
GIVEN_BY_THE_BUILDER = {
    "params",
    "in_features",
    "input_shape",
    "out_features",
    "activation",
    "normalization",
    "dropout",
}


def options(path: Path) -> dict[str, Any]:
    """The option's own keys: those of a regularizer lie one level down, under its name."""
    content: Any = OmegaConf.to_container(OmegaConf.load(path))
    own: dict[str, Any] = content.get(path.stem, {}) if path.parent.name in ("regularizer", "augment") else content
    return own


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_each_line_says_what_it_is(path: Path) -> None:
    schema, first, *rest = path.read_text().splitlines()
    assert schema.startswith("# yaml-language-server: ")
    assert re.fullmatch(r"# \S.{5,85}", first)
    undocumented = [line for line in rest if not re.search(r"_target_:|^\w+:$|^\{\}$|\S  # \S", line)]
    assert undocumented == []


@pytest.mark.parametrize("path", [p for p in FILES if options(p)], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_keys_are_the_parameters(path: Path) -> None:
    keys = options(path)
    parameters = set(inspect.signature(get_object(keys["_target_"])).parameters) - GIVEN_BY_THE_BUILDER
    read = GROUPS_TABLE[path.parent.name].read
    assert {key for key in keys if not key.startswith("_") and key not in read} == parameters


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if options(p) and "_partial_" not in options(p) and p.parent.name != "model"],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_the_object_holds_the_values(path: Path) -> None:
    keys = options(path)
    made = instantiate(keys)
    assert type(made) is get_object(keys["_target_"])
    values = {key: value for key, value in keys.items() if not key.startswith("_")}
    assert {key: getattr(made, key) for key in values} == values


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.parent.name in ("activation", "optimizer")],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_what_needs_more_is_made_in_part(path: Path) -> None:
    made = instantiate(options(path))
    assert isinstance(made, functools.partial)
    assert made.func is get_object(options(path)["_target_"])
