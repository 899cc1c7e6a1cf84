"""A study that prunes its runs when its grid has ended: once, with the masks that its controls share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from command_line import fanin, read, table

SMALL = ("experiment=lottery_study", "model.width=8", "trainer.epochs=1", "data.limit=200", "seed=0")


@pytest.mark.slow
def test_prunings_are_made_once_and_claims_read_them(tmp_path: Path) -> None:
    said = fanin(tmp_path, *SMALL, seconds=300)
    assert said.code == 0, said
    grid = tmp_path / "outputs" / "lottery_study"
    names = sorted(path.name for path in (grid / "pruned").iterdir() if path.is_dir())
    assert len(names) == 2
    control, ticket = names
    for done in range(1, 8):
        masks = [torch.load(grid / "pruned" / name / "masks" / f"round_{done}.pt") for name in names]
        assert all(torch.equal(masks[0][layer], masks[1][layer]) for layer in masks[0])
        made = [read(grid / "pruned" / name / f"round_{done}" / "result.json") for name in names]
        assert [one["config"]["regularizer"]["mask"]["redraw"] for one in made] == [1, 0]
        assert made[0]["config"]["seed"] == made[1]["config"]["seed"] == 0
    losses = [
        [
            read(grid / "pruned" / name / f"round_{done}" / "result.json")["metrics"]["train_loss"]
            for done in range(1, 8)
        ]
        for name in (ticket, control)
    ]
    lower = all(one < two for one, two in zip(*losses, strict=True))
    (claim,) = [row for row in table(grid / "report" / "claims.csv") if "lower training loss" in row["claim"]]
    assert claim["verdict"] == ("holds" if lower else "does not hold")
    before = {path: path.stat().st_mtime_ns for path in (grid / "pruned").rglob("result.json")}
    assert fanin(tmp_path, *SMALL, seconds=300).code == 0
    assert {path: path.stat().st_mtime_ns for path in (grid / "pruned").rglob("result.json")} == before
