"""The notebooks of docs/: they are as they are kept, every name they call exists, and they run to their end."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

import fanin

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
every = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def opened(path: Path) -> Any:
    """A notebook, if it can be read here."""
    return pytest.importorskip("nbformat").read(path, as_version=4)


def names(tree: ast.AST) -> Iterator[str]:
    """What of fanin is named: "plots.profile" for fanin.plots.profile."""
    for node in ast.walk(tree):
        chain: list[str] = []
        while isinstance(node, ast.Attribute):
            chain.insert(0, node.attr)
            node = node.value
        if chain and isinstance(node, ast.Name) and node.id == "fanin":
            yield ".".join(chain)


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["grid_and_statistics", "own_model", "study_and_theory"]


@every
def test_kept_without_what_a_machine_adds(path: Path) -> None:
    """Valid, without outputs, and without paths that are only somebody's; each link leads somewhere."""
    notebook = opened(path)
    pytest.importorskip("nbformat").validate(notebook)
    assert notebook.cells[0].source.startswith("# ")
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert (cell.get("outputs", []), cell.get("execution_count")) == ([], None)
        assert not re.search(r"(?:[\"'\s(]/|[A-Z]:\\|~/)\w+", cell.source), cell.source
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", cell.source) if cell.cell_type == "markdown" else []
        assert all((FOLDER / link).exists() for link in links), links
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


@every
def test_every_name_exists(path: Path) -> None:
    """Of fanin, in code and in text."""
    called = set()
    for cell in opened(path).cells:
        if cell.cell_type == "markdown":
            called |= {name.rstrip(".") for name in re.findall(r"`fanin\.([\w.]+)", cell.source)}
        else:
            called |= set(names(ast.parse(cell.source)))
    assert called
    for name in called:
        reduce(getattr, name.split("."), fanin)


@pytest.mark.slow
@every
def test_they_run(path: Path, tmp_path: Path) -> None:
    """In a fresh folder, by a kernel of Jupyter; what they claim of their numbers they assert themselves."""
    client = pytest.importorskip("nbclient")
    notebook = opened(path)
    assert sum(cell.source.count("assert ") for cell in notebook.cells) >= 5
    client.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [one.name for one in tmp_path.iterdir()] == ["outputs"]
    assert any("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))
