"""`from fanin import ...` gives what parts of one's own derive from, and costs nothing before it is asked."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import fanin
from fanin.catalogue import TABLE
from fanin.targets import classes


def test_importing_fanin_imports_nothing_heavy() -> None:
    heavy = {"torch", "torchvision", "hydra", "omegaconf", "numpy", "pandas", "matplotlib", "rich"}
    code = f"import sys, fanin; dir(fanin); print(sorted({heavy!r} & sys.modules.keys()), 'Loss' in fanin.__all__)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[] True\n"


@pytest.mark.parametrize("name", fanin.__all__)
def test_every_name_is_that_of_its_room(name: str) -> None:
    (room,) = [room for room, names in fanin.ROOMS.items() if name in names]
    assert getattr(fanin, name) is getattr(import_module(room), name)
    assert name in dir(fanin)


def test_type_checkers_see_the_same_names() -> None:
    (typed,) = [node for node in ast.parse(Path(fanin.__file__).read_text()).body if isinstance(node, ast.If)]
    seen = [(node.module, one.name) for node in typed.body if isinstance(node, ast.ImportFrom) for one in node.names]
    assert seen == [(room, name) for room, names in fanin.ROOMS.items() for name in names]


def test_the_bases_of_all_groups_are_among_them() -> None:
    bases = {base for row in TABLE for base in row.bases if not base.startswith(("torch.", "fanin.train."))}
    assert set(classes(*bases)) <= {getattr(fanin, name) for name in fanin.__all__}


def test_other_names_are_errors() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Los'"):
        exec("from fanin import Los")
