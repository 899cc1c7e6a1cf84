"""A regularizer of a new kind is a class that overrides the method of a moment, and a YAML: one for every moment."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from command_line import fanin, read, runs
from fanin.parts.data import Gaussian

OWN = {
    "multiplied": "_target_: own_parts.Multiplied\n  factor: 3.0",
    "aside": "_target_: own_parts.Aside\n  by: 0.25",
    "halves": "_target_: own_parts.Halves\n  share: 0.5",
    "grid": "_target_: own_parts.Grid\n  spacing: 0.0625",
    "amplified": "_target_: own_parts.Amplified",
    "few": "_target_: own_parts.Few\n  evaluations: 3",
}
DATA = {"examples": 70, "features": 5, "classes": 3, "val_size": 10, "test_size": 10}
COMMAND = (
    "--config-dir=own", "data=gaussian", *(f"data.{key}={value}" for key, value in DATA.items()), "model.width=4",
    "initializer=ramp", "trainer.batch_size=all", "trainer.device=cpu", "probe.batch_size=20", "optimizer.lr=0.5",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands are typed."""
    folder = tmp_path_factory.mktemp("regularizers")
    (folder / "own_parts.py").write_text(Path(__file__).with_name("own_parts.py").read_text())
    for group in ("regularizer", "initializer"):
        (folder / "own" / group).mkdir(parents=True)
    for name, content in OWN.items():
        (folder / "own" / "regularizer" / f"{name}.yaml").write_text(f"# one's own\n{name}:\n  {content}\n")
    (folder / "own" / "initializer" / "ramp.yaml").write_text("# one's own\n_target_: own_parts.Ramp\ntop: 0.5\n")
    return folder


def test_the_moments_of_a_step(place: Path) -> None:
    """w <- grid(w / 2 - 0.5 * 3 g(w + 0.25 sign(g(w)))), five times, against the same by hand."""
    said = fanin(place, *COMMAND, "model.depth=1", "model.bias=false", "trainer.steps=5",
                 "regularizer=[multiplied,aside,halves,grid]",
                 "hydra.sweep.dir=step")  # fmt: skip
    assert (said.code, said.err) == (0, [])
    (run,) = runs(place / "step").values()
    data = Gaussian(**DATA).load()

    def gradient(at: Tensor) -> Tensor:
        leaf = at.requires_grad_()
        return torch.autograd.grad(F.cross_entropy(data.train_x @ leaf.T, data.train_y), [leaf])[0]

    w = torch.linspace(-0.5, 0.5, 15).view(3, 5)
    for _ in range(5):
        g = 3 * gradient(w + 0.25 * gradient(w.clone()).sign())
        w = ((w / 2 - 0.5 * g) / 0.0625).round() * 0.0625
    state = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"]
    torch.testing.assert_close(state["linear_1.weight"], w, rtol=0, atol=0)


def test_the_moments_beside_it(place: Path) -> None:
    """A module behind the hidden layer, seen by the probe, and an end of its own."""
    said = fanin(place, *COMMAND, "model.depth=2", "trainer.steps=9", "trainer.eval_every=1", "trainer.log_every=1",
                 "regularizer=[amplified,few]", "hydra.sweep.dir=beside")  # fmt: skip
    assert (said.code, said.err) == (0, [])
    (run,) = runs(place / "beside").values()
    assert (read(run / "result.json")["steps"], read(run / "result.json")["state"]) == (3, "done")
    rows = [row.split(",") for row in (run / "profiles.csv").read_text().splitlines()]
    places = {name: rows[0].index(name) for name in ("snapshot", "axis", "layer", "quantity", "value")}
    found = {
        row[places["layer"]]: float(row[places["value"]])
        for row in rows[1:]
        if [row[places[key]] for key in ("snapshot", "axis", "quantity")] == ["init", "module", "activation_norm"]
    }
    assert list(found) == ["input", "linear_1", "relu_1", "dropout_1", "linear_2"]
    assert found["dropout_1"] == pytest.approx(2 * found["relu_1"], rel=1e-6)
