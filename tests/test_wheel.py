"""The wheel: all of fanin is in it, and in an environment of its own it runs what the README shows, from any folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from command_line import environment
from pages import ROOT, commands, sections

pytestmark = pytest.mark.skipif(find_spec("hatchling") is None, reason="pip install hatchling, which builds the wheel")

PYTHONS = [sys.executable, *filter(None, os.environ.get("FANIN_PYTHONS", "").split(os.pathsep))]
"""Interpreters to install it for; those of the variable have torch and the rest installed, but not fanin."""

SMALL = (
    "data.limit=100", "data.image_size=8", "trainer.batch_size=50", "trainer.steps=2", "model.depth=4", "model.width=8",
    "probe.batch_size=20", "probe.band=off", "seed=0", "hydra.launcher.n_jobs=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout."""
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(place)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (built,) = place.glob("fanin-*.whl")
    return built


def test_every_file_is_in_the_wheel(wheel: Path) -> None:
    """Code, pages of reports, options and their schemas, each where it is looked for."""
    there = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = set()
    for folder, place in (("src", ""), ("conf", "fanin/conf/"), ("schemas", "fanin/schemas/")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                wanted.add(f"{place}{path.relative_to(ROOT / folder).as_posix()}")
    assert there == wanted


def made_environment(python: str, wheel: Path, place: Path) -> Path:
    """The programs of a new environment in which the wheel is installed, and which borrows what it needs."""
    ask = "import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])"
    run = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
    subprocess.run([python, "-m", "venv", "--without-pip", str(place)], check=True)
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    (packages,) = [path for path in place.rglob("site-packages") if "lib64" not in path.parts]
    (packages / "borrowed.pth").write_text(run.stdout)
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "-q"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    return programs


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_an_installed_wheel_runs_what_the_readme_shows(python: str, wheel: Path, tmp_path: Path) -> None:
    programs = made_environment(python, wheel, tmp_path / "environment")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def said(program: str, *words: str) -> str:
        run = subprocess.run(
            [programs / program, *words], cwd=elsewhere, env=environment(), capture_output=True, text=True
        )
        assert run.returncode == 0, (words, run.stderr)
        return run.stdout

    ask = "import fanin, fanin.catalogue as c, pathlib; print(pathlib.Path(fanin.__file__).parent, c.config_folder())"
    home, conf = map(Path, said("python", "-c", ask).split())
    assert home.is_relative_to(tmp_path)
    assert conf.parent == home
    shown = [words for name in ("The study: one number decides", "What else it does") for words in README_OF[name]]
    assert len(shown) >= 8
    for program, *words in shown:
        assert said(program, *words, *(SMALL if program == "fanin" else ())) != "", words
    assert "optimizer.lr=0.001" in said("fanin", "optimizer=adam", "--help")
    pages = list((elsewhere / "outputs").glob("*/report/index.html"))
    assert len(pages) >= 4
    for page in pages:
        assert re.search(r"<style>[^<]+\{[^<]+</style>", page.read_text()), page
    states = [json.loads(path.read_text())["state"] for path in (elsewhere / "outputs").glob("*/*/result.json")]
    assert set(states) == {"done"}
    adam = conf / "optimizer" / "adam.yaml"
    (schema,) = re.findall(r"\$schema=(.*)", adam.read_text())
    assert "lr" in json.loads((adam.parent / schema).read_text())["properties"]


README_OF = {name: commands(text) for name, text in sections("README.md").items()}
