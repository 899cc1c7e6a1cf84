"""Inputs that are token indices, and modules that return tuples: a user's data and model by the real command."""

from __future__ import annotations

from pathlib import Path

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


@pytest.mark.parametrize("more", [[], ["averaging=ema", "regularizer=[sam,l2]", "optimizer=momentum"]])
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
