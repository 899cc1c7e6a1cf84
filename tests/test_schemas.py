"""Editors' schemas: every YAML is what its schema says, and what a run refuses, the schema marks."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from command_line import Said, fanin
from fanin.catalogue import GROUPS, PARTS, config_folder
from fanin.errors import OptionError, UserError
from fanin.parts.activations import relu
from fanin.parts.normalization import NoNorm
from fanin.parts.optimizers.parameter_groups import Factors
from fanin.run.make_option import make
from fanin.run.option_schema import option_schema

jsonschema = pytest.importorskip("jsonschema")

CONF = config_folder()
FILES = sorted(path.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml"))


@cache
def schema_of(path: Path) -> Any:
    """A validator of the schema that the line on top of a YAML names."""
    lines = path.read_text().splitlines()[:2]
    (named,) = (match[1] for line in lines if (match := re.match(r"# yaml-language-server: \$schema=(.*)", line)))
    schema = json.loads((path.parent / named).read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def marks(path: Path, node: object) -> list[str]:
    """The keys that an editor would mark, "" for the whole."""
    return sorted({".".join(map(str, error.absolute_path)) for error in schema_of(path).iter_errors(node)})


@pytest.mark.parametrize("name", FILES)
def test_every_option_is_what_its_schema_says(name: str) -> None:
    assert marks(CONF / name, yaml.safe_load((CONF / name).read_text()) or {}) == []


def changed(name: str, key: str, value: object) -> object:
    """The content of a YAML with another value for a key, that of a deeper one with dots between."""
    node = copy.deepcopy(yaml.safe_load((CONF / name).read_text()))
    *above, last = key.split(".")
    inner = node
    for one in above:
        inner = inner[one]
    inner[last] = value
    return node


MISTAKES = [
    ("optimizer/adam.yaml", "lr", -0.1),
    ("optimizer/adam.yaml", "lr", "fast"),
    ("optimizer/adam.yaml", "beta1", 1),
    ("optimizer/adam.yaml", "beta1", None),
    ("optimizer/adam.yaml", "bias_correction", "yes please"),
    ("optimizer/adam.yaml", "betas", [0.9, 0.99]),
    ("optimizer/adam.yaml", "_target_", "fanin.parts.optimizers.Adaam"),
    ("model/mlp.yaml", "depth", 0),
    ("model/mlp.yaml", "depth", 2.5),
    ("model/mlp.yaml", "bias", 1),
    ("initializer/variance_scaling.yaml", "mode", "fan_inn"),
    ("initializer/pretrained.yaml", "freeze", "linear_1*"),
    ("regularizer/dropout.yaml", "dropout.p", 1.5),
    ("regularizer/l2.yaml", "l2.strenght", 0.1),
    ("schedule/step.yaml", "size", 0),
    ("trainer/default.yaml", "device", "tpu"),
    ("trainer/default.yaml", "steps", -1),
    ("trainer/default.yaml", "batch_size", "some"),
    ("trainer/default.yaml", "precision", "float16"),
    ("experiment/init_study.yaml", "optimizer.lr", -1),
    ("experiment/init_study.yaml", "optimiser", {}),
    ("experiment/init_study.yaml", "model.depht", 50),
    ("experiment/init_study.yaml", "defaults", [{"override /model": "mlpp"}]),
    ("debug/fast.yaml", "trainer.stepps", 3),
    ("config.yaml", "seed", -1),
]


@pytest.mark.parametrize(("name", "key", "value"), MISTAKES)
def test_what_a_run_refuses_is_marked(name: str, key: str, value: object) -> None:
    """Where the key is: on it, on what it is in, or, of a list, on an entry."""
    found = marks(CONF / name, changed(name, key, value))
    assert len(found) == 1
    assert found[0] in (key, key.rpartition(".")[0], f"{key}.0")


RIGHT = [
    ("optimizer/adam.yaml", "lr", "${trainer.epochs}"),
    ("optimizer/adam.yaml", "lr", 1),
    ("model/mlp.yaml", "width", [784, 256, 64]),
    ("trainer/default.yaml", "batch_size", "all"),
    ("trainer/default.yaml", "steps", None),
    ("trainer/default.yaml", "threads", 2),
    ("experiment/init_study.yaml", "regularizer", {"dropout": {"p": 0.1}}),
]


@pytest.mark.parametrize(("name", "key", "value"), RIGHT)
def test_what_a_run_takes_is_not(name: str, key: str, value: object) -> None:
    assert marks(CONF / name, changed(name, key, value)) == []


VALUES = (None, True, "word", -1, 0, 0.5, 1, 1.5, 3)


BETWEEN_KEYS = (("attention", "heads", 3),)  # the width is a multiple of them, which a schema cannot say

SLOW = ("initializer",)


@pytest.mark.parametrize(
    "group",
    [
        pytest.param(group, marks=[pytest.mark.slow] * (group in SLOW))
        for group in PARTS
        if not GROUPS[group].several and group != "data"
    ],
)
def test_a_schema_says_what_the_constructors_do(group: str) -> None:
    """Of values of every kind: a schema refuses none that makes a part, nor takes one that a constructor refuses."""
    for path in sorted((CONF / group).glob("*.yaml")):
        node = {key: value for key, value in yaml.safe_load(path.read_text()).items() if "${" not in str(value)}
        for key, value in ((key, value) for key in node if key[0] != "_" for value in VALUES):
            try:
                make_option(group, node | {key: value})
                refused = False
            except UserError as error:
                refused = str(error).startswith(f"{group}.{key}=") and (path.stem, key, value) not in BETWEEN_KEYS
            assert bool(marks(path, node | {key: value})) == refused, (path.stem, key, value)


def make_option(group: str, node: dict[str, Any]) -> object:
    """An option, with what its constructor may ask a run for."""
    given = {
        "in_features": 784, "input_shape": (1, 28, 28), "out_features": 10, "activation": relu,
        "normalization": NoNorm(), "dropout": None, "params": [torch.nn.Parameter(torch.zeros(2, 2))],
    }  # fmt: skip
    if read := GROUPS[group].read:
        try:
            Factors.of(*map(node.get, read))
        except OptionError as error:
            raise error.within(group) from None
        node = {key: value for key, value in node.items() if key not in read}
    with torch.device("meta"):
        return make(group, node, **{name: given[name] for name in GROUPS[group].offered})


def test_a_part_of_a_users_own_has_a_schema_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_part_of_schemas.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    schema = option_schema("initializer", {"_target_": "own_part_of_schemas.Edge", "c": 1.0}, {"c": "times 1/n"})
    number = {"type": ["number", "string"], "exclusiveMinimum": 0, "pattern": r"\$\{"}
    assert schema["properties"]["c"] == number | {"description": "times 1/n", "default": 1.0}
    assert schema["properties"]["kind"]["anyOf"][0] == {"enum": ["sharp", "soft"]}
    assert (schema["additionalProperties"], schema["required"]) == (False, ["_target_"])


OWN = """
from dataclasses import dataclass

from fanin import Independent
from fanin.errors import choice, number


@dataclass(kw_only=True)
class Edge(Independent):
    c: float = 1.0
    kind: str = "soft"

    def __post_init__(self):
        number("c", self.c, 0, open_low=True)
        choice("kind", self.kind, ("sharp", "soft"))

    def variance(self, fan_in: int, fan_out: int) -> float:
        return self.c / fan_in
"""


def test_every_group_with_options_has_schemas() -> None:
    there = {path.relative_to(CONF.parent / "schemas").as_posix() for path in (CONF.parent / "schemas").rglob("*.json")}
    made = {f"{name.removesuffix('.yaml')}.json" for name in FILES if GROUPS.get(name.partition("/")[0], None)}
    assert {one for one in made if GROUPS[one.partition("/")[0]].bases} | {"config.json"} <= there


@pytest.mark.slow
def test_the_command_prints_the_schema_of_any_option(tmp_path: Path) -> None:
    (tmp_path / "own_part_of_schemas.py").write_text(OWN)
    (tmp_path / "own" / "initializer").mkdir(parents=True)
    (tmp_path / "own" / "initializer" / "edge.yaml").write_text(
        "# my own\n_target_: own_part_of_schemas.Edge\nc: 2.0  # c/n\n"
    )
    said = fanin(tmp_path, "--config-dir=own", "initializer=edge", "--schema")
    assert (said.code, said.err) == (0, [])
    assert json.loads("\n".join(said.out))["properties"]["c"]["description"] == "c/n"
    for word, name in (("optimizer=adam", "optimizer/adam"), ("experiment=init_study", "config")):
        said = fanin(tmp_path, word, "--schema")
        assert "\n".join([*said.out, ""]) == (CONF.parent / "schemas" / f"{name}.json").read_text()


@pytest.mark.slow
def test_a_schema_is_of_one_option_that_is_there(tmp_path: Path) -> None:
    needs = "--schema: needs one option, as fanin optimizer=adam --schema"
    for words, line in (
        ([], needs),
        (["optimizer=adam", "model=mlp"], needs),
        (["model.depth=3"], needs),
        (["clipping=nrm"], "clipping=nrm: must be one of adaptive, none, norm, value; did you mean norm?"),
    ):
        assert fanin(tmp_path, *words, "--schema") == Said(1, [], [f"fanin: {line}"])
