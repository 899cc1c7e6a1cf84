"""The norm test against a hand computation in numpy, through a resumed run, alone and beside others."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from command_line import fanin, read, runs, table
from fanin.errors import OptionError
from fanin.parts.batch_schedules import Adaptive
from fanin.parts.data import Gaussian
from fanin.streams import generator
from fanin.train.example_gradients import gradient_moments
from fanin.train.trained_model import TrainedModel

KEYS = {"examples": 300, "features": 4, "classes": 3, "val_size": 60, "test_size": 10}
THETA, EVERY, BASE, STEPS, RATE = 0.5, 3, 6, 40, 0.5
COMMAND = (
    "data=gaussian", *(f"data.{key}={value}" for key, value in KEYS.items()), "model=linear", "initializer=zeros",
    "optimizer=sgd", f"optimizer.lr={RATE}", "batch=adaptive", f"batch.theta={THETA}", f"batch.every={EVERY}",
    f"trainer.batch_size={BASE}", f"trainer.steps={STEPS}", "trainer.precision=float64", "trainer.log_every=1",
    "probe=off", "hydra.sweep.dir=out",
)  # fmt: skip


def by_hand(seed: int, cap: int) -> tuple[list[int], npt.NDArray[np.float64]]:
    """The sizes of the batches, and W and b [3, 5] after the last step: softmax regression by its formulas."""
    data = Gaussian(**KEYS).load()
    x = np.column_stack([data.train_x.double().numpy(), np.ones(len(data.train_x))])
    y = np.eye(3)[data.train_y.numpy()]
    epochs = (torch.randperm(len(x), generator=generator(seed, "data", epoch)) for epoch in range(1000))
    row: list[int] = []
    theta, size, sizes = np.zeros((3, 5)), BASE, []
    for step in range(STEPS):
        while len(row) < size:
            row += next(epochs).tolist()
        chosen, row = row[:size], row[size:]
        sizes.append(size)
        scores = np.exp(x[chosen] @ theta.T)
        each = np.einsum("bk,bi->bki", scores / scores.sum(axis=1, keepdims=True) - y[chosen], x[chosen])
        g = each.mean(axis=0)
        if step % EVERY == 0 and size < cap:
            variance, square = each.var(axis=0, ddof=1).sum(), (g**2).sum()
            if variance / size > THETA**2 * square:
                size = min(cap, math.ceil(variance / (THETA**2 * square)))
        theta = theta - RATE * g
    return sizes, theta


@pytest.mark.parametrize(("more", "cap"), [pytest.param((), 240, marks=pytest.mark.slow), (("batch.max=50",), 50)])
def test_a_run_takes_the_batches_of_a_hand_computation(tmp_path: Path, more: tuple[str, ...], cap: int) -> None:
    said = fanin(tmp_path, *COMMAND, *more)
    assert said.code == 0, said.err
    (run,) = runs(tmp_path / "out").values()
    sizes, theta = by_hand(0, cap)
    assert BASE < sizes[len(sizes) // 2] <= sizes[-1] <= cap  # else nothing was tested
    rows = [row for row in table(run / "metrics.csv") if row["batch_loss"]]
    assert [int(float(row["examples"])) for row in rows] == np.cumsum(sizes).tolist()
    state = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"]
    found = np.column_stack([state["linear_1.weight"].numpy(), state["linear_1.bias"].numpy()])
    np.testing.assert_allclose(found, theta, rtol=1e-9, atol=1e-12)
    tested = sum(size for step, size in enumerate(sizes) if step % EVERY == 0 and size < cap)
    assert int(float(rows[-1]["gradients"])) == sum(sizes) + tested  # the tests' gradients count


@pytest.mark.slow
def test_a_resumed_run_and_runs_of_a_grid_have_batches_of_their_own(tmp_path: Path) -> None:
    for words in (("seed=1", "pause_at=17"), ("seed=1",), ("seed=0,1", "-m", "hydra.sweep.dir=grid")):
        said = fanin(tmp_path, *COMMAND, *words)
        assert said.code == 0, said.err
    paused = [read(run / "result.json") for run in runs(tmp_path / "out").values()]
    grid = {
        read(run / "result.json")["seeds"]["run"]: read(run / "result.json") for run in runs(tmp_path / "grid").values()
    }
    assert [one["examples"] for one in paused] == [sum(by_hand(1, 240)[0])]
    for seed in (0, 1):
        assert grid[seed]["examples"] == sum(by_hand(seed, 240)[0])
    assert grid[1]["metrics"] == paused[0]["metrics"]


def test_moments_are_those_of_each_examples_gradient() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    own = TrainedModel(model, torch.optim.SGD(model.parameters(), lr=0.1))
    x, y = torch.randn(7, 4, dtype=torch.float64), torch.randint(3, (7,))
    each = []
    for one, target in zip(x, y, strict=True):
        loss = nn.functional.cross_entropy(model(one[None]), target[None])
        each.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    stacked = torch.stack(each)
    variance, square = gradient_moments(own, x, y)
    assert variance == pytest.approx(float(stacked.var(dim=0).sum()), rel=1e-10)
    assert square == pytest.approx(float(stacked.mean(dim=0).square().sum()), rel=1e-10)


def test_the_test_at_its_edges() -> None:
    def sized(variance: float, square: float, **keys: int) -> int:
        made = Adaptive(theta=0.5, every=1, **keys)
        made.adapt(0, 4, 100, variance, square)
        return made.size(1, 4, 100)

    assert sized(4.0, 4.0) == 4  # V/n = theta^2 ||g||^2 passes
    assert sized(4.0, 4.0 * (1 - 1e-6)) == 5
    assert sized(20.0, 4.0) == 20
    assert sized(1.0, 0.0) == 100
    assert sized(0.0, 0.0) == 4  # examples that are all alike at a stationary point
    assert sized(math.nan, 1.0) == 4
    assert sized(1e9, 1.0, max=30) == 30
    for keys, line in (({"theta": 1}, "theta=1: must be a finite number > 0 and < 1"), ({"max": 0}, "max=0: must be")):
        with pytest.raises(OptionError, match=line):
            Adaptive(**keys)  # type: ignore[arg-type]


def test_batch_normalization_is_refused(tmp_path: Path) -> None:
    said = fanin(tmp_path, "batch=adaptive", "normalization=batch")
    line = (
        "fanin: normalization=batch: batch=adaptive needs the gradient of each example, which depends on no other "
        "here; take normalization=layer, or batch=growing"
    )
    assert (said.code, said.err) == (1, [line])
