"""Inputs that are token indices, and modules that return tuples: a user's data and model by the real command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from command_line import fanin, read, runs

MINE = """
import torch
from torch import nn
from fanin.parts.data import Dataset, Source

class Tokens(Source):
    name = "tokens"

    def __init__(self, val_size=20):
        super().__init__(val_size=val_size, limit=None)

    def load(self):
        x = torch.randint(5, (200, 6), generator=torch.Generator().manual_seed(0))
        parts = {"train": slice(0, 150), "val": slice(150, 170), "test": slice(170, 200)}
        inputs = {f"{part}_x": x[at] for part, at in parts.items()}
        targets = {f"{part}_y": x[at, -1] % 2 for part, at in parts.items()}
        return Dataset(name="tokens", classes=2, **inputs, **targets)

class Reader(nn.Module):
    def __init__(self, out_features):
        super().__init__()
        self.generator = nn.Embedding(5, 8)  # an attribute of this name is the user's own
        self.rnn = nn.LSTM(8, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, out_features)

    def forward(self, x):
        assert x.dtype == torch.int64
        h, _ = self.rnn(self.generator(x))
        h, _ = self.attention(h, h, h)
        return self.out(h[:, -1])
"""


COUNTS = """
import torch
from torch import nn
from fanin.parts.data import Dataset, Source

class Counts(Source):
    name = "counts"

    def __init__(self, kind="int64"):
        super().__init__(val_size=20, limit=None)
        self.kind = getattr(torch, kind)

    def load(self):
        x = torch.randint(5, (200, 6), generator=torch.Generator().manual_seed(0)).to(self.kind)
        parts = {"train": slice(0, 150), "val": slice(150, 170), "test": slice(170, 200)}
        inputs = {f"{part}_x": x[at] for part, at in parts.items()}
        targets = {f"{part}_y": x[at, -1].long() % 2 for part, at in parts.items()}
        return Dataset(name="counts", classes=2, **inputs, **targets)

class OneHot(nn.Module):
    takes_indices = True  # there is no embedding to tell

    def __init__(self, out_features):
        super().__init__()
        self.out = nn.Linear(30, out_features)

    def forward(self, x):
        assert x.dtype == torch.int64
        return self.out(nn.functional.one_hot(x, 5).flatten(1).to(self.out.weight.dtype))

class Placed(nn.Module):
    takes_indices = False  # its embedding is of places

    def __init__(self, in_features, out_features):
        super().__init__()
        self.places, self.out = nn.Embedding(in_features, 1), nn.Linear(in_features, out_features)

    def forward(self, x):
        assert x.is_floating_point()
        return self.out(x + self.places(torch.arange(x.shape[1])).flatten())
"""


def with_counts(tmp_path: Path, *typed: str) -> dict[Path, dict[str, Any]]:
    """The results of the runs of a command, whose data are integers of 0 to 4."""
    for group, option, target in (
        ("data", "mine", "Counts"),
        ("model", "hot", "OneHot"),
        ("model", "placed", "Placed"),
    ):
        (tmp_path / "own" / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / group / f"{option}.yaml").write_text(f"_target_: counting.{target}\n")
    (tmp_path / "counting.py").write_text(COUNTS)
    said = fanin(tmp_path, "--config-dir", "own", *typed, "data=mine", "trainer.batch_size=50", "probe.batch_size=20")
    assert said.code == 0, said
    return {run: read(run / "result.json") for run in runs(tmp_path / "outputs" / "runs").values()}


MLP = ("model=mlp", "model.depth=2", "model.width=8", "trainer.steps=6", "probe.every=2")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int64", pytest.param("uint8", marks=pytest.mark.slow)])
def test_integers_that_are_no_indices_are_numbers(tmp_path: Path, kind: str) -> None:
    """The same run as of the same numbers in floating point, to the last bit, single and fused."""
    typed = (f"+data.kind={kind},float32", "seed=0,1", *MLP)
    found = with_counts(tmp_path, "-m", "hydra/launcher=auto", *typed)
    weights = {run: torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"] for run in found}
    assert len(found) == 4
    for seed in (0, 1):
        first, second = (run for run, one in found.items() if one["seeds"]["run"] == seed)
        assert (first / "profiles.csv").read_text() == (second / "profiles.csv").read_text()
        assert found[first]["metrics"] == found[second]["metrics"]
        assert all(torch.equal(value, weights[second][name]) for name, value in weights[first].items())


@pytest.mark.parametrize("model", ["hot", "placed"])
def test_a_model_says_itself_what_integers_are_to_it(tmp_path: Path, model: str) -> None:
    """Tokens without an embedding, of one byte each; numbers although there is an embedding."""
    (one,) = with_counts(tmp_path, f"model={model}", "+data.kind=uint8", "trainer.steps=3").values()
    assert (one["state"], one["steps"]) == ("done", 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        pytest.param([], marks=pytest.mark.slow),
        ["averaging=ema", "regularizer=[sam,l2]", "optimizer=momentum"],
    ],
)
def test_tokens_train(tmp_path: Path, more: list[str]) -> None:
    for group, target in (("data", "Tokens"), ("model", "Reader")):
        (tmp_path / "own" / group).mkdir(parents=True)
        (tmp_path / "own" / group / "mine.yaml").write_text(f"_target_: reading.{target}\n")
    (tmp_path / "reading.py").write_text(MINE)
    said = fanin(tmp_path, "--config-dir", "own", "data=mine", "model=mine", "trainer.steps=5", "trainer.batch_size=50",
                 "probe.every=2", "probe.batch_size=20", *more)  # fmt: skip
    assert said.code == 0, said
    (run,) = runs(tmp_path / "outputs" / "runs").values()
    found = read(run / "result.json")
    assert (found["state"], found["steps"]) == ("done", 5)
    trained = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"]
    assert trained["rnn.weight_ih_l0"].isfinite().all()
    assert found["evaluation"]["test"]["error"] == found["metrics"]["test_error"]
