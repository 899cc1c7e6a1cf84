"""Sweepers that are not fanin's own: they get a number from every job, and their grids end in a report."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from command_line import fanin, read, runs

TINY = ("model.depth=2", "model.width=8", "data.limit=100", "trainer.steps=2")

SWEEPER = """
from pathlib import Path
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

class Downhill(Sweeper):
    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments):
        jobs = [[*arguments, f"optimizer.lr={lr}"] for lr in ("0.1", "1e30")]
        returns = self.launcher.launch(jobs, initial_job_idx=0)
        Path("seen.txt").write_text(repr([job.return_value for job in returns]))

ConfigStore.instance().store(
    group="hydra/sweeper", name="downhill", node={"_target_": "hydra_plugins.downhill.Downhill"})
"""


@pytest.mark.slow
def test_a_job_returns_the_chosen_metric_and_infinity_where_it_diverged(tmp_path: Path) -> None:
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "downhill.py").write_text(SWEEPER)
    for launcher, objective, metric in (("pool", "null", "val_error"), ("basic", "test_loss", "test_loss")):
        place = tmp_path / launcher
        place.mkdir()
        said = fanin(
            place, "-m", "hydra/sweeper=downhill", f"hydra/launcher={launcher}", f"objective={objective}", *TINY,
            PYTHONPATH=str(tmp_path),
        )  # fmt: skip
        assert (said.code, said.err) == (0, []), said
        results = [read(run / "result.json") for run in runs(place / "outputs" / "runs").values()]
        (good,) = [result for result in results if result["state"] == "done"]
        assert {result["state"] for result in results} == {"done", "diverged"}
        assert (place / "seen.txt").read_text() == repr([good["metrics"][metric], float("inf")])


@pytest.mark.slow
def test_hydras_own_sweeper_ends_in_a_report(tmp_path: Path) -> None:
    typed = ("-m", "hydra/sweeper=basic", *TINY)
    said = fanin(tmp_path, *typed, "seed=0,1")
    assert (said.code, said.err) == (0, [])
    grid = tmp_path / "outputs" / "runs"
    assert (grid / "report" / "index.html").exists()
    assert f"page        {(grid / 'report' / 'index.html').relative_to(tmp_path)}" in said.out
    # Runs that were there before do not stand in the report of a command that has not asked for them.
    for status in grid.glob("*/status.json"):
        os.utime(status, (0, 0))
    said = fanin(tmp_path, *typed, "seed=1,2", "hydra/launcher=basic")
    assert said.code == 0
    assert "2 seeds" in " ".join(word for line in said.out for word in line.split())
    assert len(runs(grid)) == 3
