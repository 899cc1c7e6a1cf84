"""Imports run one way: from the command line down to the files of a run, never back and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
FLOORS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("api",),
    ("search",),
    ("sweep", "own_models"),
    ("landscape",),
    ("run",),
    ("train",),
    ("report", "parts"),
    ("theory", "probes"),
    ("record",),
    ("streams", "devices", "ranks", "process", "catalogue", "targets"),
    ("errors", "output", "torch_internals"),
)
"""From the top floor down. A package may import from the floors below its own and from itself, nothing else."""

LEVEL = {room: level for level, floor in enumerate(FLOORS) for room in floor}

YET: set[tuple[str, str]] = set()
"""Arrows that still run the wrong way: (from, to). Nothing is added here; what is gone is taken out."""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((SOURCE / "fanin").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The package's modules that a file imports: at its top, in its functions, for types, and by name in a string.

    >>> sorted(imported("m", Path(__file__), {}))
    []
    """
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                if full in known:
                    yield full
                elif base in known:
                    yield base
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "import_module":
            yield from (one.value for one in node.args if isinstance(one, ast.Constant) and one.value in known)


def room(module: str) -> str:
    """The package or module directly below `fanin` that a module belongs to; "" for `fanin` itself and its program."""
    return module.removesuffix(".__main__").partition(".")[2].partition(".")[0]


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    """Which module imports which."""
    known = modules()
    return {name: set(imported(name, path, known)) - {name} for name, path in known.items()}


def test_every_room_has_a_floor(arrows: dict[str, set[str]]) -> None:
    assert {room(name) for name in arrows} - {""} <= set(LEVEL)


YET_IN_CIRCLES = {"fanin"}
"""Packages whose own face is imported from inside: `fanin` gives its names lazily."""


def test_imports_run_downwards(arrows: dict[str, set[str]]) -> None:
    back = {
        (name, target)
        for name, targets in arrows.items()
        for target in targets
        if room(name) and room(target) and room(name) != room(target) and LEVEL[room(name)] >= LEVEL[room(target)]
    }
    assert back == YET


def test_no_circle(arrows: dict[str, set[str]]) -> None:
    """A package's own face counts as a module, so a part that imports its package from inside would be seen."""
    state: dict[str, int] = {}
    trail: list[str] = []

    def visit(name: str) -> None:
        state[name] = 1
        trail.append(name)
        for target in sorted(arrows[name] - YET_IN_CIRCLES):
            assert state.get(target) != 1, " > ".join([*trail[trail.index(target) :], target])
            if target not in state:
                visit(target)
        trail.pop()
        state[name] = 2

    for name in sorted(arrows):
        if name not in YET_IN_CIRCLES and name not in state:
            visit(name)


def test_an_arrow_back_is_seen(tmp_path: Path) -> None:
    """The reader of imports sees lazy, type-only, relative and named ones."""
    file = tmp_path / "m.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from fanin.api.task import Task\n"
        "def f():\n    import fanin.sweep.pool\n    from . import job\n    import_module('fanin.run.build')\n"
    )
    known = dict.fromkeys(["fanin.api.task", "fanin.sweep.pool", "fanin.sweep.job", "fanin.run.build"], file)
    assert set(imported("fanin.sweep.m", file, known)) == set(known)
