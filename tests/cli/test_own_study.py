"""A study of a user's own: a class, a YAML; and its claims, columns and figure are in the report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import Said, end, fanin, read, runs, start, table

CODE = '''
from matplotlib.figure import Figure

from fanin.report.studies.base import Claim, Study


class Ahead(Study):
    """Adam is ahead of sgd after a few steps."""

    caption = "What is ahead."
    columns = (("final loss", lambda runs: f"{runs[0].metric('train_loss'):.2f}"),)
    profiles = False

    def __init__(self, least: float = 1.0) -> None:
        self.least = least

    def claims(self, evidence):
        for other in ("sgd", "momentum"):
            text = f"adam ends below {self.least:g} times {other}"
            first, second = (evidence.metric("train_loss", {"optimizer": name}) for name in ("adam", other))
            if not first or not second:
                yield Claim.missing(text, {"optimizer": other})
                continue
            yield Claim(text, max(first) < self.least * min(second), f"{max(first):.3f} and {min(second):.3f}")

    def figure(self, sheet, evidence):
        figure, (axes,) = sheet.figure(1, 1, 4, 3)
        for run in evidence.runs:
            axes.plot(*evidence.curve(run, "batch_loss"))
        return figure


class NoStudy:
    pass


class Leaving(Study):
    def __init__(self, least):
        raise SystemExit("for good")
'''
YAML = """# @package _global_
# who is ahead
study:
  _target_: own_study.Ahead
  least: 2.0
data:
  limit: 200
model:
  depth: 2
  width: 8
trainer:
  steps: 4
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      optimizer: sgd,adam
      seed: 0,1
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    """Where a user works, and what the command said."""
    folder = tmp_path_factory.mktemp("own_study")
    (folder / "own_study.py").write_text(CODE)
    (folder / "own" / "experiment").mkdir(parents=True)
    (folder / "own" / "experiment" / "ahead.yaml").write_text(YAML)
    return folder, end(start(folder, "--config-dir=own", "experiment=ahead", figures=True))


def test_the_report_has_what_the_study_says(place: tuple[Path, Said]) -> None:
    folder, said = place
    grid = folder / "outputs" / "ahead"
    assert (said.code, len(runs(grid))) == (0, 4)
    losses = {
        name: [read(run / "result.json")["metrics"]["train_loss"] for key, run in runs(grid).items() if name in key]
        for name in ("adam", "sgd")
    }
    rows = table(grid / "report" / "claims.csv")
    assert [row["claim"] for row in rows] == ["adam ends below 2 times sgd", "adam ends below 2 times momentum"]
    judged = "holds" if max(losses["adam"]) < 2 * min(losses["sgd"]) else "does not hold"
    assert [row["verdict"] for row in rows] == [judged, "cannot be judged"]
    assert rows[0]["evidence"] == f"{max(losses['adam']):.3f} and {min(losses['sgd']):.3f}"
    markdown = (grid / "report" / "table.md").read_text()
    assert "| final loss |" in markdown
    assert f"| {losses['adam'][0]:.2f}" in markdown
    assert (grid / "report" / "ahead.png").stat().st_size > 5000
    page = (grid / "report" / "index.html").read_text()
    assert page.index('"ahead figure"') < page.index("What is ahead.")


def test_the_report_finds_it_from_files_alone(place: tuple[Path, Said], tmp_path: Path) -> None:
    """Without the command's record, that of a run says it; without the code, a note says so."""
    folder = place[0]
    before = table(folder / "outputs" / "ahead" / "report" / "claims.csv")
    (folder / "outputs" / "ahead" / "multirun.yaml").rename(folder / "kept.yaml")
    said = end(start(folder, "outputs/ahead", f"--out={tmp_path / 'report'}", module="fanin.report.cli"))
    (folder / "kept.yaml").rename(folder / "outputs" / "ahead" / "multirun.yaml")
    assert (said.code, table(tmp_path / "report" / "claims.csv")) == (0, before)
    said = end(start(tmp_path, str(folder / "outputs" / "ahead"), "--out=other", module="fanin.report.cli"))
    assert said.code == 0
    notes = " ".join(" ".join(said.out).split())
    assert "study._target_=own_study.Ahead" in notes
    assert not (tmp_path / "other" / "claims.csv").exists()


@pytest.mark.slow
def test_a_study_is_no_part_of_a_run_s_identity(place: tuple[Path, Said]) -> None:
    """The same runs are found under another study's numbers, and without one."""
    folder = place[0]
    hashes = {read(run / "result.json")["config_hash"] for run in runs(folder / "outputs" / "ahead").values()}
    for typed, claims in (("study.least=0.001", 2), ("study=null", 0)):
        said = fanin(folder, "--config-dir=own", "experiment=ahead", typed)
        assert (said.code, said.err) == (
            0,
            ["4 runs in outputs/ahead, 4 of them finished before (force=true runs them again)"],
        )
        assert sum("claim " in line for line in said.out) == claims
    assert {read(run / "result.json")["config_hash"] for run in runs(folder / "outputs" / "ahead").values()} == hashes
    assert "claims.csv" not in {path.name for path in (folder / "outputs" / "ahead" / "report").iterdir()}


def test_runs_that_have_not_ended_leave_their_claim_alone_unjudged(place: tuple[Path, Said], tmp_path: Path) -> None:
    """One of the runs of sgd is taken for an interrupted one; what is known of the others is told."""
    folder = place[0]
    shutil.copytree(folder / "outputs" / "ahead", tmp_path / "ahead")
    (tmp_path / "ahead" / "multirun.yaml").unlink()  # the last command typed had no study
    name, run = next((name, run) for name, run in runs(tmp_path / "ahead").items() if "sgd" in name)
    (run / "result.json").unlink()
    status = read(run / "status.json")
    (run / "status.json").write_text(json.dumps(status | {"state": "interrupted"}))
    shutil.copy(folder / "own_study.py", tmp_path)
    said = end(start(tmp_path, "ahead", module="fanin.report.cli"))
    assert said.code == 0
    first, second = table(tmp_path / "ahead" / "report" / "claims.csv")
    assert (first["verdict"], second["verdict"]) == ("cannot be judged", "cannot be judged")
    assert first["evidence"].startswith(f"not ended: {name}; so far ")
    assert second["evidence"] == "no finished runs of optimizer=momentum"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("study._target_=own_study.Ahed", "own_study has no Ahed; did you mean Ahead?"),
        ("study._target_=own_study.NoStudy", "must be a class that derives from Study"),
        ("study._target_=own_study.Leaving", "cannot be made with {'least': 2.0}: SystemExit: for good"),
        ("study._target_=pathlib.Path.touch", "must be a class that derives from Study"),
        ("+study.most=3", "unexpected keyword argument 'most'"),
        ("study.least={_target_:os.getcwd}", "a value holds no _target_"),
        ("study=ahead", "study=ahead: must be"),
    ],
)
def test_a_wrong_study_is_one_line_before_anything_runs(
    typed: Callable[..., Said], tmp_path: Path, place: tuple[Path, Said], words: str, told: str
) -> None:
    (tmp_path / "own_study.py").write_text(CODE)
    said = typed(f"--config-dir={place[0] / 'own'}", "experiment=ahead", words)
    assert said.code == 1
    assert all(line.startswith("fanin: ") and told in line for line in said.err)
    assert len(said.err) == 1
    assert not (tmp_path / "outputs").exists()
