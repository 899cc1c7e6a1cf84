"""Hydra's launchers for other places: the same folders, skip rules and summaries as in one process."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from command_line import TINY, Said, end, environment, fanin, read, runs, start, table, untimed
from fanin.catalogue import config_folder
from slow_runs import own_parts, slowly, states, steps_of, wait_for

PLUGINS = {"joblib": "joblib", "submitit_local": "submitit", "slurm": "submitit", "ray": "ray"}
"""The entries of conf/hydra/launcher, and the extra that brings the plugin of each."""

OWN = """
from pathlib import Path
from torch import nn

class Unlucky(nn.LeakyReLU):
    def forward(self, x):
        if self.training and self.negative_slope == 0.25 and Path("unlucky").exists():
            raise RuntimeError("no luck")
        return super().forward(x)
"""
UNLUCKY = "# fails on request\n_target_: unlucky_parts.Unlucky\n_partial_: true\nnegative_slope: 0.0  # for z < 0\n"
GRID = ("-m", "--config-dir=own", *TINY, "activation=unlucky", "activation.negative_slope=0.25,0.5")


@dataclass(frozen=True)
class Way:
    """A launcher as it is typed, what its processes are given to know, and the one that finishes what it began."""

    typed: tuple[str, ...]
    environment: dict[str, str]
    other: tuple[str, ...]

    def __call__(self, place: Path) -> Said:
        """The grid, by this launcher."""
        return fanin(place, *GRID, *self.typed, **self.environment, fresh=bool(self.environment))


def plugin(launcher: str) -> None:
    """Skip where the launcher's plugin is not installed."""
    pytest.importorskip(f"hydra_plugins.hydra_{PLUGINS[launcher]}_launcher")


def new_place(folder: Path) -> Path:
    """A folder with the activation that fails as long as a file `unlucky` lies there."""
    (folder / "own" / "activation").mkdir(parents=True)
    (folder / "own" / "activation" / "unlucky.yaml").write_text(UNLUCKY)
    (folder / "unlucky_parts.py").write_text(OWN)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The place where the grid was run undisturbed, in one process, by Hydra's own launcher."""
    place = new_place(tmp_path_factory.mktemp("plain"))
    assert fanin(place, *GRID, "hydra/launcher=basic").code == 0
    assert len(runs(place / "outputs" / "runs")) == 2
    return place


@pytest.fixture(scope="module")
def ray_settings() -> Iterator[dict[str, str]]:
    """A Ray for these tests alone, in a folder of its own with a token of its own; nothing of it is left at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # short: Ray's sockets lie below it, and have 107 characters
    yield {
        "RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }  # fmt: skip
    wait_for(lambda: not processes_with(str(folder)))
    shutil.rmtree(folder)


def processes_with(word: str) -> list[int]:
    """The processes that have a word in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # another user's, or gone
            continue
    return found


@pytest.fixture(scope="module")
def head(ray_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running head, started in another folder than the one where the grid is typed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = str(Path(sys.executable).with_name("ray"))
    command = [ray, "start", "--head", f"--port={port}", "--num-cpus=2", "--block"]
    process = subprocess.Popen(
        [*command, "--include-dashboard=false"], cwd=tmp_path_factory.mktemp("elsewhere"),
        env=environment(**ray_settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert any("Ray runtime started" in line for line in process.stdout)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.communicate(timeout=120)


@pytest.fixture(
    scope="module",
    params=[pytest.param(one, marks=pytest.mark.slow) for one in ("joblib", "submitit_local", "ray", "ray head")],
)
def way(request: pytest.FixtureRequest) -> Way:
    """Each launcher that works on one machine."""
    name, *at_head = request.param.split()
    plugin(name)
    if name != "ray":
        other = {"joblib": "submitit_local", "submitit_local": "joblib"}[name]
        try:
            plugin(other)
        except pytest.skip.Exception:
            other = "basic"
        return Way((f"hydra/launcher={name}",), {}, (f"hydra/launcher={other}",))
    address = request.getfixturevalue("head") if at_head else "local"
    typed = (f"hydra/launcher={name}", f"hydra.launcher.ray.init.address={address}")
    return Way(typed, request.getfixturevalue("ray_settings"), ("hydra/launcher=basic",))


@pytest.fixture(scope="module")
def begun(way: Way, tmp_path_factory: pytest.TempPathFactory) -> tuple[Said, Path]:
    """What the launcher said of a grid of which a run fails, and where it was run."""
    place = new_place(tmp_path_factory.mktemp("begun"))
    (place / "unlucky").touch()
    return way(place), place


def files(run: Path) -> set[str]:
    """The files of a run; an event file's name has the time and the process in it."""
    named = (str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    return {re.sub(r"(events\.out\.tfevents).*", r"\1", name) for name in named}


def assert_same(run: Path, plain: Path) -> None:
    """Two folders of one run have the same files, with the same bits in them but for the clock."""
    assert files(run) == files(plain)
    assert untimed(run) == untimed(plain)
    for name in ("config.yaml", "overrides.yaml"):
        assert (run / ".hydra" / name).read_text() == (plain / ".hydra" / name).read_text()
    status, other = (read(one / "status.json") for one in (run, plain))
    assert [status[key] for key in ("state", "step", "error")] == [other[key] for key in ("state", "step", "error")]


def untimed_summary(grid: Path) -> dict[str, dict[str, str]]:
    """The rows of summary.csv by run, without the clock."""
    return {row["run"]: row | {"seconds": ""} for row in table(grid / "summary.csv")}


def test_a_grid_of_which_a_run_fails(way: Way, begun: tuple[Said, Path], plain: Path) -> None:
    said, place = begun
    grid, wanted = place / "outputs" / "runs", runs(plain / "outputs" / "runs")
    found = runs(grid)
    assert list(found) == list(wanted)
    failed, done = found
    log = f"outputs/runs/{failed}/run.log"
    assert (said.code, said.err[0]) == (1, "2 runs in outputs/runs")
    assert said.err[-1] == f"fanin: 1 of 2 runs failed; the first: {log}"
    assert not any("Traceback" in line or "Warning" in line for line in said.out + said.err)
    assert_same(found[done], wanted[done])
    status = read(found[failed] / "status.json")
    assert (status["state"], status["step"], status["error"]) == ("failed", 0, "RuntimeError: no luck")
    assert 'raise RuntimeError("no luck")' in (place / log).read_text()
    assert not (found[failed] / "result.json").exists()
    rows = {row["run"]: row["state"] for row in table(grid / "summary.csv")}
    assert rows == {failed: "failed", done: "done"}
    assert (grid / "report" / "index.html").exists()
    there = sorted(path.name for path in place.iterdir() if path.name != "__pycache__")
    assert there == ["outputs", "own", "unlucky", "unlucky_parts.py"]
    # submitit's own logs: one a run, inside the folder of the grid; the other launchers have none.
    logs = [path.read_text() for path in (grid / ".submitit").glob("*/*_log.out")]
    assert len(logs) == (2 if "hydra/launcher=submitit_local" in way.typed else 0)
    assert sum("no luck" in text for text in logs) == len(logs) // 2


@pytest.mark.slow
def test_what_one_launcher_began_another_finishes_and_then_nothing_is_left_to_run(
    way: Way, begun: tuple[Said, Path], plain: Path, tmp_path: Path
) -> None:
    place = shutil.copytree(begun[1], tmp_path / "place")
    (place / "unlucky").unlink()
    grid, wanted = place / "outputs" / "runs", runs(plain / "outputs" / "runs")
    shutil.rmtree(grid / min(wanted))
    said = fanin(place, *GRID, *way.other)
    assert (said.code, said.err) == (
        0,
        ["2 runs in outputs/runs, 1 of them finished before (force=true runs them again)"],
    )
    assert list(runs(grid)) == list(wanted)
    for name, run in runs(grid).items():
        assert_same(run, wanted[name])
    assert untimed_summary(grid) == untimed_summary(plain / "outputs" / "runs")
    before = {path: path.stat().st_mtime_ns for run in runs(grid).values() for path in run.rglob("*")}
    said = way(place)
    assert (said.code, said.err) == (
        0,
        ["2 runs in outputs/runs, 2 of them finished before (force=true runs them again)"],
    )
    assert {path: path.stat().st_mtime_ns for run in runs(grid).values() for path in run.rglob("*")} == before


@pytest.mark.slow
def test_a_run_whose_time_is_over_is_queued_again_and_goes_on(tmp_path: Path) -> None:
    plugin("submitit_local")
    place = own_parts(tmp_path)
    command = (
        "-m", "--config-dir=own", "activation=slow", "model.depth=3", "model.width=16", "data.limit=300", "seed=0,1",
        "trainer.steps=60", "trainer.log_every=2", "trainer.checkpoint_every=0",
    )  # fmt: skip
    grid = place / "outputs" / "runs"
    with slowly(place):
        process = start(place, *command, "hydra/launcher=submitit_local")
        wait_for(lambda: sum(step > 10 for step in steps_of(grid).values()) == 2)
        warned = min(steps_of(grid))
        os.kill(read(grid / warned / "status.json")["pid"], signal.SIGUSR2)  # as Slurm does some time before the end
    said = end(process)
    assert (said.code, set(states(grid).values())) == (0, {"done"})
    # There is no checkpoint but that of the interruption: the run goes on where it was stopped.
    went_on = re.findall(r"going on from .* at step (\d+)", (grid / warned / "run.log").read_text())
    assert len(went_on) == 1
    assert int(went_on[0]) > 10
    assert fanin(place, *command, "hydra/launcher=basic", "hydra.sweep.dir=alone").code == 0
    for name, run in runs(place / "alone").items():
        assert untimed(grid / name) == untimed(run)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["local", "head"])
def test_ctrl_c_under_ray(
    where: str, ray_settings: dict[str, str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    plugin("ray")
    place = own_parts(tmp_path)
    address = request.getfixturevalue("head") if where == "head" else "local"
    command = (
        "-m", "--config-dir=own", "activation=slow", "model.depth=3", "model.width=16", "data.limit=300", "seed=0,1",
        "trainer.steps=60", "trainer.log_every=2", "trainer.checkpoint_every=4",
    )  # fmt: skip
    launcher = ("hydra/launcher=ray", f"hydra.launcher.ray.init.address={address}")
    grid = place / "outputs" / "runs"
    with slowly(place):
        process = start(place, *command, *launcher, fresh=True, **ray_settings)
        wait_for(lambda: any(step > 10 for step in steps_of(grid).values()))
        os.kill(process.pid, signal.SIGINT)
        said = end(process)
    assert said.code == 130
    reached = {name: read(run / "status.json") for name, run in runs(grid).items()}
    assert {status["state"] for status in reached.values()} == {"interrupted"}
    # Ray may give a worker the time to stop at its next step.
    assert {status["error"] for status in reached.values()} <= {"stopped by the user at once", "stopped by the user"}
    assert max(status["step"] for status in reached.values()) > 0
    assert (grid / "report" / "index.html").exists()
    assert fanin(place, *command, "hydra/launcher=basic").code == 0
    assert set(states(grid).values()) == {"done"}
    assert any("going on from" in (run / "run.log").read_text() for run in runs(grid).values())


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGTERM, id="asked"), pytest.param(signal.SIGKILL, id="killed")],
)
@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_command_that_ends_leaves_nobody_training(launcher: str, number: signal.Signals, tmp_path: Path) -> None:
    plugin(launcher)
    place = own_parts(tmp_path)
    command = (
        "-m", "--config-dir=own", "activation=slow", "model.depth=3", "model.width=16", "data.limit=300", "seed=0,1",
        "trainer.steps=60", "trainer.log_every=2", "trainer.checkpoint_every=0",
    )  # fmt: skip
    grid = place / "outputs" / "runs"
    with slowly(place):
        process = start(place, *command, f"hydra/launcher={launcher}")
        wait_for(lambda: sum(step > 10 for step in steps_of(grid).values()) == 2)
        process.send_signal(number)  # to the command alone, as `kill` and a system's service manager do
        code = process.wait()
        wait_for(lambda: set(states(grid).values()) == {"interrupted"})
    assert code == (130 if number == signal.SIGTERM else -number)
    assert {read(run / "status.json")["error"] for run in runs(grid).values()} == {"stopped by the user"}
    assert fanin(place, *command, "hydra/launcher=basic").code == 0
    assert set(states(grid).values()) == {"done"}
    for run in runs(grid).values():  # there is no checkpoint but that of the interruption
        (step,) = re.findall(r"going on from .* at step (\d+)", (run / "run.log").read_text())
        assert int(step) > 10


WITHOUT_PLUGINS = """
import os, pkgutil, sys
from fanin.cli.main import main

there = pkgutil.walk_packages
pkgutil.walk_packages = lambda *given, **named: (
    one for one in there(*given, **named) if not one.name.startswith("hydra_plugins.hydra_")
)
for launcher in list(sys.argv[1:]):
    sys.argv[1:] = ["-m", "seed=0,1", f"hydra/launcher={launcher}"]
    os.environ.pop("HYDRA_FULL_ERROR", None)  # which the command sets for Hydra
    try:
        main()
    except SystemExit as end:
        print(launcher, end.code)
"""


def test_a_launcher_whose_plugin_is_not_installed_names_the_extra(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "without_plugins.py").write_text(WITHOUT_PLUGINS)
    said = end(start(tmp_path, *PLUGINS, module="without_plugins", PYTHONPATH=str(elsewhere)))
    assert said.out == [f"{launcher} 1" for launcher in PLUGINS]
    assert said.err == [
        f"fanin: hydra/launcher={launcher}: needs an extra; pip install 'fanin[{extra}]'"
        for launcher, extra in PLUGINS.items()
    ]
    assert not list(tmp_path.iterdir())


def test_every_entry_says_what_it_is_and_what_each_key_does() -> None:
    entries = {path.stem: path.read_text().splitlines() for path in (config_folder() / "hydra").glob("launcher/*")}
    assert sorted(entries) == sorted(PLUGINS)
    for name, (schema, first, *rest) in entries.items():
        assert schema.startswith("# yaml-language-server: ")
        assert re.fullmatch(rf"# \S.{{5,70}}; pip install 'fanin\[{PLUGINS[name]}\]'", first)
        known = r"_target_: hydra_plugins\.\S+|defaults:|  - _self_|ray:|# .*|.*\S  # \S.*"
        assert [line for line in rest if not re.fullmatch(known, line)] == []


SLURM = ("-m", *TINY, "seed=0,1", "hydra/launcher=slurm")


def commands(folder: Path, **scripts: str) -> str:
    """A PATH with commands of one's own in front."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_slurm_needs_slurm(tmp_path: Path) -> None:
    plugin("slurm")
    said = fanin(tmp_path, *SLURM, PATH=str(tmp_path))
    assert (said.code, said.out) == (1, [])
    assert said.err == [
        "fanin: hydra/launcher=slurm: must be typed on a machine of a Slurm cluster (sbatch is not found here); "
        "hydra/launcher=submitit_local runs the same on this machine"
    ]
    assert not list(tmp_path.iterdir())


def test_slurm_is_told_what_was_typed_and_its_refusal_is_one_line(tmp_path: Path) -> None:
    plugin("slurm")
    refuses = commands(tmp_path, srun="", sbatch=f"cp $1 {tmp_path}/sent; echo invalid partition >&2; exit 1")
    typed = ("hydra.launcher.partition=short", "hydra.launcher.timeout_min=90", "hydra.launcher.array_parallelism=1")
    said = fanin(tmp_path, *SLURM, *typed, PATH=refuses)
    refused = "fanin: hydra/launcher=slurm: FailedJobError: invalid partition (HYDRA_FULL_ERROR=1 shows more, "
    assert (said.code, said.err[:2], len(said.err)) == (1, ["2 runs in outputs/runs", "invalid partition"], 3)
    assert said.err[2].startswith(refused)
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", (tmp_path / "sent").read_text(), re.MULTILINE))
    assert {key: asked[key] for key in ("partition", "time", "array", "cpus-per-task", "job-name", "signal")} == {
        "partition": "short", "time": "90", "array": "0-1%1", "cpus-per-task": "1", "job-name": "fanin",
        "signal": "USR2@120",
    }  # fmt: skip
    assert not runs(tmp_path / "outputs" / "runs")


@pytest.mark.slow
def test_slurm_runs_a_grid(plain: Path, tmp_path: Path) -> None:
    plugin("slurm")
    (tmp_path / "bin").mkdir()
    # A Slurm that starts all tasks of an array at once, here.
    one = "SLURM_JOB_ID=7$task SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_PROCID=0 SLURM_LOCALID=0"
    cluster = commands(
        tmp_path / "bin",
        sbatch=f"for task in 0 1; do {one} sh $1 >/dev/null 2>&1 & done; echo Submitted batch job 7",
        srun='shift 5; exec "$@"',  # --unbuffered --output FILE --error FILE
        sacct="echo 'JobID|State|NodeList'; echo '7_0|RUNNING|here'; echo '7_1|RUNNING|here'",
    )
    place = new_place(tmp_path / "place")
    said = fanin(place, *GRID, "hydra/launcher=slurm", PATH=cluster)
    assert (said.code, said.err) == (0, ["2 runs in outputs/runs"])
    grid, wanted = place / "outputs" / "runs", runs(plain / "outputs" / "runs")
    assert list(runs(grid)) == list(wanted)
    for name, run in runs(grid).items():
        assert_same(run, wanted[name])
    assert untimed_summary(grid) == untimed_summary(plain / "outputs" / "runs")
    again = fanin(place, *GRID, "hydra/launcher=slurm", PATH=cluster)
    assert (again.code, again.err) == (
        0,
        ["2 runs in outputs/runs, 2 of them finished before (force=true runs them again)"],
    )
    # Where there is no Slurm it is a mistake to ask for it, also where nothing is left to do.
    assert fanin(place, *GRID, "hydra/launcher=slurm", PATH=str(tmp_path)).code == 1


SEARCH = (
    "-m", "hydra/sweeper=search", *TINY, "optimizer.lr=0.01,0.1,1", "hydra.sweeper.budget=halving",
    "hydra.sweeper.trials=3", "hydra.sweeper.min_steps=2", "hydra.sweeper.seeds=2",
)  # fmt: skip
"""A search of two rungs: 6 runs to 2 steps, and 2 of them to all 6."""


@pytest.mark.slow
def test_a_search_climbs_the_same_rungs(way: Way, tmp_path: Path) -> None:
    for place, more in (("plain", {}), ("other", way.environment)):
        (tmp_path / place).mkdir()
        typed = way.typed if place == "other" else ("hydra/launcher=basic",)
        assert fanin(tmp_path / place, *SEARCH, *typed, fresh=bool(more), seconds=600, **more).code == 0
    found, wanted = (tmp_path / place / "outputs" / "runs" for place in ("other", "plain"))
    assert (found / "search" / "rungs.csv").read_text() == (wanted / "search" / "rungs.csv").read_text()
    assert [row["state"] for row in table(found / "search" / "rungs.csv")] == ["paused"] * 6 + ["done"] * 2
    for name, run in runs(wanted).items():
        assert files(runs(found)[name]) == files(run)
        if (run / "result.json").exists():
            assert untimed(runs(found)[name]) == untimed(run)


@pytest.mark.slow
def test_a_search_climbs_on_slurm(tmp_path: Path) -> None:
    plugin("slurm")
    (tmp_path / "bin").mkdir()
    count = tmp_path / "count"
    # A Slurm that starts all tasks of an array at once, here, each array under a number of its own.
    one = "SLURM_JOB_ID=$number$task SLURM_ARRAY_JOB_ID=$number SLURM_ARRAY_TASK_ID=$task SLURM_PROCID=0"
    cluster = commands(
        tmp_path / "bin",
        sbatch=f"number=$(($(cat {count} 2>/dev/null || echo 6) + 1)); echo $number >{count}\n"
        "last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' $1)\n"
        f"for task in $(seq 0 $last); do {one} SLURM_LOCALID=0 sh $1 >/dev/null 2>&1 & done\n"
        "echo Submitted batch job $number",
        srun='shift 5; exec "$@"',  # --unbuffered --output FILE --error FILE
        sacct="echo 'JobID|State|NodeList'; for job in 7 8; do for task in 0 1 2 3 4 5; do "
        "echo ${job}_$task'|RUNNING|here'; done; done",
    )
    for place, launcher, more in (("plain", "basic", {}), ("other", "slurm", {"PATH": cluster})):
        (tmp_path / place).mkdir()
        assert fanin(tmp_path / place, *SEARCH, f"hydra/launcher={launcher}", seconds=600, **more).code == 0
    found, wanted = (tmp_path / place / "outputs" / "runs" / "search" / "rungs.csv" for place in ("other", "plain"))
    assert found.read_text() == wanted.read_text()
    assert count.read_text().strip() == "8"  # one array for each rung


def test_mistakes_in_a_launcher_are_one_line(tmp_path: Path) -> None:
    plugin("slurm")
    for typed, line in {
        "hydra/launcher=slurm hydra.launcher.partitions=x": "unknown key hydra.launcher.partitions: hydra.launcher "
        "knows account, additional_parameters,",
        "hydra/launcher=slurm hydra.launcher.timeout_min=soon": "hydra.launcher.timeout_min=soon: Value 'soon' of type",
        "hydra/launcher=slumr": "hydra/launcher=slumr: must be one of ",
    }.items():
        said = fanin(tmp_path, "-m", "seed=0,1", *typed.split())
        assert (said.code, said.out, len(said.err)) == (1, [], 1)
        assert said.err[0].startswith(f"fanin: {line}")
    assert said.err[0].endswith("did you mean slurm?")
    assert not list(tmp_path.iterdir())
