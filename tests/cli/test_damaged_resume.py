"""A run whose last checkpoint is damaged starts afresh and says so; lost rows are told; nothing fails for ever."""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from command_line import read, untimed
from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.record.checkpoint_file import sealed
from fanin.record.run_folder import RunFolder
from fanin.run.identity import identify, without_hydra
from fanin.run.request import Request
from fanin.sweep.job import execute_together

SMALL = (
    "data=gaussian", "model.depth=2", "model.width=8", "trainer.batch_size=50", "trainer.steps=12", "optimizer=adam",
    "probe.every=3", "trainer.device=cpu", "trainer.checkpoint_every=4", "trainer.log_every=2",
)  # fmt: skip
Attempt = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def attempt() -> Iterator[Attempt]:
    """Makes an attempt at the run in a folder, as every launcher does, stopped before a step or never."""
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg = compose("config", list(SMALL), return_hydra_config=True)
    task, identity = without_hydra(cfg), identify(without_hydra(cfg), cfg.hydra)

    def make(path: Path, stop: int | None = None) -> dict[str, Any]:
        path.mkdir(parents=True, exist_ok=True)
        asked = count()
        (outcome,) = execute_together(
            [Request(task, identity, RunFolder(path))], lambda: next(asked) == stop if stop is not None else False
        )
        return outcome

    before = torch.get_num_threads()
    yield make
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def undisturbed(attempt: Attempt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("undisturbed") / "grid" / "run"
    assert attempt(path)["state"] == "done"
    return path


def stopped(attempt: Attempt, path: Path) -> dict[str, Any]:
    """A run stopped before its step 6, and its checkpoint's content."""
    assert attempt(path, 6)["state"] == "interrupted"
    state: dict[str, Any] = torch.load(path / "checkpoints" / "last.pt", weights_only=True)
    assert state["step"] == 6
    return state


def write(path: Path, state: Any) -> None:
    """A checkpoint with a checksum that is right."""
    file = io.BytesIO()
    torch.save(state, file)
    (path / "checkpoints" / "last.pt").write_bytes(sealed(file.getbuffer()))


def without(state: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != key}


def assert_starts_afresh(attempt: Attempt, path: Path, undisturbed: Path, reason: str) -> None:
    assert attempt(path)["state"] == "done"
    log = (path / "run.log").read_text()
    assert f"last.pt is left aside: {reason}" in log
    assert "starting afresh" in log
    assert untimed(path) == untimed(undisturbed)


@pytest.mark.parametrize(
    "key", ["config_hash", "ended", "step", "seconds", "pending", "window", "best", "patience", "diverged_at",
            "best_weights", "model", "optimizer"],
)  # fmt: skip
def test_a_checkpoint_that_lacks_a_key(attempt: Attempt, undisturbed: Path, tmp_path: Path, key: str) -> None:
    write(tmp_path, without(stopped(attempt, tmp_path), key))
    assert_starts_afresh(attempt, tmp_path, undisturbed, f"it lacks {key}")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a negative step": ({"step": -3}, "step in it cannot be right"),
    "a step that is a text": ({"step": "6"}, "step in it cannot be right"),
    "a step beyond the last": ({"step": 500}, "it is of step 500, and the run has 12"),
    "two kinds": ({"window": [["a", 1]], "seconds": float("nan")}, "seconds, window in it cannot be right"),
    "rows of no number": ({"rows": {"metrics.csv": "6"}}, "rows in it cannot be right"),
    "weights that are no tensors": ({"model": {"linear_1.weight": 3}}, "model in it cannot be right"),
    "weights of another shape": ({"model": {"linear_1.weight": torch.ones(2, 2)}}, "the run cannot resume from it ("),
    "no parameters of the optimizer": ({"optimizer": {}}, "the run cannot resume from it (KeyError"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_checkpoint_of_wrong_kinds(attempt: Attempt, undisturbed: Path, tmp_path: Path, name: str) -> None:
    changed, reason = WRONG[name]
    write(tmp_path, stopped(attempt, tmp_path) | changed)
    assert_starts_afresh(attempt, tmp_path, undisturbed, reason)


def test_a_state_of_the_optimizer_that_fails_in_the_first_step(
    attempt: Attempt, undisturbed: Path, tmp_path: Path
) -> None:
    """torch takes it over as it is; only the step looks at what it is."""
    state = stopped(attempt, tmp_path)
    kept = state["optimizer"]["state"]
    state["optimizer"]["state"] = {place: dict.fromkeys(names, "x") for place, names in kept.items()}
    write(tmp_path, state)
    assert_starts_afresh(attempt, tmp_path, undisturbed, "the run cannot resume from it (")


def test_a_flipped_bit_in_the_weights(attempt: Attempt, undisturbed: Path, tmp_path: Path) -> None:
    state = stopped(attempt, tmp_path)
    path = tmp_path / "checkpoints" / "last.pt"
    content, part = path.read_bytes(), state["model"]["linear_1.weight"].numpy().tobytes()[:64]
    place = content.index(part)
    path.write_bytes(content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :])
    assert_starts_afresh(attempt, tmp_path, undisturbed, "its bytes are not those that were written (CRC-32)")


def damaged(path: Path) -> Iterator[str]:
    """Damage a file in one way after the other: cut, emptied, other bytes, gone, a link that leads nowhere."""
    whole = path.read_bytes()
    for kind, content in (("cut", whole[: len(whole) // 2]), ("empty", b""), ("other bytes", b"\x00\xff\x80" * 99)):
        path.write_bytes(content)
        yield kind
    path.unlink()
    yield "gone"
    path.symlink_to("/nowhere/at/all")
    yield "a link"
    path.unlink()
    path.write_bytes(whole)


def test_a_finished_run_is_finished_whatever_else_of_it_is_damaged(attempt: Attempt, tmp_path: Path) -> None:
    """The result is written last: nothing but its own loss makes the run be run again."""
    path = tmp_path / "run"
    attempt(path)
    result = (path / "result.json").read_bytes()
    files = [one for one in path.rglob("*") if one.is_file() and one.name not in ("result.json", ".lock")]
    assert len(files) >= 6
    for file in files:
        for kind in damaged(file):
            assert (file.name, kind, attempt(path)["state"]) == (file.name, kind, "skipped")
            assert (path / "result.json").read_bytes() == result


@pytest.mark.parametrize("name", ["status.json", "metrics.csv", "profiles.csv", "checkpoints/last.pt"])
def test_an_interrupted_run_ends_with_the_same_numbers_whatever_of_it_is_damaged(
    attempt: Attempt, undisturbed: Path, tmp_path: Path, name: str
) -> None:
    stopped(attempt, tmp_path / "run")
    for kind in damaged(tmp_path / "run" / name):
        copy = Path(shutil.copytree(tmp_path / "run", tmp_path / kind / "run", symlinks=True))
        assert (kind, attempt(copy)["state"]) == (kind, "done")
        assert untimed(copy)[2] == untimed(undisturbed)[2]
        assert (copy / name).is_file()


def test_rows_that_were_lost_before_a_resume_are_told(attempt: Attempt, undisturbed: Path, tmp_path: Path) -> None:
    stopped(attempt, tmp_path)
    header, *lines = (tmp_path / "metrics.csv").read_bytes().splitlines(keepends=True)
    kept = len(lines) - 2
    (tmp_path / "metrics.csv").write_bytes(header + b"".join(lines[:kept]) + b"\xff\x00no row\n")
    assert attempt(tmp_path)["state"] == "done"
    assert (
        f"metrics.csv: 2 of the {len(lines)} rows before the checkpoint are lost" in (tmp_path / "run.log").read_text()
    )
    assert "profiles.csv:" not in (tmp_path / "run.log").read_text()
    assert untimed(tmp_path)[2] == untimed(undisturbed)[2]


def test_a_resume_that_fails_names_the_way_out(attempt: Attempt, tmp_path: Path) -> None:
    stopped(attempt, tmp_path)
    (tmp_path / "metrics.csv").unlink()
    (tmp_path / "metrics.csv").mkdir()
    outcome = attempt(tmp_path)
    assert outcome["state"] == "failed"
    assert outcome["error"] == (
        f"{tmp_path}/metrics.csv: a folder is in the place of a file "
        "(it resumed from its last checkpoint; force=true starts afresh)"
    )
    assert read(tmp_path / "status.json")["error"] == outcome["error"]


def test_a_finished_run_stays_where_it_cannot_be_owned(
    attempt: Attempt, undisturbed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder in place of the lock: one line, and nothing of the run is touched."""
    attempt(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file() and path.name != ".lock"}
    (tmp_path / ".lock").unlink(missing_ok=True)
    (tmp_path / ".lock").mkdir()
    with caplog.at_level(logging.WARNING):
        outcome = attempt(tmp_path)
    assert (outcome["state"], outcome["error"]) == ("failed", f"{tmp_path}/.lock: a folder is in the place of a file")
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert caplog.text == ""
