"""Fine-tuning by the command: a run's weights as the next one's start, some of them frozen, on its data or others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_mnist import Tiny
from torch import Tensor

from command_line import Said, fanin, read, runs, table, untimed

SIZE = ("model.depth=3", "model.width=16", "trainer.device=cpu", "trainer.log_every=1", "probe.every=2")
COMMAND = (*SIZE, "data.limit=300", "data.val_size=50", "trainer.steps=9", "optimizer.lr=0.1")
# Each of these moves all weights that are trained, and none may touch those that are not.
RECIPE = ("regularizer=[l1,l2,weight_decay,max_norm]", "regularizer.max_norm.bound=0.5", "clipping=norm",
          "optimizer=adam", "optimizer.lr=0.01", "seed=1")  # fmt: skip

INTERRUPTING = """
import os, signal
from torch import nn

passes = 0

class Interrupting(nn.ReLU):
    def forward(self, x):
        global passes
        passes += self.training and x.ndim > 1  # theory asks it, too, for numbers
        if passes == int(os.environ.get("INTERRUPT_AT", -1)):
            os.kill(os.getpid(), signal.SIGINT)
        return super().forward(x)
"""


def weights(run: Path, checkpoint: str = "last") -> dict[str, Tensor]:
    """Those that a run has left."""
    state: dict[str, Any] = torch.load(run / "checkpoints" / f"{checkpoint}.pt", weights_only=True)
    return state["model"]  # type: ignore[no-any-return]


def only(grid: Path) -> Path:
    """The one run of a folder."""
    (run,) = runs(grid).values()
    return run


def from_(run: Path, *keys: str) -> list[str]:
    """The overrides that take a run's weights; its name has characters that Hydra wants in quotes."""
    return ["initializer=pretrained", f"initializer.path='{run}'", *(f"initializer.{key}" for key in keys)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all commands are typed; an activation that presses Ctrl-C lies there."""
    folder = tmp_path_factory.mktemp("tune")
    (folder / "own" / "activation").mkdir(parents=True)
    (folder / "own" / "activation" / "interrupting.yaml").write_text(
        "_target_: pressing.Interrupting\n_partial_: true\n"
    )
    (folder / "pressing.py").write_text(INTERRUPTING)
    return folder


@pytest.fixture(scope="module")
def source(place: Path) -> Path:
    """A run on the digits, relative to the place."""
    assert fanin(place, *COMMAND, "hydra.sweep.dir=first").code == 0
    return only(place / "first").relative_to(place)


@pytest.fixture(scope="module")
def tuned(place: Path, source: Path) -> tuple[Said, Path]:
    """The first layer frozen, the second loaded and trained, the third drawn."""
    keys = ('include=["linear_[12]*"]', 'freeze=["linear_1*"]')
    return fanin(place, *COMMAND, *RECIPE, *from_(source, *keys), "hydra.sweep.dir=tuned"), place / "tuned"


def test_frozen_layers_keep_every_bit_and_the_others_move(place: Path, source: Path, tuned: tuple[Said, Path]) -> None:
    said, folder = tuned
    assert (said.code, said.err) == (0, [])
    before, after = weights(place / source), weights(only(folder))
    assert after.keys() == before.keys()
    kept = {name for name, value in after.items() if torch.equal(value, before[name])}
    assert kept == {"linear_1.weight", "linear_1.bias"}
    # nine steps of Adam at 0.01 move a weight by at most 0.09, twice that where decay and bounds help
    moved = (after["linear_2.weight"] - before["linear_2.weight"]).abs()
    assert float(moved.median()) > 0.001
    still = weights(place / source)["linear_3.weight"]
    assert float((after["linear_3.weight"] - still).norm() / still.norm()) > 0.5, "drawn anew"
    result = read(only(folder) / "result.json")
    assert (result["state"], result["steps"]) == ("done", 9)
    assert result["overrides"]["initializer.freeze"] == ["linear_1*"]


def test_profiles_and_curves_of_frozen_layers(tuned: tuple[Said, Path]) -> None:
    """They start at the old run's end; there is no gradient and no movement where nothing is trained."""
    rows = table(only(tuned[1]) / "profiles.csv")
    for quantity, snapshot in (("gradient_norm", "init"), ("gradient_norm", "final"), ("weight_movement", "final")):
        found = {
            row["layer"]: float(row["value"])
            for row in rows
            if (row["axis"], row["quantity"], row["snapshot"]) == ("weight", quantity, snapshot)
        }
        assert list(found) == ["linear_1", "linear_2", "linear_3"]
        assert [value > 0 for value in found.values()] == [False, True, True]
    sources = {row["source"] for row in rows if row["quantity"] == "activation_norm"}
    assert all(source == "" or source.startswith("redraw of ") for source in sources), "no law speaks of them"


def test_without_freezing_a_run_starts_where_the_other_ended(place: Path, source: Path) -> None:
    """Everything loaded: the first batch's loss is that of the old weights, and everything moves."""
    command = ("optimizer.lr=0.1", "seed=0", *from_(source), "trainer.epochs=1", "trainer.steps=null")
    assert fanin(place, *COMMAND, *command, "hydra.sweep.dir=all").code == 0
    run, before = only(place / "all"), weights(place / source)
    assert all(not torch.equal(value, before[name]) for name, value in weights(run).items())
    old, new = table(place / source / "metrics.csv"), table(run / "metrics.csv")
    # Seed 0 begins with the very batches of the old run's first epoch, which by then have been seen three times.
    assert float(new[0]["batch_loss"]) < float(old[0]["batch_loss"])
    ended, began = (
        {(row["axis"], row["index"]): row["value"] for row in table(one / "profiles.csv")
         if (row["snapshot"], row["quantity"]) == (snapshot, "activation_norm")}
        for one, snapshot in ((place / source, "final"), (run, "init"))
    )  # fmt: skip
    assert began == ended, "the probe batch is the seed's"


@pytest.mark.slow
def test_an_interrupted_fine_tuning_goes_on(place: Path, source: Path) -> None:
    keys = ('include=["linear_[12]*"]', 'freeze=["linear_1*","linear_2.bias"]')
    own = ("--config-dir=own", "activation=interrupting", "probe.band=off")  # whose redraws are passes, too
    command = (*own, *COMMAND, *RECIPE, "averaging=ema", *from_(source, *keys))
    whole = fanin(place, *command, "hydra.sweep.dir=whole")
    assert whole.code == 0
    stopped = fanin(place, *command, "hydra.sweep.dir=stopped", INTERRUPT_AT="14")
    assert stopped.code == 130
    run = only(
        place / "stopped"
    )  # two of them in the network, and the profile at init and theory's looks are passes, too
    assert (read(run / "status.json")["state"], read(run / "status.json")["step"]) == ("interrupted", 5)
    assert fanin(place, *command, "hydra.sweep.dir=stopped").code == 0
    assert "at step 5" in (run / "run.log").read_text()
    assert untimed(run) == untimed(only(place / "whole"))
    ends = [torch.load(one / "checkpoints" / "last.pt", weights_only=True) for one in (run, only(place / "whole"))]
    for part in ("model", "average"):
        first, second = (end[part].get("tensors", end[part]) for end in ends)
        assert all(torch.equal(first[name], second[name]) for name in second)
    before = weights(place / source)
    kept = {name for name, value in ends[0]["model"].items() if torch.equal(value, before[name])}
    assert kept == {"linear_1.weight", "linear_1.bias", "linear_2.bias"}


def test_a_model_of_another_width_is_one_line_and_leaves_nothing(place: Path, source: Path) -> None:
    before = sorted(place.rglob("*"))
    said = fanin(place, *COMMAND, *from_(source), "model.width=20", "hydra.sweep.dir=wrong")
    assert (said.code, said.out) == (1, [])
    assert said.err == [
        f"fanin: initializer.path={source}: must be a run whose parameters fit the model; "
        "linear_1.weight: checkpoint (16, 784), model (20, 784); linear_1.bias: checkpoint (16,), model (20,); "
        "linear_2.weight: checkpoint (16, 16), model (20, 20); linear_2.bias: checkpoint (16,), model (20,); "
        "linear_3.weight: checkpoint (10, 16), model (10, 20); choose by include and exclude, or strict=false"
    ]
    assert sorted(path for path in place.rglob("*") if "__pycache__" not in path.parts) == [
        path for path in before if "__pycache__" not in path.parts
    ]


def test_a_grid_with_a_source_that_does_not_fit_is_refused_whole(place: Path, source: Path) -> None:
    said = fanin(place, "-m", *COMMAND, *from_(source), "model.width=16,20", "hydra.sweep.dir=grid")
    assert (said.code, said.out, len(said.err)) == (1, [], 1)
    assert "linear_3.weight: checkpoint (10, 16), model (10, 20)" in said.err[0]
    assert not (place / "grid").exists()


@pytest.mark.slow
def test_from_digits_to_mnist(place: Path, source: Path, tmp_path: Path) -> None:
    """Both are 28 x 28: the first two layers are the digits', the last one is made anew for another data set."""
    Tiny().write(tmp_path, unpacked=True)
    keys = ('include=["linear_[12]*"]', 'freeze=["linear_1*"]')
    data = ("data=mnist", f"data.root={tmp_path}", "data.val_size=10", "trainer.batch_size=10", "probe.batch_size=10")
    said = fanin(place, *SIZE, *data, "trainer.steps=6", *from_(source, *keys), "hydra.sweep.dir=mnist")
    assert (said.code, said.err) == (0, [])
    before, after = weights(place / source), weights(only(place / "mnist"))
    assert {name for name, value in after.items() if torch.equal(value, before[name])} == {
        "linear_1.weight", "linear_1.bias",
    }  # fmt: skip
    assert [row["epoch"] for row in table(only(place / "mnist") / "metrics.csv")][-1] == "2"


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("FANIN_DATA"), reason="FANIN_DATA is not set: real MNIST was not tuned from")
def test_from_mnist_to_fashion_mnist(place: Path) -> None:
    """Both hidden layers stay those of the digits, and the last one learns to tell clothes by them."""
    root = os.environ["FANIN_DATA"]
    if not (Path(root) / "FashionMNIST").is_dir():
        pytest.skip("FANIN_DATA has no FashionMNIST")
    size = (*SIZE, "model.width=64", f"data.root={root}", "data.limit=4000", "optimizer=adam", "optimizer.lr=0.003",
            "trainer.eval_every=120", "trainer.log_every=40")  # fmt: skip
    assert fanin(place, *size, "data=mnist", "trainer.steps=240", "hydra.sweep.dir=real").code == 0
    source = only(place / "real")
    assert read(source / "result.json")["metrics"]["test_error"] < 0.12
    keys = ('include=["linear_[12]*"]', 'freeze=["linear_[12]*"]')
    tune = ("data=fashion_mnist", "trainer.steps=120")
    assert fanin(place, *size, *tune, *from_(source, *keys), "hydra.sweep.dir=fashion").code == 0
    result = read(only(place / "fashion") / "result.json")
    before, after = weights(source), weights(only(place / "fashion"))
    kept = {name for name, value in after.items() if torch.equal(value, before[name])}
    assert kept == {f"linear_{layer}.{part}" for layer in (1, 2) for part in ("weight", "bias")}
    assert result["metrics"]["test_error"] < 0.6, "of 0.9 by chance"


@pytest.mark.slow
def test_a_finished_run_is_evaluated_where_nothing_is_trained(place: Path, source: Path) -> None:
    """With no step, the numbers of its best or last weights on all parts are told; a fresh network has none."""
    said = fanin(
        place,
        *SIZE,
        "data.limit=300",
        "data.val_size=50",
        "trainer.steps=0",
        *from_(source),
        "hydra.sweep.dir=evaluated",
    )
    found, trained = read(only(place / "evaluated") / "result.json"), read(place / source / "result.json")
    assert (said.code, found["outcome"]) == (0, "evaluated")
    for name in ("train_loss", "train_error", "val_loss", "val_error", "test_loss", "test_error"):
        assert found["metrics"][name] == trained["metrics"][name]
    assert found["evaluation"] == trained["evaluation"]
    (row,) = table(only(place / "evaluated") / "metrics.csv")
    assert (row["step"], float(row["test_error"])) == ("0", found["metrics"]["test_error"])
    assert f"test loss {found['metrics']['test_loss']:.4f}" in said.out[0]
    fanin(place, *SIZE, "trainer.steps=0", "hydra.sweep.dir=fresh")
    assert read(only(place / "fresh") / "result.json")["metrics"]["test_loss"] is None
