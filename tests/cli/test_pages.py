"""What README.md and the pages of docs/ show, word for word."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from command_line import end, fanin, read, runs, start
from fanin.api.overrides import overrides_of
from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.run.build import check
from fanin.run.identity import identify, without_hydra
from fanin.search.space import space_of
from fanin.sweep.grid_axes import jobs_of
from pages import PAGES, commands, sections, write_files

MODULES = {
    "fanin": "fanin.cli.main", "fanin-report": "fanin.report.cli", "fanin-theory": "fanin.cli.theory",
    "fanin-probe": "fanin.cli.probe", "fanin-landscape": "fanin.cli.landscape",
    "fanin-predict": "fanin.cli.predict", "fanin-ensemble": "fanin.cli.ensemble",
    "fanin-prune": "fanin.cli.prune", "fanin-quantize": "fanin.cli.quantize", "fanin-export": "fanin.cli.export",
}  # fmt: skip
OWN = sections("docs/own_parts.md")
SHOWN = [
    ("docs/grids.md", "One run, and grids"),
    ("docs/comparing.md", "Comparing, never by a bare mean"),
    ("docs/grids.md", "Launchers"),
]
ELSEWHERE = ("outputs/init_study", "hydra/launcher=slurm", "hydra/launcher=ray")
"""In lines that need what is not here: a study's runs, a cluster."""


@pytest.fixture
def conf() -> Iterator[None]:
    """Composing as the commands do."""
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


@pytest.mark.slow
@pytest.mark.parametrize(("page", "heading"), SHOWN)
def test_every_line_shown_ends_in_something_worth_showing(tmp_path: Path, page: str, heading: str) -> None:
    """Word for word, in the page's order, in one folder; single runs learn, and of each grid some do."""
    shown = [command for command in commands(sections(page)[heading]) if not {*ELSEWHERE} & {*command}]
    assert len(shown) >= 4
    for program, *words in shown:
        before = set((tmp_path / "outputs" / "runs").glob("*"))
        said = end(start(tmp_path, *words, module=MODULES[program]), 600)
        assert said.code == 0, (words, said)
        assert said.out or said.err
        new = [path for path in set((tmp_path / "outputs" / "runs").glob("*/result.json")) if path.parent not in before]
        outcomes = [read(path)["outcome"] for path in new]
        if "trainer.steps=0" not in words and outcomes:
            assert "learns" in outcomes, (words, outcomes)
            assert len(new) > 1 or read(new[0])["metrics"]["test_error"] < 0.5, words


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_shown_can_be_run(page: Path) -> None:
    """Checked as the command checks them, each with all its mistakes; of a grid the last run, of a study its name."""
    parser = OverridesParser.create()
    for program, *typed in commands(page.read_text()):
        assert program in MODULES, typed
        words = [word for word in typed if word != "-m"]
        if program not in ("fanin", "fanin-theory", "fanin-probe") or any(
            word.startswith(("--", "initializer.path=", "model._t")) for word in words
        ):
            continue  # of folders, a look at something else, or of files that the page shows
        if len(words) == 1 and words[0].startswith("experiment="):  # composed by the studies' own tests
            assert (config_folder() / "experiment" / f"{words[0].partition('=')[2]}.yaml").is_file(), typed
            continue
        parsed = parser.parse_overrides(overrides_of([word for word in words if not word.startswith("hydra")]))
        searches = "hydra/sweeper=search" in words
        job = space_of(parsed, {}).job(lambda axis: axis.at(0.9)) if searches else jobs_of(parsed)[-1]
        assert (typed, check(compose("config", job))) == (typed, [])


@pytest.mark.parametrize(
    "heading", [pytest.param(one, marks=pytest.mark.slow) if one.startswith("Your own model") else one for one in OWN]
)
def test_the_parts_of_ones_own_run(tmp_path: Path, heading: str) -> None:
    """Word for word, but smaller and shorter."""
    write_files(OWN[heading], tmp_path)
    shown = [words for _, *words in commands(OWN[heading])]
    assert shown
    small = ("data.limit=100", "data.image_size=8", "trainer.batch_size=50", "trainer.steps=2", "trainer.device=cpu")
    for number, command in enumerate(shown):
        said = fanin(tmp_path, *command, *small, "hydra.launcher.n_jobs=1", f"hydra.sweep.dir=out/{number}")
        assert said.code == 0, said
        states = [read(run / "status.json")["state"] for run in runs(tmp_path / "out" / str(number)).values()]
        assert set(states) == {"done"}
        if "initializer=edge" in command:  # of its own, and yet i.i.d. normal: theory speaks of it
            for run in runs(tmp_path / "out" / str(number)).values():
                assert read(run / "result.json")["init"]["theory_factor"] is not None


@pytest.mark.usefixtures("conf")
def test_fine_tuning_names_the_run_that_it_takes() -> None:
    text = sections("docs/grids.md")["Fine-tuning"]
    (first,) = [line for line in text.splitlines() if line.startswith("fanin model.depth=5 trainer.epochs=20")]
    cfg: Any = compose("config", shlex.split(first, comments=True)[1:], return_hydra_config=True)
    identity = identify(without_hydra(cfg), cfg.hydra)
    assert f"'initializer.path=\"outputs/{identity.experiment}/{identity.name}\"'" in text
