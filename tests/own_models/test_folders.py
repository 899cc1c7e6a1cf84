"""The folder of a watched run: its state however it ends, and that reports take it for one of fanin's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import fanin
from command_line import end, start
from fanin.record.columns import RESULT, STATUS, names
from own_loops import rows, said, scalars, train

SCRIPT = """
import sys, torch, fanin
model = torch.nn.Linear(3, 2)
watch = fanin.watch(model, sys.argv[1], every=1)
for _ in range(3):
    model(torch.ones(4, 3)).sum().backward()
    watch.step(loss=1.0)
{end}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "state", "error"),
    [
        ("", "done", None),
        ("1 / 0", "failed", "ZeroDivisionError: division by zero"),
        ("raise KeyboardInterrupt", "interrupted", "KeyboardInterrupt:"),
    ],
    ids=["end", "error", "interrupt"],
)
def test_a_process_that_ends_closes_its_run(tmp_path: Path, end: str, state: str, error: str | None) -> None:
    folder = tmp_path / "own"
    subprocess.run([sys.executable, "-c", SCRIPT.format(end=end), folder], check=False, capture_output=True)
    status = said(folder, "status")
    assert (status["state"], status["step"], status["error"]) == (state, 3, error)
    assert (folder / "result.json").exists() == (state == "done")
    assert [row["step"] for row in rows(folder, "metrics")] == ["1", "3"]


def test_states_of_a_block(tmp_path: Path) -> None:
    def broken(error: BaseException | None) -> None:
        with fanin.watch(nn.Linear(3, 2), tmp_path / type(error).__name__):
            if error is not None:
                raise error

    for error, state in ((None, "done"), (ValueError("of\nmine"), "failed"), (KeyboardInterrupt(), "interrupted")):
        try:
            broken(error)
        except (ValueError, KeyboardInterrupt):
            assert error is not None
        assert said(tmp_path / type(error).__name__, "status")["state"] == state
    assert said(tmp_path / "ValueError", "status")["error"] == "ValueError: of mine"


def test_what_it_says(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    batch = torch.randn(6, 3)
    with fanin.watch(model, tmp_path / "lab" / "own", every=2, inputs=batch, steps=[2], config={"lr": 0.5, "seed": 3},
                     loss=lambda outputs: outputs.square().mean(), log_every=2) as watch:  # fmt: skip
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        losses = []
        for step in range(4):
            optimizer.zero_grad()
            loss = model(batch).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            watch.step(optimizer, loss=loss, error=step / 8, epoch=step / 4)
        watch.log(val_loss=0.25, val_error=0.5)
    folder = tmp_path / "lab" / "own"
    result = said(folder)
    assert result.keys() == set(names(RESULT))
    assert said(folder, "status").keys() == set(names(STATUS))
    assert (result["run"], result["experiment"], result["state"]) == ("own", "lab", "done")
    assert (result["steps"], result["parameters"], result["overrides"]) == (4, 26, {"lr": 0.5, "seed": 3})
    assert result["first_loss"] == losses[0]
    assert result["metrics"]["val_error"] == 0.5
    told = rows(folder, "metrics")
    assert float(told[2]["batch_loss"]) == pytest.approx((losses[2] + losses[3]) / 2, rel=1e-12)
    assert [(row["step"], row["lr"], row["batch_error"], row["epoch"], row["val_loss"]) for row in told] == [
        ("1", "0.5", "0", "0", ""), ("2", "0.5", "0.125", "0.25", ""), ("4", "0.5", "0.3125", "0.75", ""),
        ("4", "", "", "0.75", "0.25"),
    ]  # fmt: skip
    assert scalars(folder)["val/loss"] == [(4, 0.25)]
    assert {row["snapshot"] for row in rows(folder)} == {"init", "2", "final"}
    assert result["init"]["gradient_smallest_layer"] in ("0", "2")


def test_a_loss_that_is_not_finite_is_divergence(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    with fanin.watch(model, tmp_path / "own") as watch:
        for step in range(5):
            model(torch.ones(1, 3)).sum().backward()
            watch.step(loss=float("nan") if step == 2 else 1.0)
    assert said(tmp_path / "own")["state"] == "diverged"
    assert said(tmp_path / "own")["diverged"] == {"step": 3, "layer": "loss", "what": "loss"}


def test_reports_show_it_beside_runs(tmp_path: Path) -> None:
    """One table with the configurations of a grid of one's own, no complaint, and their bands in TensorBoard."""
    for seed, lr in enumerate((0.1, 0.2)):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        train(model, tmp_path / "lab" / f"{lr}", torch.randn(8, 3), inputs=torch.randn(8, 3), lr=lr,
              loss=lambda outputs: outputs.square().mean(), config={"lr": lr, "seed": seed}, redraws=8)  # fmt: skip
    told = end(start(tmp_path, str(tmp_path / "lab"), module="fanin.report.cli"))
    assert told.code == 0, told.err
    out = "\n".join(told.out)
    assert "lr=0.1" in out
    assert "lr=0.2" in out
    assert "note" not in out.lower()
    table = (tmp_path / "lab" / "summary.csv").read_text().splitlines()
    assert len(table) == 3
    assert all(",done," in line for line in table[1:])
    low = scalars(tmp_path / "lab" / "report" / "tensorboard" / "theory_lr=0.2" / "band_low")[
        "profile_init/gradient_norm"
    ]
    its = [(int(row["index"]), float(row["band_low"])) for row in rows(tmp_path / "lab" / "0.2")
           if (row["snapshot"], row["axis"], row["quantity"]) == ("init", "weight", "gradient_norm")]  # fmt: skip
    assert low == [(index, pytest.approx(value, rel=1e-6)) for index, value in its]
    assert len(low) == 2
