"""data.fold=0,1,2,3,4 on the command line: five runs, each validated on its own fifth of the training examples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf

from command_line import fanin, read, runs, table
from fanin.run.build import load_data


@pytest.mark.slow
def test_folds_as_a_grid(tmp_path: Path) -> None:
    typed = ("model.depth=2", "model.width=8", "data.image_size=8", "trainer.steps=12", "optimizer.lr=0.5", "probe=off")
    said = fanin(tmp_path, "-m", *typed, "trainer.device=cpu", "data.fold=0,1,2,3,4", "hydra.launcher.n_jobs=1")
    assert (said.code, said.err) == (0, ["5 runs in outputs/runs"])
    grid = tmp_path / "outputs" / "runs"
    held: list[bytes] = []
    trained: list[set[bytes]] = []
    errors = {}
    for run in runs(grid).values():
        cfg = OmegaConf.load(run / ".hydra" / "config.yaml")
        assert isinstance(cfg, DictConfig)
        data = load_data(cfg, torch.device("cpu"), torch.float32)
        held += [x.numpy().tobytes() + bytes([y]) for x, y in zip(data.val_x, data.val_y.tolist(), strict=True)]
        trained.append({x.numpy().tobytes() for x in data.train_x})
        assert (len(data.train_x), len(data.val_x), len(data.test_x)) == (1200, 300, 297)
        state = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"]
        h = data.val_x.flatten(1)
        h = F.linear(h, state["linear_1.weight"], state["linear_1.bias"]).relu()
        answers = F.linear(h, state["linear_2.weight"], state["linear_2.bias"]).argmax(1)
        errors[read(run / "result.json")["overrides"]["data.fold"]] = float((answers != data.val_y).double().mean())
    assert sorted(errors) == [0, 1, 2, 3, 4]
    # The 1500 training examples, none of them twice; equal images would have equal bytes, and there are none.
    assert len(held) == len(set(held)) == 1500
    assert len(set.union(*trained)) == 1500
    assert all(len(one) == 1200 for one in trained)
    summary = {int(row["data.fold"]): float(row["val_error"]) for row in table(grid / "summary.csv")}
    assert summary == pytest.approx(errors, rel=1e-12)
    assert len(set(errors.values())) > 1
