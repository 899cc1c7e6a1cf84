"""The pool: Ctrl-C, a killed worker, a killed parent and a job that exits leave the other runs alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from command_line import Said, end, fanin, read, runs, start, table, untimed
from slow_runs import living, own_parts, slowly, states, steps_of, wait_for

STEPS = 60
COMMAND = (
    "-m", "--config-dir=own", "activation=slow", "model.depth=3", "model.width=16", "data.limit=300",
    f"trainer.steps={STEPS}", "trainer.log_every=2", "trainer.checkpoint_every=7", "optimizer=momentum",
    "trainer.device=cpu", "hydra.launcher.n_jobs=2", "seed=0,1,2",
)  # fmt: skip


DYING = """
import os, signal
from multiprocessing import process


class Dying(process.BaseProcess):
    def _bootstrap(self, *given, **named):
        try:
            with open("deaths", "r+") as file:
                left = file.read()
                file.truncate(max(0, len(left) - 1))
        except OSError:
            left = ""
        if left:
            os.kill(os.getpid(), signal.SIGKILL)
        return bootstrap(self, *given, **named)


bootstrap = process.BaseProcess._bootstrap
process.BaseProcess._bootstrap = Dying._bootstrap
"""


COUNTED = """
from torch import nn
from fanin.theory.stages import Passed


class Told(Passed):
    def forward(self, inputs, at):
        if inputs[0].gram.shape[1] > 1:  # of the batch, not of one example
            with open("asked", "a") as file:
                print("a law", file=file)
        return super().forward(inputs, at)


class Counted(nn.Identity):
    def signal_rule(self):
        return [Told()]
"""


def test_workers_tell_each_other_what_is_expected_of_a_recipe(tmp_path: Path) -> None:
    """Two recipes, four seeds each: every worker sees one of them first, and its law serves both.

    Alone, each worker would work out both, four laws. A worker that has nothing else left to do does not wait for the
    other's first law, and so there may be a third.
    """
    (tmp_path / "counted.py").write_text(COUNTED)
    (tmp_path / "own" / "activation").mkdir(parents=True)
    (tmp_path / "own" / "activation" / "counted.yaml").write_text("_target_: counted.Counted\n")
    words = "model.depth=2 model.width=16,24 data.limit=300 trainer.steps=0 seed=0,1,2,3 hydra.launcher.n_jobs=2"
    assert fanin(tmp_path, "-m", "--config-dir=own", "activation=counted", *words.split()).code == 0
    asked = (tmp_path / "asked").read_text().splitlines()  # of the one activation of each recipe
    assert asked in (["a law"] * 2, ["a law"] * 3)
    rows = [row for run in runs(tmp_path / "outputs" / "runs").values() for row in table(run / "profiles.csv")]
    norms = [row for row in rows if (row["axis"], row["quantity"]) == ("weight", "activation_norm")]
    assert len(norms) == 8 * 2  # runs and weight layers
    assert {row["source"] for row in norms} == {"first order in 1/n"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The grid as it is when nothing happens, run one after the other by Hydra's own launcher."""
    place = own_parts(tmp_path_factory.mktemp("undisturbed"))
    command = [part for part in COMMAND if not part.startswith("hydra.launcher")]
    assert fanin(place, *command, "hydra/launcher=basic").code == 0
    return place / "outputs" / "runs"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the slow activation."""
    return own_parts(tmp_path)


def assert_completed_by_the_same_command(place: Path, undisturbed: Path) -> Said:
    """The command once more, at full speed; every run is then what it would have been."""
    said = fanin(place, *COMMAND)
    assert said.code == 0
    grid = place / "outputs" / "runs"
    assert set(states(grid).values()) == {"done"}
    assert sorted(row["run"] for row in table(grid / "summary.csv")) == sorted(runs(undisturbed))
    for name, run in runs(undisturbed).items():
        assert untimed(grid / name) == untimed(run)
        config = (grid / name / ".hydra" / "config.yaml").read_text()
        assert config == (run / ".hydra" / "config.yaml").read_text()
    return said


@pytest.mark.slow
def test_ctrl_c_keeps_everything(place: Path, undisturbed: Path) -> None:
    grid = place / "outputs" / "runs"
    with slowly(place):
        process = start(place, *COMMAND)
        wait_for(lambda: sum(step > 10 for step in steps_of(grid).values()) == 2)
        process.send_signal(signal.SIGINT)
        said = end(process)
    assert said.code == 130
    assert sorted(states(grid).values()) == ["interrupted", "interrupted"]  # the third was never begun
    for run in runs(grid).values():
        assert (run / "checkpoints" / "last.pt").exists()
        assert read(run / "status.json")["step"] < STEPS
    assert [row["state"] for row in table(grid / "summary.csv")] == ["interrupted", "interrupted"]
    assert (grid / "report" / "index.html").exists()
    assert_completed_by_the_same_command(place, undisturbed)


def test_a_killed_worker_fails_alone(place: Path, undisturbed: Path) -> None:
    grid = place / "outputs" / "runs"
    with slowly(place):
        process = start(place, *COMMAND)
        wait_for(lambda: sum(step > 10 for step in steps_of(grid).values()) == 2)
        victim = sorted(steps_of(grid))[0]
        os.kill(read(grid / victim / "status.json")["pid"], signal.SIGKILL)
    said = end(process)
    assert said.code == 1
    assert states(grid) == {name: "failed" if name == victim else "done" for name in runs(undisturbed)}
    assert read(grid / victim / "status.json")["error"] == "its process was killed by SIGKILL"
    assert "killed by SIGKILL" in (grid / victim / "run.log").read_text()
    assert {row["run"]: row["state"] for row in table(grid / "summary.csv")}[victim] == "failed"
    again = assert_completed_by_the_same_command(place, undisturbed)
    assert again.err == ["3 runs in outputs/runs, 2 of them finished before (force=true runs them again)"]


@pytest.mark.slow
def test_workers_that_die_before_they_took_a_run_harm_none(place: Path, undisturbed: Path) -> None:
    """Each kills itself where a worker's life begins, until the file that says how many is used up."""
    (place / "deaths").write_text("xx")
    (place / "sitecustomize.py").write_text(DYING)
    said = fanin(place, *COMMAND, fresh=True, PYTHONPATH=str(place))
    assert (place / "deaths").read_text() == ""
    assert said.code == 0
    grid = place / "outputs" / "runs"
    assert set(states(grid).values()) == {"done"}
    for name, run in runs(undisturbed).items():
        assert untimed(grid / name) == untimed(run)


@pytest.mark.slow
def test_the_whole_group_is_asked_to_end(place: Path, undisturbed: Path) -> None:
    """As a queue or `timeout` does: the command, its fork server and its workers get a SIGTERM at the same time."""
    grid = place / "outputs" / "runs"
    with slowly(place):
        process = start(place, *COMMAND)
        wait_for(lambda: sum(step > 10 for step in steps_of(grid).values()) == 2)
        for pid in living(place):
            os.kill(pid, signal.SIGTERM)
        said = end(process)
    assert said.code == 130
    assert not any("Traceback" in line for line in said.out + said.err)
    assert sorted(states(grid).values()) == ["interrupted", "interrupted"]
    assert {read(run / "status.json")["error"] for run in runs(grid).values()} == {"stopped by the user"}
    assert_completed_by_the_same_command(place, undisturbed)


@pytest.mark.slow
def test_a_killed_parent_leaves_nobody_waiting(place: Path, undisturbed: Path) -> None:
    grid = place / "outputs" / "runs"
    with slowly(place):
        process = start(place, *COMMAND)
        wait_for(lambda: sum(step > 10 for step in steps_of(grid).values()) == 2)
        process.kill()
        process.wait()
        # The workers find out at their next word to the parent, and keep what they have.
        wait_for(lambda: sorted(states(grid).values()) == ["interrupted", "interrupted"], 10)
    assert_completed_by_the_same_command(place, undisturbed)


@pytest.mark.slow
def test_a_job_that_ends_its_process_fails_alone(place: Path, undisturbed: Path) -> None:
    (place / "exit").write_text("2")
    said = fanin(place, *COMMAND)
    assert said.code == 1
    failed = [name for name, state in states(place / "outputs" / "runs").items() if state == "failed"]
    assert len(failed) == 1
    assert read(place / "outputs" / "runs" / failed[0] / "status.json")["error"] == "its process exited with code 3"
    assert said.err[-1].startswith("fanin: 1 of 3 runs failed; the first: outputs/runs/")
    assert_completed_by_the_same_command(place, undisturbed)


@pytest.mark.slow
def test_two_grids_at_once_do_each_run_once(place: Path, undisturbed: Path) -> None:
    both = [end(process) for process in [start(place, *COMMAND) for _ in "ab"]]
    nothing = [said.err[-1].endswith("being run by another process") for said in both]
    assert [said.code for said in both] == [int(one) for one in nothing]
    assert nothing.count(True) <= 1
    grid = place / "outputs" / "runs"
    for name, run in runs(undisturbed).items():
        assert (grid / name / "run.log").read_text().count(f"run {name}, configuration") == 1
        assert untimed(grid / name) == untimed(run)
    assert sorted(row["run"] for row in table(grid / "summary.csv")) == sorted(runs(undisturbed))
    assert sum("train loss" in line for said in both for line in said.out) == 3


ELSEWHERE = """
import multiprocessing, os, select, selectors, signal, sys

import filelock  # which knows each system's own locks

multiprocessing.get_all_start_methods = lambda: ["spawn"]
sys.modules["fcntl"] = sys.modules["resource"] = None
selectors.DefaultSelector = selectors.SelectSelector
for module, names in {
    os: ("sched_getaffinity", "sysconf"),
    select: ("poll", "epoll"),
    signal: ("pthread_sigmask", "SIGUSR2", "SIGHUP"),
}.items():
    for name in names:
        delattr(module, name)
from fanin.cli.main import command

if __name__ == "__main__":
    command()
"""
"""The command where calls are missing that only some systems have; workers, being spawned, miss them, too."""


@pytest.mark.slow
def test_a_grid_is_the_same_where_the_calls_of_linux_are_missing(place: Path, undisturbed: Path) -> None:
    (place / "elsewhere.py").write_text(ELSEWHERE)
    with slowly(place):
        process = start(place, *COMMAND, module="elsewhere", fresh=True, PYTHONPATH=str(place))
        grid = place / "outputs" / "runs"
        wait_for(lambda: sum(step > 10 for step in steps_of(grid).values()) == 2)
        process.send_signal(signal.SIGINT)
        assert end(process).code == 130
    assert sorted(states(grid).values()) == ["interrupted", "interrupted"]
    said = end(start(place, *COMMAND, module="elsewhere", fresh=True, PYTHONPATH=str(place)))
    assert (said.code, said.err) == (0, ["3 runs in outputs/runs"])
    for name, run in runs(undisturbed).items():
        assert untimed(grid / name) == untimed(run)


@pytest.mark.slow
def test_workers_are_spawned_where_that_is_asked_for(place: Path, undisturbed: Path) -> None:
    said = fanin(place, *COMMAND, "hydra.launcher.start_method=spawn", fresh=True, MPLBACKEND="module://no_such.inline")
    assert (said.code, said.err) == (0, ["3 runs in outputs/runs"])
    for name, run in runs(undisturbed).items():
        assert untimed(place / "outputs" / "runs" / name) == untimed(run)
