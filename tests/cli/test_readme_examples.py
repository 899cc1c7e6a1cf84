"""What the README shows, word for word."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from command_line import end, fanin, read, runs, start
from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.run.build import check
from fanin.run.identity import identify, without_hydra

README = Path(__file__).parents[2] / "README.md"


def sections(text: str) -> dict[str, list[str]]:
    """The sections of a Markdown text about parts of one's own: their lines by heading."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif heading.startswith("Your own"):
            found.setdefault(heading, []).append(line)
    return found


def follow(lines: list[str], folder: Path) -> list[list[str]]:
    """Write the files that a section shows, each after a line that begins with its name; returns its commands."""
    commands: list[list[str]] = []
    name, block, inside = "", list[str](), False
    for line in lines:
        if line.startswith("```"):
            inside = not inside
            if not inside and name:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text("\n".join(block) + "\n")
            elif not inside:
                commands += [shlex.split(one, comments=True)[1:] for one in block if one.startswith("fanin ")]
            block, name = [], name if inside else ""
        elif inside:
            block.append(line)
        elif line.startswith("`") and line.count("`") == 2:
            name = line.split("`")[1]
    return commands


def shown(heading: str) -> list[list[str]]:
    """The commands of a section as they are typed, lines that go on put together."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)^## ", README.read_text(), re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("fanin")]


SHOWN = ("One run, and grids", "Comparing, never by a bare mean", "Launchers")
ELSEWHERE = ("outputs/init_study", "hydra/launcher=slurm", "hydra/launcher=ray")
"""In lines that need what is not here: a study's runs, a cluster."""


@pytest.mark.slow
@pytest.mark.parametrize("heading", SHOWN)
def test_every_line_shown_ends_in_something_worth_showing(tmp_path: Path, heading: str) -> None:
    """Word for word, in the README's order, in one folder; single runs learn, and of each grid some do."""
    commands = [command for command in shown(heading) if not {*ELSEWHERE} & {*command}]
    assert len(commands) >= 4
    for program, *words in commands:
        before = set((tmp_path / "outputs" / "runs").glob("*"))
        module = {"fanin": "fanin.cli.main", "fanin-report": "fanin.report.cli"}[program]
        said = end(start(tmp_path, *words, module=module), 600)
        assert said.code == 0, (words, said)
        assert said.out or said.err
        new = [path for path in set((tmp_path / "outputs" / "runs").glob("*/result.json")) if path.parent not in before]
        outcomes = [read(path)["outcome"] for path in new]
        if "trainer.steps=0" not in words and outcomes:
            assert "learns" in outcomes, (words, outcomes)
            assert len(new) > 1 or read(new[0])["metrics"]["test_error"] < 0.5, words


def test_the_single_runs_shown_can_be_run() -> None:
    """Checked as the command checks them, each with all its mistakes."""
    typed = [words[1:] for words in shown(SHOWN[0]) if words[0] == "fanin" and not {"-m", "--help", "--cfg"} & {*words}]
    assert len(typed) >= 4
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        for words in typed:
            assert (words, check(compose("config", words))) == (words, [])


@pytest.mark.parametrize("heading", sections(README.read_text()))
def test_the_readmes_examples_run(tmp_path: Path, heading: str) -> None:
    """Word for word, but smaller and shorter."""
    commands = follow(sections(README.read_text())[heading], tmp_path)
    assert commands
    small = ("data.limit=100", "data.image_size=8", "trainer.batch_size=50", "trainer.steps=2", "trainer.device=cpu")
    for number, command in enumerate(commands):
        said = fanin(tmp_path, *command, *small, "hydra.launcher.n_jobs=1", f"hydra.sweep.dir=out/{number}")
        assert said.code == 0, said
        states = [read(run / "status.json")["state"] for run in runs(tmp_path / "out" / str(number)).values()]
        assert set(states) == {"done"}
        if "initializer=edge" in command:  # of its own, and yet i.i.d. normal: theory speaks of it
            for run in runs(tmp_path / "out" / str(number)).values():
                assert read(run / "result.json")["init"]["theory_factor"] is not None


def test_the_readmes_fine_tuning_names_the_run_that_it_takes() -> None:
    text = README.read_text()
    (first,) = [line for line in text.splitlines() if line.startswith("fanin model.depth=5 trainer.epochs=20")]
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg: Any = compose("config", shlex.split(first, comments=True)[1:], return_hydra_config=True)
        identity = identify(without_hydra(cfg), cfg.hydra)
    assert f"'initializer.path=\"outputs/{identity.experiment}/{identity.name}\"'" in text
