"""What lies behind the norms at init of a watched model: the bands of `fanin.profile`, in the files of a run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fanin
from own_loops import rows, said, train

BATCH = torch.linspace(-1, 1, 60).view(12, 5)
BANDS = ("theory", "band_low", "band_high", "redraw_median", "redraw_low", "redraw_high")


def chain() -> nn.Sequential:
    """5 -> 16 -> 16 -> 3 without biases, drawn as kaiming_normal has it."""
    torch.manual_seed(3)
    layers = [nn.Linear(*sizes, bias=False) for sizes in ((5, 16), (16, 16), (16, 3))]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def square(outputs: Tensor) -> Tensor:
    """A loss."""
    return outputs.square().mean()


def redraw(model: nn.Module) -> None:
    """As `chain` draws it."""
    for one in model.parameters():
        nn.init.kaiming_normal_(one)


@pytest.mark.parametrize(
    ("asked", "sources"),
    [
        ({"band": "law"}, {"exact law", "first order in 1/n"}),
        ({"redraws": 16, "redraw": redraw, "band": "redraw"}, {"redraw of 16"}),
        ({"redraws": 8, "redraw": redraw, "band": "both", "rules": "kaiming_normal"}, {"first order in 1/n"}),
    ],
    ids=["law", "redraw", "both"],
)
def test_bands_are_those_of_a_profile(tmp_path: Path, asked: dict[str, Any], sources: set[str]) -> None:
    train(chain(), tmp_path, BATCH, inputs=BATCH, loss=square, **asked)
    table = fanin.profile(chain(), BATCH, loss=square, **asked).table
    wanted = {(one.axis, one.layer, one.quantity): one for one in table.itertuples()}
    found = {(row["axis"], row["layer"], row["quantity"]): row for row in rows(tmp_path) if row["snapshot"] == "init"}
    assert found.keys() == wanted.keys()
    for key, row in found.items():
        numbers = [float(row[name] or "nan") for name in BANDS]
        assert numbers == pytest.approx([getattr(wanted[key], name) for name in BANDS], nan_ok=True, rel=1e-12), key
    assert sources & {row["source"] for row in found.values()}
    banded = found["weight", "2", "gradient_norm"]
    assert 0 < float(banded["band_low"]) < float(banded["theory"]) < float(banded["band_high"])
    assert all(not row["source"] for row in rows(tmp_path) if row["snapshot"] == "final")


def test_none_are_drawn_where_nobody_asks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And one line says why there are none where somebody does."""
    train(chain(), tmp_path / "none", BATCH, inputs=BATCH, loss=square)
    assert not any(row["source"] for row in rows(tmp_path / "none"))
    assert not caplog.messages
    with caplog.at_level(logging.WARNING):
        train(chain(), tmp_path / "drawn", BATCH, inputs=BATCH, loss=square, band="redraw")
    (line,) = caplog.messages
    assert line.startswith("fanin.watch: no band lies behind the norms at init: ")
    assert said(tmp_path / "drawn")["init"]["no_redraw"] in line
