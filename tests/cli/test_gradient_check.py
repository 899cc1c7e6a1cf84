"""debug=gradient_check: its exit code, its lines and its file."""

from __future__ import annotations

from pathlib import Path

from command_line import TINY, fanin, runs, table
from fanin.record.columns import GRADIENT_CHECK, names

WRONG = """
import torch
from torch import nn

class Cut(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, slope):
        return slope * (1 - ctx.saved_tensors[0].tanh())

class Wrong(nn.Module):
    def forward(self, x):
        return Cut.apply(x)
"""


def test_a_sound_recipe_and_a_wrong_part_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "wrong_tanh.py").write_text(WRONG)
    (tmp_path / "own" / "activation").mkdir(parents=True)
    (tmp_path / "own" / "activation" / "wrong.yaml").write_text("_target_: wrong_tanh.Wrong\n")
    good = fanin(tmp_path, "debug=gradient_check", "activation=tanh", *TINY[:3])
    assert (good.code, good.err) == (0, [])
    assert "gradient check: 42 of 42 derivatives in 6 blocks agree with central differences" in good.out[0]
    wrong = fanin(tmp_path, "debug=gradient_check", "--config-dir", "own", "activation=wrong", *TINY[:3])
    assert wrong.code == 1
    assert "failed: gradient check: linear_1.weight differs in" in wrong.out[0]
    assert "linear_3" not in wrong.out[0].partition("(see")[0]  # behind the last activation all is right
    found = [table(run / "gradient_check.csv") for run in runs(tmp_path / "outputs" / "runs").values()]
    assert [tuple(rows[0]) for rows in found] == 2 * [names(GRADIENT_CHECK)]
    assert sorted({row["verdict"] for rows in found for row in rows}) == ["agrees", "differs"]
