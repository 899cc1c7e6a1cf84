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
    code = f"import sys, fanin; dir(fanin); print(sorted({heavy!r} & sys.modules.keys()), 'Loss' in dir(fanin))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[] True\n"


@pytest.mark.parametrize(("room", "name"), [(room, name) for room, names in fanin.ROOMS.items() for name in names])
def test_every_name_is_that_of_its_room(room: str, name: str) -> None:
    found = getattr(fanin, name)
    assert (found.__wrapped__ if name in fanin.CALLED else found) is getattr(import_module(room), name)
    assert name in dir(fanin)


@pytest.mark.parametrize("name", fanin.CALLED)
def test_a_package_that_is_a_function_is_both(name: str) -> None:
    """Whichever was asked for first, the function or a module inside; and its arguments are told."""
    inside = {"run": "identity", "sweep": "composer"}[name]
    function = f"fanin.{name}"
    for first, second in ((function, f"import {function}.{inside}"), (f"import {function}.{inside}", function)):
        code = f"import fanin, inspect\n{first}\n{second}\n" + (
            f"print(callable({function}), 'folder' in inspect.signature({function}).parameters, "
            f"{function}.{inside}.__name__)"
        )
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert said.stdout == f"True True {function}.{inside}\n"


def test_type_checkers_are_told_that_there_are_types() -> None:
    assert (Path(fanin.__file__).parent / "py.typed").is_file()


def test_what_is_called_is_all_that_a_star_brings() -> None:
    assert {"run", "load", "compose", "watch", "UserError"} <= set(fanin.__all__)
    assert not {"Loss", "Initializer", "choice", "spread"} & set(fanin.__all__)


def test_type_checkers_see_the_same_names() -> None:
    (typed,) = [node for node in ast.parse(Path(fanin.__file__).read_text()).body if isinstance(node, ast.If)]
    seen = [(node.module, one.name) for node in typed.body if isinstance(node, ast.ImportFrom) for one in node.names]
    assert seen == [(room, name) for room, names in fanin.ROOMS.items() for name in names]


def test_the_bases_of_all_groups_are_among_them() -> None:
    bases = {base for row in TABLE for base in row.bases if not base.startswith(("torch.", "fanin.train."))}
    assert set(classes(*bases)) <= {getattr(fanin, name) for names in fanin.ROOMS.values() for name in names}


def test_other_names_are_errors() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Los'"):
        exec("from fanin import Los")
