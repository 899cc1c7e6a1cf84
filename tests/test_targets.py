"""A `_target_` makes what its group asks for, or is refused before anything is called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fanin.catalogue import PARTS, TABLE, config_folder
from fanin.errors import UserError
from fanin.parts.models import Mlp
from fanin.targets import MOVED, load, new_name, refuse_nested

OWN = """
from __future__ import annotations
import functools
import pandas
from torch import nn

def declared() -> nn.Tanh:
    return nn.Tanh()

def undeclared():
    return nn.Tanh()

def other() -> int:
    return 3

@functools.wraps(pandas.read_pickle)
def borrowed(path) -> nn.Module:
    return nn.Tanh()

from pandas import read_pickle
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of the user's."""
    (tmp_path / "targets_of_a_user.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "targets_of_a_user"


@pytest.mark.parametrize(
    ("target", "base", "found"),
    [
        ("torch.nn.SiLU", "torch.nn.Module", nn.SiLU),
        ("torch.optim.SGD", "torch.optim.Optimizer", torch.optim.SGD),
        ("fanin.parts.models.Mlp", nn.Module, Mlp),
    ],
)
def test_a_class_that_derives_from_the_base(target: str, base: str | type, found: type) -> None:
    assert load(target, base) is found


def test_functions_of_ones_own_say_what_they_return(own: str) -> None:
    assert load(f"{own}.declared", nn.Module).__name__ == "declared"
    for name in ("undeclared", "other"):
        with pytest.raises(UserError, match=rf"{name}: must be .*; write def {name}\(\.\.\.\) -> Module$"):
            load(f"{own}.{name}", nn.Module)


@pytest.mark.parametrize(
    "target",
    ["pathlib.Path.touch", "torch.load", "pandas.read_pickle", "sys.exit", "builtins.exec", "os.system", "json.loads",
     "torch.hub.load", "torch.nn.utils.parametrizations.orthogonal", "torch.nn.functional.relu",
     "builtins.dict", "fanin.parts.losses.error"],
)  # fmt: skip
def test_what_makes_something_else_is_one_line(target: str) -> None:
    with pytest.raises(
        UserError, match=r"^model\._target_=\S+: must be a class that derives from Module, or"
    ) as caught:
        load(target, "torch.nn.Module", key="model._target_")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["borrowed", "read_pickle"])
def test_a_librarys_function_is_none_of_ones_own_under_another_name(own: str, name: str) -> None:
    with pytest.raises(UserError, match="it was not called"):
        load(f"{own}.{name}", nn.Module)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nope.Net", "an importable class or function; No module named 'nope'"),
        ("fanin.parts.models.Mpl", "an importable class or function; fanin.parts.models has no Mpl; did you mean Mlp?"),
        ("Mlp", "the dotted name of an importable class or function"),
        ("a b.c", "the dotted name of an importable class or function"),
        (3, "the dotted name of an importable class or function"),
        (None, "the dotted name of an importable class or function"),
        ("fanin.models.Mlp", "its new name, fanin.parts.models.Mlp; fanin's parts are in fanin.parts now"),
    ],
)
def test_what_is_not_there_is_one_line(target: object, told: str) -> None:
    with pytest.raises(UserError) as caught:
        load(target, nn.Module)
    assert str(caught.value).endswith(f": must be {told}")


def test_a_module_that_exits_while_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exits_at_import.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"its module raises SystemExit: 0$"):
        load("exits_at_import.Net", nn.Module)


@pytest.mark.parametrize("value", [{"_target_": "os.system"}, [{"a": {"_target_": "os.system"}}]])
def test_values_hold_no_targets(value: object) -> None:
    with pytest.raises(UserError, match=r"^loss\.x.*: a value holds no _target_, found os\.system"):
        refuse_nested("loss.x", value)
    refuse_nested("loss.x", {"a": [1, {"b": 2}]})


def test_every_old_name_leads_to_a_module_that_is_there() -> None:
    for old in MOVED:
        module, _, name = new_name(f"{old}.Name").rpartition(".")
        assert name == "Name"
        __import__(module)


def test_every_folder_of_options_has_a_row_and_every_row_a_folder() -> None:
    assert {path.name for path in config_folder().iterdir() if path.is_dir()} - {"hydra"} == {row.name for row in TABLE}
    assert {"experiment", "debug"} == {row.name for row in TABLE} - {*PARTS}


def test_neither_imports_torch_or_hydra() -> None:
    code = "import sys, fanin.catalogue, fanin.targets; print({'torch', 'hydra', 'omegaconf'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "set()\n"
