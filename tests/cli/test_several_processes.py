"""One run by several processes under torchrun: what two make against what one makes with the batch of both."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import Said, Started, end, environment, fanin, read, start, table

RECIPE = (
    "model.depth=3", "model.width=16", "data.image_size=8", "data.limit=300", "trainer.log_every=1",
    "optimizer=momentum", "optimizer.lr=0.05", "regularizer=[l2]", "clipping=norm", "clipping.bound=0.7",
)  # fmt: skip
EXACT = ("trainer.precision=float64", "trainer.steps=7")


def losses(run: Path, column: str = "batch_loss") -> list[float]:
    return [float(row[column]) for row in table(run / "metrics.csv") if row[column]]


def under_torchrun(folder: Path, *arguments: str) -> Said:
    """As a user types it."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port())]
    done = subprocess.run(
        [*command, "-m", "fanin", *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return Said(done.returncode, done.stdout.splitlines(), done.stderr.splitlines())


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def both(folder: Path, *arguments: str) -> list[Started]:
    """Two processes with the variables that torchrun sets, so that a test sees what each of them says."""
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port()), "WORLD_SIZE": "2"}
    return [start(folder, *arguments, fresh=True, RANK=str(rank), LOCAL_RANK=str(rank), **meet) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ("seed=1", "trainer.batch_size=25", "probe.every=2"),  # shares of 13 and 12
        ("seed=2", "trainer.batch_size=20", "trainer.accumulate=3"),
        ("seed=3", "optimizer=adam", "averaging=ema", "regularizer=[sam]", "trainer.eval_every=2"),
    ],
)
def test_two_processes_equal_one_with_the_batch_of_both(tmp_path: Path, more: tuple[str, ...]) -> None:
    one = fanin(tmp_path, *RECIPE, *EXACT, *more, "hydra.run.dir=one")
    assert one.code == 0, one.err
    two = under_torchrun(tmp_path, *RECIPE, *EXACT, *more, "hydra.run.dir=two")
    assert two.code == 0, two.err
    assert len(two.out) == 1  # the first process speaks
    for column in ("batch_loss", "batch_error", "val_loss", "test_loss", "train_loss", "examples", "flops"):
        # Seven steps of float64, whose sums are taken in another order.
        assert losses(tmp_path / "two", column) == pytest.approx(losses(tmp_path / "one", column), rel=1e-11)
    profiles = [table(tmp_path / name / "profiles.csv") for name in ("two", "one")]
    assert len(profiles[0]) == len(profiles[1]) > 20
    for found, expected in zip(*profiles, strict=True):
        assert found["snapshot"] == expected["snapshot"]
        assert bool(found["value"]) == bool(expected["value"])
        if expected["value"]:
            assert float(found["value"]) == pytest.approx(float(expected["value"]), rel=1e-9, abs=1e-12)
    results = [read(tmp_path / name / "result.json") for name in ("two", "one")]
    assert results[0]["config_hash"] == results[1]["config_hash"]
    again = under_torchrun(tmp_path, *RECIPE, *EXACT, *more, "hydra.run.dir=two")
    assert again.code == 0
    assert "not run again" in again.out[0]


@pytest.mark.slow
def test_it_resumes_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """Dropout too: each process draws for its own share, from a stream that the checkpoint has."""
    typed = (*RECIPE, *EXACT, "seed=4", "regularizer=[l2,dropout]")
    for more in (("hydra.run.dir=paused", "pause_at=3"), ("hydra.run.dir=paused",), ("hydra.run.dir=straight",)):
        said = under_torchrun(tmp_path, *typed, *more)
        assert said.code == 0, said.err
    assert losses(tmp_path / "paused") == losses(tmp_path / "straight")


@pytest.mark.slow
def test_running_statistics_are_the_mean_of_those_of_the_shares(tmp_path: Path) -> None:
    """One step on all 280 examples: the running mean of the first normalization is that of the whole batch."""
    import torch

    typed = (*RECIPE, "trainer.precision=float64", "trainer.steps=1", "normalization=batch", "trainer.batch_size=all")
    assert fanin(tmp_path, *typed, "hydra.run.dir=one").code == 0
    assert under_torchrun(tmp_path, *typed, "hydra.run.dir=two").code == 0
    one, two = (
        torch.load(tmp_path / name / "checkpoints" / "last.pt", weights_only=True)["model"] for name in ("one", "two")
    )
    means = [name for name in one if name.endswith("running_mean")]
    torch.testing.assert_close(two[means[0]], one[means[0]], rtol=1e-12, atol=1e-14)
    variance = means[0].replace("mean", "var")
    assert not torch.allclose(two[variance], one[variance], rtol=1e-6)  # within the shares it is another


def until(folder: Path, step: int) -> None:
    """Wait until a run has come so far."""
    for _ in range(3000):
        if (folder / "metrics.csv").is_file() and len(table(folder / "metrics.csv")) >= step:
            return
        time.sleep(0.1)
    raise AssertionError("the run has not begun")


@pytest.mark.slow
def test_a_process_that_dies_ends_all_in_a_line(tmp_path: Path) -> None:
    first, second = both(tmp_path, *RECIPE, "trainer.steps=1000000", "hydra.run.dir=run")
    until(tmp_path / "run", 3)
    second.send_signal(signal.SIGKILL)
    said = end(first)
    assert said.code == 1
    (line,) = (one for one in said.out if "failed" in one)
    assert "another process of this run has ended" in line
    assert read(tmp_path / "run" / "status.json")["state"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
def test_a_signal_to_either_stops_both_with_a_checkpoint(tmp_path: Path, told: int) -> None:
    typed = (*RECIPE, "trainer.steps=1000000", "hydra.run.dir=run")
    processes = both(tmp_path, *typed)
    until(tmp_path / "run", 3)
    processes[told].send_signal(signal.SIGTERM)
    first, second = (end(one) for one in processes)
    assert (first.code, second.code) == (130, 130)
    assert (second.out, second.err) == ([], [])
    assert read(tmp_path / "run" / "status.json")["state"] == "interrupted"
    assert (tmp_path / "run" / "checkpoints" / "last.pt").is_file()


@pytest.mark.parametrize(
    ("typed", "variables", "told"),
    [
        (
            ["-m", "seed=0,1"],
            {"RANK": "0", "WORLD_SIZE": "2"},
            "-m: a grid is not run by the 2 processes of torchrun, which share one run",
        ),
        (["seed=0"], {"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 WORLD_SIZE=2: must be integers, 0 <= RANK < WORLD_SIZE"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    tmp_path: Path, typed: list[str], variables: dict[str, str], told: str
) -> None:
    said = fanin(tmp_path, *typed, **variables)
    assert said.code == 1
    (line,) = said.err
    assert line.startswith(f"fanin: {told}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_fewer_examples_than_processes_are_refused_once(tmp_path: Path) -> None:
    first, second = (end(one) for one in both(tmp_path, *RECIPE, "trainer.batch_size=1", "hydra.run.dir=run"))
    assert first.err == ["fanin: trainer.batch_size=1: must be at least 2, the processes that share it"]
    assert (first.code, second.code, second.err) == (1, 1, [])
    assert not (tmp_path / "run").exists()
