"""Callbacks for other people's loops, called as those loops call them; the libraries are stood in for.

test_trainers.py has the libraries themselves, where they are installed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fanin
from own_loops import approx, copied, curve, layers, norm, rows, said


class Callback:
    """What Lightning's and transformers' callbacks derive from: every event does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None


@pytest.fixture
def standing_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Any]]:
    """Import a module of ours as if a library were installed."""
    before: dict[str, ModuleType | None] = {}

    def load(library: str, ours: str) -> Any:
        *above, name = library.split(".")
        for place in range(1, len(above) + 1):
            module = ModuleType(".".join(above[:place]))
            module.__path__ = []
            monkeypatch.setitem(sys.modules, module.__name__, module)
        setattr(module, name, Callback)
        before[ours] = sys.modules.pop(ours, None)
        return importlib.import_module(ours)

    yield load
    for ours, module in before.items():  # whoever has imported it before finds the same again
        del sys.modules[ours]
        if module is not None:
            sys.modules[ours] = module


def model() -> nn.Sequential:
    """5 -> 6 -> 3."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))


def loss_of(one: nn.Module, seed: int) -> Tensor:
    """Of a batch."""
    return one(torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))).square().mean() * 50


def test_lightning(tmp_path: Path, standing_in: Callable[[str, str], Any]) -> None:
    """Events in the order of its Trainer, two batches an update, clipped after the hook before the step."""
    ours = standing_in("lightning.pytorch.Callback", "fanin.own_models.lightning_watch")
    callback = ours.LightningWatch(tmp_path / "own", every=1)
    assert isinstance(callback, Callback)
    one = model()
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    trainer = SimpleNamespace(
        global_step=0, current_epoch=0, optimizers=[optimizer], accumulate_grad_batches=2, num_training_batches=4,
        precision_plugin=SimpleNamespace(), sanity_checking=True, callback_metrics={"val_loss": torch.tensor(9.0)},
    )  # fmt: skip
    callback.on_fit_start(trainer, one)
    callback.on_validation_end(trainer, one)
    trainer.sanity_checking = False
    callback.on_train_start(trainer, one)
    whole, losses = [], []
    for batch in range(4):
        loss = loss_of(one, batch) / 2
        loss.backward()
        losses.append(float(loss.detach()))
        if batch % 2:
            callback.on_before_optimizer_step(trainer, one, optimizer)
            whole.append(norm(copied(one[0].weight.grad)))  # type: ignore[arg-type]
            nn.utils.clip_grad_norm_(one.parameters(), 0.1)
            optimizer.step()
            trainer.global_step += 1
        callback.on_train_batch_end(trainer, one, {"loss": loss.detach()}, None, batch)
        if batch % 2:
            optimizer.zero_grad()
    trainer.callback_metrics = {"val_loss": torch.tensor(0.5), "accuracy": torch.tensor(0.25)}
    callback.on_validation_end(trainer, one)
    callback.on_fit_end(trainer, one)
    assert curve(tmp_path / "own", "gradient_norm", "0") == approx(whole)
    assert layers(tmp_path / "own", "update_ratio") == ["0", "2"]
    told = rows(tmp_path / "own", "metrics")
    assert [(row["step"], row["epoch"], row["lr"], row["val_loss"]) for row in told] == [
        ("1", "0.5", "0.1", ""),
        ("2", "1", "", "0.5"),
        ("2", "1", "", ""),
    ]
    # Of single precision, and float sums in another order.
    assert [float(row["batch_loss"]) for row in (told[0], told[2])] == pytest.approx(
        [losses[0] + losses[1], losses[2] + losses[3]], rel=2**-22
    )
    assert said(tmp_path / "own")["state"] == "done"

    broken = ours.LightningWatch(tmp_path / "broken")
    broken.on_fit_start(trainer, one)
    broken.on_exception(trainer, one, ValueError("of the loader"))
    assert said(tmp_path / "broken", "status")["error"] == "ValueError: of the loader"


def test_transformers(tmp_path: Path, standing_in: Callable[[str, str], Any]) -> None:
    """Events with (args, state, control) and the model by its name."""
    ours = standing_in("transformers.TrainerCallback", "fanin.own_models.transformers_watch")
    callback = ours.TransformersWatch(tmp_path / "own", every=1)
    one = model()
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    state, norms = SimpleNamespace(epoch=0.5, global_step=0), []
    callback.on_init_end(None, state, None, model=one)
    callback.on_train_begin(None, state, None, model=one, optimizer=optimizer)
    for step in range(3):
        loss_of(one, step).backward()
        norms.append(norm(copied(one[2].weight.grad)))  # type: ignore[arg-type]
        callback.on_pre_optimizer_step(None, state, None, model=one, optimizer=optimizer)
        optimizer.step()
        callback.on_optimizer_step(None, state, None, model=one, optimizer=optimizer)
        optimizer.param_groups[0]["lr"] /= 2
        optimizer.zero_grad()
        state.epoch += 0.25
        callback.on_step_end(None, state, None, model=one)
    callback.on_log(None, state, None, logs={"loss": 1.5, "learning_rate": 0.1, "grad_norm": 3.0, "epoch": 1.25})
    callback.on_log(None, state, None, logs={"eval_loss": 1.25})
    callback.on_train_end(None, state, None)
    assert curve(tmp_path / "own", "gradient_norm", "2") == approx(norms)
    assert layers(tmp_path / "own", "update_ratio") == ["0", "2"]
    first = rows(tmp_path / "own", "metrics")[0]
    assert (first["step"], first["epoch"], first["lr"]) == ("1", "0.75", "0.1")
    told = [row for row in rows(tmp_path / "own", "metrics") if row["batch_loss"] or row["val_loss"]]
    assert [(row["step"], row["epoch"], row["lr"], row["batch_loss"], row["val_loss"]) for row in told] == [
        ("3", "1.25", "0.1", "1.5", ""), ("3", "1.25", "", "", "1.25"),
    ]  # fmt: skip


def test_keras(tmp_path: Path) -> None:
    callback = fanin.KerasWatch(tmp_path / "own", every=1)
    one = model()
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    callback.set_params({"epochs": 2})
    callback.set_model(one)
    callback.on_train_begin()
    norms = []
    for epoch in range(2):
        callback.on_epoch_begin(epoch)
        callback.on_train_batch_begin(0)
        one.zero_grad()
        loss = loss_of(one, epoch)
        loss.backward()
        norms.append(norm(copied(one[0].weight.grad)))  # type: ignore[arg-type]
        optimizer.step()
        callback.on_train_batch_end(0, {"loss": loss.item()})
        callback.on_epoch_end(epoch, {"loss": 3.0, "val_loss": epoch / 4})
    callback.on_train_end()
    assert curve(tmp_path / "own", "gradient_norm", "0") == approx(norms)
    assert layers(tmp_path / "own", "update_ratio") == ["0", "2"]
    assert [row["val_loss"] for row in rows(tmp_path / "own", "metrics") if row["val_loss"]] == ["0", "0.25"]


def test_a_setting_that_no_watch_has(tmp_path: Path) -> None:
    """Said where it is written, not when the training begins."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'evry'"):
        fanin.KerasWatch(tmp_path / "own", evry=5)


@pytest.mark.parametrize(("name", "package"), [("LightningWatch", "lightning"), ("TransformersWatch", "transformers")])
def test_a_library_that_is_not_there(name: str, package: str) -> None:
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(fanin.UserError, match=rf"^fanin\.{name}: {package} is not installed; pip install {package}$"):
        getattr(fanin, name)("outputs/mine")
