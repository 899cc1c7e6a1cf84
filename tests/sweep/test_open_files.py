"""How many files the runs of a program have open while they are trained."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.record.run_folder import RunFolder
from fanin.run.identity import Identity
from fanin.run.request import Request, Unseen
from fanin.sweep.fused_groups import FILES
from fanin.sweep.job import execute_together

SMALL = (
    "data=gaussian", "data.examples=60", "data.features=2", "data.classes=2", "data.val_size=20", "data.test_size=20",
    "model=linear", "probe.trajectory=true", "trainer.steps=3", "trainer.batch_size=20", "trainer.log_every=1",
    "probe.batch_size=20", "trainer.device=cpu", "trainer.threads=null",
)  # fmt: skip


@pytest.fixture(autouse=True)
def composing() -> Iterator[None]:
    """Hydra's composing."""
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


class Counting(Unseen):
    """Counts the files that the process has open while a run is trained."""

    def __init__(self) -> None:
        self.most = 0

    def step(self, step: int, steps: int, loss: float, error: float) -> None:
        """A row was logged; something is said, which opens the log of every run."""
        logging.getLogger("own").info("step %d", step)
        self.most = max(self.most, len(os.listdir("/proc/self/fd")))  # noqa: PTH208


def open_while_trained(place: Path, count: int) -> int:
    """The most files that are open while so many runs are trained together."""
    viewer = Counting()
    requests = []
    for seed in range(count):
        folder = RunFolder(place / str(seed))
        identity = Identity("runs", str(seed), {"seed": seed}, f"{seed:016x}", {})
        requests.append(Request(compose("config", [*SMALL, f"seed={seed}"]), identity, folder, viewer))
    outcomes = execute_together(requests, lambda: False)
    assert [outcome["state"] for outcome in outcomes] == ["done"] * count
    return viewer.most


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_run_of_a_program_has_as_many_files_open_as_is_reckoned_with(tmp_path: Path) -> None:
    two, five = open_while_trained(tmp_path / "two", 2), open_while_trained(tmp_path / "five", 5)
    assert (five - two) / 3 == FILES
