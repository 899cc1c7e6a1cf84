"""Callbacks in the libraries' own trainers, where these are installed: against plain loops and hooks of the test's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus
from torch.utils.data import DataLoader, TensorDataset

import fanin
from other_networks import Gan
from own_loops import approx, curve, layers, norm, rows, said

QUIET: dict[str, Any] = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
    "accelerator": "cpu",
}  # fmt: skip
INPUTS = torch.randn(20, 5, generator=torch.Generator().manual_seed(3))  # 5 batches of 4


def network() -> nn.Sequential:
    """5 -> 6 -> 3."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))


@pytest.fixture
def lightning(caplog: pytest.LogCaptureFixture) -> Any:
    """lightning.pytorch, which says little."""
    found = pytest.importorskip("lightning.pytorch")
    caplog.set_level(logging.ERROR, "lightning.pytorch")
    return found


def module(lightning: Any) -> Any:
    """The network with a loss of 50 times its mean square, as a LightningModule."""

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = network()
            self.fails_at = -1

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            if batch_idx == self.fails_at:
                raise ValueError("of the loader")
            return self.net(batch[0]).square().mean() * 50

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.net(batch[0]).square().mean() * 50)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Module()


def by_hand(clip: float) -> tuple[nn.Sequential, list[float], list[float], list[float]]:
    """Two epochs of updates on 2, 2 and 1 batches; the gradients' norms before clipping, mean and validation losses."""
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    norms, losses, validated = [], [], []
    for _ in range(2):
        for group in (slice(0, 2), slice(2, 4), slice(4, 5)):
            values = [net(one).square().mean() * 50 for one in INPUTS.split(4)[group]]
            optimizer.zero_grad()
            for value in values:
                (value / 2).backward()
            norms.append(norm(net[0].weight.grad))  # type: ignore[arg-type]
            nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
            losses.append(float(torch.stack(values).mean().detach()))
        validated.append(float(net(INPUTS).detach().square().mean() * 50))
    return net, norms, losses, validated


@pytest.mark.filterwarnings("ignore")
def test_lightning(lightning: Any, tmp_path: Path) -> None:
    """Accumulated and clipped; the training is that of the loop by hand, to the bit."""
    one, data = module(lightning), DataLoader(TensorDataset(INPUTS), batch_size=4)
    callback = fanin.LightningWatch(tmp_path / "own", every=1, log_every=1)
    trainer = lightning.Trainer(
        max_epochs=2, accumulate_grad_batches=2, gradient_clip_val=0.1, callbacks=[callback], **QUIET
    )
    trainer.fit(one, data, data)
    plain, norms, losses, validated = by_hand(0.1)
    assert all(torch.equal(mine, its) for mine, its in zip(one.net.parameters(), plain.parameters(), strict=True))
    assert curve(tmp_path / "own", "gradient_norm", "net.0") == approx(norms)
    assert layers(tmp_path / "own", "update_ratio") == ["net.0", "net.2"]
    told = rows(tmp_path / "own", "metrics")
    steps = [row for row in told if row["batch_loss"]]
    assert [float(row["batch_loss"]) for row in steps] == pytest.approx(losses, rel=2**-21)
    assert [float(row["epoch"]) for row in steps] == pytest.approx([0.4, 0.8, 1.0, 1.4, 1.8, 2.0])
    assert {row["lr"] for row in steps} == {"0.1"}
    assert [float(row["val_loss"]) for row in told if row["val_loss"]] == pytest.approx(validated, rel=2**-21)
    assert (said(tmp_path / "own")["state"], said(tmp_path / "own")["steps"]) == ("done", 6)


@pytest.mark.filterwarnings("ignore")
def test_lightning_with_a_scaler(lightning: Any, tmp_path: Path) -> None:
    """The loss is multiplied by 2^10, and nothing that is measured is."""
    from lightning.pytorch.plugins import MixedPrecision

    def trained(folder: str, **settings: Any) -> Path:
        trainer = lightning.Trainer(
            max_steps=2, callbacks=[fanin.LightningWatch(tmp_path / folder, **watching)], **QUIET, **settings
        )
        trainer.fit(module(lightning), DataLoader(TensorDataset(INPUTS), batch_size=4))
        return tmp_path / folder

    watching: dict[str, Any] = {"every": 1, "curves": ("gradient_norm", "activation_gradient_norm", "update_ratio")}
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    scaled = trained("scaled", plugins=MixedPrecision("16-mixed", "cpu", scaler=scaler))
    plain = trained("plain")
    for quantity in watching["curves"]:
        for layer in ("net.0", "net.2"):
            # Float16 has 11 bits: a half of 2^-10 for each of a few roundings a value.
            assert curve(scaled, quantity, layer) == pytest.approx(curve(plain, quantity, layer), rel=2**-7)


@pytest.mark.filterwarnings("ignore")
def test_lightning_that_fails(lightning: Any, tmp_path: Path) -> None:
    one = module(lightning)
    one.fails_at = 2
    callback = fanin.LightningWatch(tmp_path / "own", every=1)
    trainer = lightning.Trainer(max_epochs=1, callbacks=[callback], **QUIET)
    with pytest.raises(ValueError, match="of the loader"):
        trainer.fit(one, DataLoader(TensorDataset(INPUTS), batch_size=4))
    told = said(tmp_path / "own", "status")
    assert (told["state"], told["error"], told["step"]) == ("failed", "ValueError: of the loader", 2)
    assert callback.watch is None


@pytest.mark.filterwarnings("ignore")
def test_lightning_with_two_optimizers(lightning: Any, tmp_path: Path) -> None:
    """A GAN that steps them itself: a batch is a step of the watch, with the gradient of each network's own loss."""
    norms: list[tuple[float, float]] = []

    class Playing(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.gan, self.automatic_optimization = Gan(), False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            noise, (makes, judges), gan = torch.randn(4, 3), self.optimizers(), self.gan
            self.toggle_optimizer(makes)
            makes.zero_grad()
            self.manual_backward(softplus(-gan.discriminator(gan.generator(noise))).mean())
            makes.step()
            self.untoggle_optimizer(makes)
            first = norm(gan.generator[0].weight.grad)
            self.toggle_optimizer(judges)
            judges.zero_grad()
            fake, real = gan.discriminator(gan.generator(noise).detach()), gan.discriminator(batch[0])
            self.manual_backward((softplus(fake) + softplus(-real)).mean())
            judges.step()
            self.untoggle_optimizer(judges)
            norms.append((first, norm(gan.discriminator[0].weight.grad)))

        def configure_optimizers(self) -> list[torch.optim.Optimizer]:
            parts = (self.gan.generator, self.gan.discriminator)
            return [torch.optim.SGD(part.parameters(), lr=0.1) for part in parts]

    callback = fanin.LightningWatch(tmp_path / "own", every=1)
    data = DataLoader(TensorDataset(INPUTS[:12, :4]), batch_size=4)
    lightning.Trainer(max_epochs=1, callbacks=[callback], **QUIET).fit(Playing(), data)
    for place, layer in enumerate(("gan.generator.0", "gan.discriminator.0")):
        assert curve(tmp_path / "own", "gradient_norm", layer) == approx([pair[place] for pair in norms])
        assert all(value > 0 for value in curve(tmp_path / "own", "update_ratio", layer))
    assert said(tmp_path / "own")["steps"] == 3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_transformers(tmp_path: Path, clip: float) -> None:
    """A GPT-2 of 2 blocks: norms are those that torch gives a callback of the test, and training is the same."""
    library = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    seen: list[float] = []
    rates: list[float] = []

    class Sees(library.TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen.append(norm(kwargs["model"].transformer.h[0].mlp.c_fc.weight.grad))
            rates.append(kwargs["optimizer"].param_groups[0]["lr"])

    def trained(callbacks: list[Any]) -> tuple[Any, Any]:
        torch.manual_seed(0)
        config = library.GPT2Config(
            vocab_size=11, n_positions=6, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
        )
        model = library.GPT2LMHeadModel(config)
        data = [{"input_ids": one, "labels": one} for one in torch.randint(11, (24, 6))]
        arguments = library.TrainingArguments(
            str(tmp_path / "theirs"), max_steps=4, per_device_train_batch_size=4, gradient_accumulation_steps=2,
            logging_steps=2, eval_strategy="steps", eval_steps=2, learning_rate=0.01, max_grad_norm=clip, use_cpu=True,
            report_to=[], save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        trainer = library.Trainer(model, arguments, train_dataset=data, eval_dataset=data, callbacks=callbacks)
        trainer.train()
        return model, trainer.state.log_history

    plain, _ = trained([])
    model, history = trained([fanin.TransformersWatch(tmp_path / "own", every=1, log_every=1), Sees()])
    assert all(torch.equal(mine, its) for mine, its in zip(model.parameters(), plain.parameters(), strict=True))
    assert len(seen) == 4
    assert curve(tmp_path / "own", "gradient_norm", "transformer.h.0.mlp.c_fc") == approx(seen)
    assert all(value > 0 for value in curve(tmp_path / "own", "update_ratio", "lm_head"))
    told = rows(tmp_path / "own", "metrics")
    steps = [row for row in told if row["lr"] and not row["batch_loss"]]
    # 24 examples are 3 updates of 2 batches.
    assert [(float(row["lr"]), float(row["epoch"])) for row in steps] == [
        (pytest.approx(rate), pytest.approx((step + 1) / 3)) for step, rate in enumerate(rates)
    ]
    for name, column in (("loss", "batch_loss"), ("eval_loss", "val_loss")):
        logged = [(one["step"], one[name]) for one in history if name in one]
        assert len(logged) == 2
        assert [(int(row["step"]), float(row[column])) for row in told if row[column]] == logged
    assert (said(tmp_path / "own")["state"], said(tmp_path / "own")["steps"]) == ("done", 4)


def test_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Its own models keep their weights apart from their layers, which is said; losses are those that it tells."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("keras was imported with another backend")
    keras.utils.set_random_seed(0)
    one = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(3)])
    one.compile(optimizer="sgd", loss="mse", jit_compile=False)
    inputs = INPUTS.numpy()
    callback = fanin.KerasWatch(tmp_path / "own", every=1, log_every=1)
    history = one.fit(
        inputs, inputs[:, :3], batch_size=4, epochs=2, verbose=0, validation_data=(inputs, inputs[:, :3]),
        callbacks=[callback],
    ).history  # fmt: skip
    told = rows(tmp_path / "own", "metrics")
    steps = [row for row in told if row["batch_loss"]]
    assert [float(steps[last]["batch_loss"]) for last in (4, 9)] == history["loss"]
    assert [float(row["val_loss"]) for row in told if row["val_loss"]] == history["val_loss"]
    assert [float(row["epoch"]) for row in steps] == pytest.approx([(step + 1) / 5 for step in range(10)])
    assert sum("has no weight layer" in line for line in caplog.messages) == 1
