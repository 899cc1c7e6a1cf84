"""Wrong uses of a watch: one clear line each, nothing half-written, nothing left behind."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_modules

import fanin
from fanin import UserError, Watch
from networks import one_line
from own_loops import rows


def model() -> nn.Sequential:
    """3 -> 4 -> 2."""
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def backward(one: nn.Module) -> None:
    """A pass and its gradients."""
    one(torch.randn(5, 3)).sum().backward()


MAKING: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": torch.ones(3)}, "a model is a torch.nn.Module, not Tensor"),
    "no parameters": ({"model": nn.ReLU()}, "ReLU has no parameters"),
    "pattern": ({"modules": "layers.*"}, r"modules: no module matches layers\.\*; there are 0, 1, 2"),
    "no pattern": ({"modules": []}, "modules: an empty list chooses nothing"),
    "quantity": ({"curves": ["gradient_nrm"]}, "curves=gradient_nrm: must be one of .* did you mean gradient_norm?"),
    "measure": (
        {"measures": {"mean": lambda x: x.mean()}},
        "measures.mean=.*a function with parameters out of",
    ),
    "taken name": (
        {"measures": {"weight_norm": lambda weight: 1}},
        "measures=weight_norm: must be .* not taken",
    ),
    "cadence": ({"every": -1}, "every=-1: must be an integer >= 0"),
    "device": (
        {"inputs": torch.ones(2, 3, device="meta")},
        r"inputs: on meta, and the model is on cpu; use inputs.to\('cpu'\)",
    ),
    "no batch": ({"inputs": 3}, "inputs: a batch is a tensor, a tuple or a mapping of tensors, not int"),
    "targets alone": ({"targets": torch.ones(2)}, "inputs: profiles and histograms need a batch to be taken on"),
    "bands alone": ({"redraws": 8}, "inputs: profiles and histograms need a batch to be taken on"),
    "few redraws": ({"inputs": torch.ones(2, 3), "redraws": 3}, "redraws=3: must be 8 or more, or 0 for no band"),
    "band": ({"inputs": torch.ones(2, 3), "band": "laws"}, "band=laws: must be one of .* did you mean law?"),
    "steps alone": ({"steps": [4]}, "inputs: profiles and histograms need a batch to be taken on"),
    "loss": (
        {"inputs": torch.ones(2, 3), "loss": lambda outputs: outputs},
        r"loss: must give one number, not \[2, 2\]",
    ),
    "loss of nothing": (
        {"inputs": torch.ones(2, 3), "loss": lambda outputs: outputs.detach().sum()},
        "loss: depends on no parameter of the model",
    ),
    "seed": ({"config": {"seed": "a"}, "inputs": torch.ones(2, 3)}, "config.seed=a: must be an integer"),
}


@pytest.mark.parametrize("name", MAKING)
def test_what_cannot_be_watched(tmp_path: Path, name: str) -> None:
    settings, said = MAKING[name]
    settings = {"model": model(), "folder": tmp_path / "own"} | settings
    with pytest.raises(UserError) as error:
        fanin.watch(**settings)
    assert re.search(said, one_line(error.value))
    result = tmp_path / "own" / "result.json"
    assert not result.exists()
    assert not torch_modules._global_forward_hooks


def closed(watch: Watch) -> None:
    watch.close()
    watch.step()


def updated(watch: Watch) -> None:
    backward(watch.model)
    watch.model.zero_grad()
    watch.step(torch.optim.SGD(watch.model.parameters()))


STEPPING: dict[str, tuple[Callable[[Watch], object], str]] = {
    "no backward": (
        lambda watch: watch.step(),
        "no parameter of the model has a gradient; call it after",
    ),
    "after zero_grad": (updated, r"call it after loss.backward\(\) and before optimizer.zero_grad\(\)"),
    "another model": (
        lambda watch: watch.step(torch.optim.Adam(model().parameters())),
        "Adam holds no parameter of the watched model; it is another model's",
    ),
    "a loss": (lambda watch: watch.step(torch.ones(())), "wants the optimizer, not Tensor; a loss goes by its name"),  # type: ignore[arg-type]
    "closed": (closed, "this watch was closed"),
    "column": (lambda watch: watch.log(val_los=1.0), "val_los is no column of metrics.csv .* did you mean val_loss?"),
}


@pytest.mark.parametrize("name", STEPPING)
def test_what_a_step_cannot_be(tmp_path: Path, name: str) -> None:
    wrong, said = STEPPING[name]
    with Watch(model(), tmp_path / "own") as watch, pytest.raises(UserError) as error:
        wrong(watch)
    assert re.search(said, one_line(error.value))


def test_folders_that_are_taken(tmp_path: Path) -> None:
    """What is in them stays."""
    (tmp_path / "thesis").mkdir()
    text = tmp_path / "thesis" / "thesis.tex"
    text.write_text("all my work")
    with pytest.raises(UserError, match=r"is not empty and no run's folder: thesis\.tex is not a run's") as error:
        Watch(model(), text.parent)
    one_line(error.value)
    with pytest.raises(UserError, match="a file is in the place of a folder"):
        Watch(model(), text)
    assert [path.name for path in text.parent.iterdir()] == ["thesis.tex"]

    first = Watch(model(), tmp_path / "own")
    with pytest.raises(UserError, match="another run is writing this folder"):
        Watch(model(), tmp_path / "own")
    first.close()
    before = (tmp_path / "own" / "result.json").read_bytes()
    with pytest.raises(UserError, match="holds a finished run; overwrite=True replaces it"):
        Watch(model(), tmp_path / "own")
    assert (tmp_path / "own" / "result.json").read_bytes() == before
    Watch(model(), tmp_path / "own", overwrite=True).close()


def test_a_measure_that_fails_says_which(tmp_path: Path) -> None:
    def broken(weight: torch.Tensor) -> torch.Tensor:
        return weight.sum(0) if len(weight) == 2 else weight.sum()

    one = model()
    watch = Watch(one, tmp_path / "own", measures={"broken": broken})
    backward(one)
    with pytest.raises(UserError, match=r"broken: must give one number"):
        watch.step()
    assert not torch_modules._global_forward_hooks


def test_nothing_seen_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A backward pass of what ran before the watch: gradients are there, activations are not."""
    one = model()
    loss = one(torch.randn(5, 3)).sum()
    with caplog.at_level(logging.WARNING), Watch(one, tmp_path / "own", every=1) as watch:
        loss.backward()
        watch.step()
        watch.step()
    (line,) = [line for line in caplog.messages if "no call of the model with gradients" in line]
    assert line.endswith("activations are left out; inputs= gives a batch to take them on")


def test_a_model_without_weight_layers_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its parameters lie elsewhere than in modules with a `weight`: what steps say is written all the same."""
    one = nn.ParameterDict({"kernel": nn.Parameter(torch.ones(3, 2))})
    with caplog.at_level(logging.WARNING), Watch(one, tmp_path / "own", every=1) as watch:
        one["kernel"].sum().backward()
        watch.step(loss=2.5)
    assert [line for line in caplog.messages if "ParameterDict has no weight layer (a module with a param" in line]
    assert [row["batch_loss"] for row in rows(tmp_path / "own", "metrics")] == ["2.5"]


@pytest.mark.parametrize("look", ["watch", "profile"])
def test_a_pass_that_fails_is_told_of_as_it_is(tmp_path: Path, look: str) -> None:
    """With the model's own error and traceback, and whose pass it was; nothing stays."""
    one, wrong = model(), torch.ones(5, 7)
    with pytest.raises(RuntimeError, match="5x7 and 3x4") as error:
        fanin.profile(one, wrong) if look == "profile" else Watch(one, tmp_path / "own", inputs=wrong)
    assert error.value.__notes__ == ["fanin: so it was when Sequential was given inputs="]
    assert not torch_modules._global_forward_hooks
    assert not (tmp_path / "own" / "result.json").exists()
