"""docs/own_models.md and the README's section on own models, as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch
from torch import nn

import fanin
from command_line import end, start
from own_loops import said
from pages import blocks, commands, sections, write_files

PAGE = sections("docs/own_models.md")


def given() -> dict[str, Any]:
    """What the examples call: a model and its data."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 3))
    batches = [(torch.randn(8, 30), torch.randint(3, (8,))) for _ in range(60)]
    return {
        "fanin": fanin, "model": model, "optimizer": torch.optim.Adam(model.parameters()), "batches": batches,
        "loss_of": nn.CrossEntropyLoss(), "inputs": batches[0][0], "targets": batches[0][1],
        "loss": nn.CrossEntropyLoss(),
    }  # fmt: skip


def test_one_look(capsys: pytest.CaptureFixture[str]) -> None:
    mpl.use("Agg")
    (code,) = blocks(PAGE["One look"], "python")
    names = given()
    exec(code, names)
    assert capsys.readouterr().out.startswith("verdict: stable")
    assert len(names["found"].table) > 10


def test_an_audit(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks(PAGE["An audit"], "python")
    exec(code, given())
    assert "0.weight: follows torch_default: nobody has drawn it from kaiming_normal" in capsys.readouterr().out


def test_in_a_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks(PAGE["In a loop"], "python")
    monkeypatch.chdir(tmp_path)
    exec(code, given())
    assert said(tmp_path / "outputs" / "mine" / "adam")["steps"] == 60


def test_the_readmes_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks(sections("README.md")["Your own model"], "python")
    monkeypatch.chdir(tmp_path)
    exec(code, given())
    assert capsys.readouterr().out.startswith("verdict: stable")
    assert said(tmp_path / "outputs" / "mine")["steps"] == 60


@pytest.mark.slow
def test_from_a_shell(tmp_path: Path) -> None:
    """The advice that the example's comment promises, the figure, and the audit's faults."""
    text = PAGE["From a shell"]
    write_files(text, tmp_path)
    shown = [end(start(tmp_path, *words, module="fanin.cli.probe")) for _, *words in commands(text)]
    assert [(one.code, one.err) for one in shown] == [(0, []), (0, []), (1, [])]
    assert any(
        re.match(r"advice: forward.* vanishing from 0 to 38 \(20 .*2 / fan_in would hold", line)
        for line in shown[0].out
    )
    assert "band: redraw of 16" in " ".join(shown[0].out) or "first order in 1/n" in " ".join(shown[0].out)
    assert (tmp_path / "norms.png").stat().st_size > 0
    assert shown[2].out[0].startswith("audit: 42 parameters: 21 faults")
