"""A watch that goes on from what an earlier one has left in its folder."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fanin
from networks import one_line
from own_loops import ALL, rows, said, scalars

BATCH = torch.linspace(-1, 1, 24).view(8, 3)


def network() -> nn.Sequential:
    """3 -> 4 -> 2, the same at each call."""
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def square(outputs: Tensor) -> Tensor:
    """A loss."""
    return outputs.square().mean()


class Loop:
    """A loop that can be left and taken up again, with its own checkpoint: the model and the optimizer."""

    def __init__(self, folder: Path, *, after: bool, **settings: Any) -> None:
        self.after, self.model, self.done = after, network(), 0
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.3, momentum=0.5)
        self.settings = {
            "folder": folder, "every": 2, "curves": ALL, "log_every": 1, "inputs": BATCH, "loss": square,
            "steps": [3, 6], "rules": "torch_default", "redraws": 8,
        } | settings  # fmt: skip

    def train(self, until: int, error: BaseException | None = None, **settings: Any) -> None:
        watch = fanin.watch(self.model, **self.settings | settings)
        while self.done < until:
            self.optimizer.zero_grad()
            loss = square(self.model(BATCH + self.done))
            loss.backward()
            if not self.after:
                watch.step(loss=loss, lr=0.3)
            self.optimizer.step()
            if self.after:
                watch.step(self.optimizer, loss=loss)
            self.done += 1
        watch.close(error)


def without(found: list[dict[str, str]], *columns: str) -> list[dict[str, str]]:
    """Rows without some columns, and without what is measured against the weights at step 0."""
    kept = (row for row in found if row.get("quantity") != "weight_movement")
    return [{name: cell for name, cell in row.items() if name not in columns} for row in kept]


@pytest.mark.parametrize("after", [False, True], ids=["before the update", "after it"])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt()], ids=["finished", "interrupted"])
def test_two_halves_are_the_whole(tmp_path: Path, after: bool, error: BaseException | None) -> None:
    """Rows, curves, bands and the result are those of one watch, wherever it was left."""
    Loop(tmp_path / "whole", after=after).train(8)
    halves = Loop(tmp_path / "halves", after=after)
    halves.train(3, error)
    halves.train(8, resume=True)
    assert not list((tmp_path / "halves").glob("*.tmp"))
    for name in ("metrics", "profiles"):
        mine, its = (without(rows(tmp_path / one, name), "seconds") for one in ("halves", "whole"))
        assert mine == its
    assert {row["snapshot"] for row in rows(tmp_path / "whole")} == {"init", "3", "6", "final"}
    bands = [row for row in rows(tmp_path / "whole") if row["source"]]
    assert bands
    mine, its = (scalars(tmp_path / one, "layers/") for one in ("halves", "whole"))
    assert mine == its
    assert [step for step, _ in its["layers/gradient_norm/1_0"]] == [0, 2, 4, 6]
    result, wanted = said(tmp_path / "halves"), said(tmp_path / "whole")
    for key in ("state", "steps", "first_loss", "metrics", "outcome", "verdict"):
        assert result[key] == wanted[key], key
    assert result["init"]["verdict"] == wanted["init"]["verdict"]
    seconds = [float(row["seconds"]) for row in rows(tmp_path / "halves", "metrics")]
    assert seconds == sorted(seconds)


def test_after_a_step_of_ones_own(tmp_path: Path) -> None:
    """Rows beyond the checkpoint that a loop goes on from are dropped."""
    first = Loop(tmp_path / "own", after=True)
    first.train(4)
    again = Loop(tmp_path / "own", after=True)
    again.done = 2
    again.train(5, resume=2)
    assert [row["step"] for row in rows(tmp_path / "own", "metrics")] == ["1", "2", "3", "4", "5"]
    assert [row["snapshot"] for row in rows(tmp_path / "own") if row["quantity"] == "gradient_norm"] == [
        "init", "init", "3", "3", "final", "final",
    ]  # fmt: skip


def test_an_empty_folder_begins(tmp_path: Path) -> None:
    """The same line starts a run and takes it up."""
    Loop(tmp_path / "own", after=True).train(2, resume=True)
    assert [row["step"] for row in rows(tmp_path / "own", "metrics")] == ["1", "2"]


class Either(nn.Module):
    """Two layers, in an order that changes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.turned = nn.Linear(3, 3), nn.Linear(3, 3), False

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.b, self.a) if self.turned else (self.a, self.b):
            x = layer(x)
        return x


def test_layers_keep_their_numbers(tmp_path: Path) -> None:
    """Also where another layer runs first by then."""
    model = Either()
    for turned in (False, True):
        model.turned = turned
        with fanin.watch(model, tmp_path, every=1, inputs=BATCH, resume=True) as watch:
            model(BATCH).sum().backward()
            watch.step()
    found = scalars(tmp_path, "layers/gradient_norm/")
    assert {tag: len(points) for tag, points in found.items()} == {
        "layers/gradient_norm/1_a": 2, "layers/gradient_norm/2_b": 2,
    }  # fmt: skip


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unfinished": ({}, "own holds 2 steps of a run that did not end; resume=True goes on from there, overwrite=True"),
    "both": ({"resume": True, "overwrite": True}, "overwrite, resume: a run replaces .* or goes on from it; give one"),
    "no step": ({"resume": -1}, "resume=-1: must be an integer >= 1"),
    "another model": (
        {"resume": True, "model": nn.Sequential(nn.Sequential(nn.Linear(3, 2)))},
        "own holds the run of another model, with a layer 0; choose another folder",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_there_stays_where_nobody_may_go_on(tmp_path: Path, name: str) -> None:
    settings, line = WRONG[name]
    Loop(tmp_path / "own", after=True).train(2, ValueError("a stop"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "own").iterdir() if path.suffix in (".csv", ".json")}
    with pytest.raises(fanin.UserError, match=line) as error:
        fanin.watch(**{"model": network(), "folder": tmp_path / "own"} | settings)
    one_line(error.value)
    after = {path.name: path.read_bytes() for path in (tmp_path / "own").iterdir() if path.suffix in (".csv", ".json")}
    assert after == before
    fanin.watch(network(), tmp_path / "own", overwrite=True).close()  # nobody owns it


def test_a_finished_run_of_another_config(tmp_path: Path) -> None:
    Loop(tmp_path / "own", after=True, config={"seed": 1}).train(2)
    with pytest.raises(fanin.UserError, match="holds the finished run of another model or config; overwrite=True"):
        fanin.watch(network(), tmp_path / "own", resume=True, config={"seed": 2})
    with pytest.raises(fanin.UserError, match=r"resume=7: .*nothing holds no step of a run to go on from"):
        fanin.watch(network(), tmp_path / "nothing", resume=7)


def test_a_half_written_row_is_none(tmp_path: Path) -> None:
    """A kill within a row: what is whole is kept."""
    loop = Loop(tmp_path / "own", after=True)
    loop.train(3, ValueError("a stop"))
    path = tmp_path / "own" / "metrics.csv"
    path.write_text(path.read_text()[:-8])
    loop.done = 2
    loop.train(4, resume=2)
    with path.open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]
