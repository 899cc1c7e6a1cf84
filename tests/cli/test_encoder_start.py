"""An autoencoder's and a vae's encoder start an mlp: initializer=pretrained with rename."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from command_line import fanin, read, runs

SMALL = ("data.image_size=8", "data.limit=200", "trainer.steps=5", "trainer.device=cpu", "probe=off", "model.width=12")
CODER = ("model.depth=2", "model.latent=4", "optimizer=adam")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "loss"), [(("model=autoencoder", "model.noise=0.2"), "reconstruction"), (("model=vae",), "elbo")]
)
def test_an_encoder_starts_an_mlp(tmp_path: Path, model: tuple[str, ...], loss: str) -> None:
    said = fanin(tmp_path, *model, f"loss={loss}", *SMALL, *CODER, "hydra.sweep.dir=first")
    assert said.code == 0, said.err
    (first,) = runs(tmp_path / "first").values()
    assert read(first / "result.json")["task"] == "reconstruction"
    keys = (f"initializer.path='{first}'", "initializer.rename={encoder.*: '*'}")
    typed = ("model=mlp", "model.depth=2", "initializer=pretrained", *keys, 'initializer.include=["linear_1*"]')
    said = fanin(tmp_path, *typed, *SMALL, "initializer.freeze=['linear_1*']", "hydra.sweep.dir=second")
    assert said.code == 0, said.err
    (second,) = runs(tmp_path / "second").values()
    ours, theirs = (torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"] for run in (second, first))
    for name in ("weight", "bias"):
        torch.testing.assert_close(ours[f"linear_1.{name}"], theirs[f"encoder.linear_1.{name}"], rtol=0, atol=0)
