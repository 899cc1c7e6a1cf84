"""Every group takes a user's own option, by YAML or typed: a run made of nothing else, and its numbers once more."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from command_line import fanin, read, runs, table
from fanin.catalogue import PARTS as GROUPS
from fanin.streams import generator

OWN = {
    "data/waves": "_target_: own_parts.Waves\nfeatures: 4\nval_size: 6",
    "preprocess/doubled": "_target_: own_parts.Doubled",
    "augment/shift": "shift:\n  _target_: own_parts.Shift\n  by: 0.1",
    "model/net": "_target_: own_parts.Net\nwidth: 5",
    "activation/sine": "_target_: own_parts.Sine\nfrequency: 2.0",
    "initializer/ramp": "_target_: own_parts.Ramp\ntop: 0.5",
    "normalization/halving": "_target_: own_parts.Halving\nplacement: pre_activation",
    "loss/twice": "_target_: own_parts.Twice",
    "regularizer/quartic": "quartic:\n  _target_: own_parts.Quartic\n  strength: 0.3",
    "optimizer/half_sign": "_target_: own_parts.HalfSign\nlr: 0.02\nshare: 0.5",
    "clipping/shrinking": "_target_: own_parts.Shrinking\nbound: 0.7",
    "noise/rising": "_target_: own_parts.Rising\neta: 0.0001",
    "averaging/halfway": "_target_: own_parts.Halfway",
    "schedule/fading": "_target_: own_parts.Fading\nfactor: 0.8",
    "batch/one_more": "_target_: own_parts.OneMore",
    "lr_scaling/squared": "_target_: own_parts.Squared",
    "probe/squares": "_target_: own_parts.Squares\nsize: 8",
}
LISTS = ("augment", "regularizer")
STEPS = 7


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands are typed: a folder with the module and, in own/, its options."""
    folder = tmp_path_factory.mktemp("groups")
    (folder / "own_parts.py").write_text(Path(__file__).with_name("own_parts.py").read_text())
    for name, content in OWN.items():
        (folder / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "own" / f"{name}.yaml").write_text(f"# a part of one's own\n{content}\n")
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    """A run of 7 steps in which every part is a user's own."""
    chosen = [name.split("/") for name in OWN]
    typed = [f"{group}=[{name}]" if group in LISTS else f"{group}={name}" for group, name in chosen]
    said = fanin(place, "--config-dir=own", *typed, "trainer.batch_size=4", f"trainer.steps={STEPS}",
                 "trainer.log_every=1", "trainer.device=cpu", "hydra.sweep.dir=all")  # fmt: skip
    assert (said.code, said.err) == (0, [])
    (found,) = runs(place / "all").values()
    return found


def test_every_group_is_here(place: Path) -> None:
    assert {name.partition("/")[0] for name in OWN} == set(GROUPS) - {"trainer", "evaluation"}  # those are settings
    listed = [line.split(maxsplit=1) for line in fanin(place, "--help", "--config-dir=own", fresh=True).out]
    for name in OWN:
        assert [name.partition("/")[2], "a part of one's own"] in listed


class Again:
    """The same training in float64, from what the parts say that they do; initial weights are ramps, biases 0."""

    def __init__(self) -> None:
        def ramp(*shape: int) -> Tensor:
            steps = torch.linspace(-0.5, 0.5, shape[0] * shape[1], dtype=torch.float64)
            return steps.view(shape).requires_grad_()

        def zeros(size: int) -> Tensor:
            return torch.zeros(size, dtype=torch.float64, requires_grad=True)

        self.theta = {
            "inner.weight": ramp(5, 4), "inner.bias": zeros(5), "outer.weight": ramp(3, 5), "outer.bias": zeros(3),
            "past.weight": ramp(3, 4),
        }  # fmt: skip
        self.average = {name: value.detach().clone() for name, value in self.theta.items()}
        number = torch.arange(48)
        self.x = 2 * torch.sin(number[:, None] * torch.arange(1, 5) / 7).double()
        self.y = number % 3
        self.gradients: dict[str, Tensor] = {}

    def loss(self, theta: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        hidden = torch.sin(2 * (x @ theta["inner.weight"].T + theta["inner.bias"]) / 2)
        scores = hidden @ theta["outer.weight"].T + theta["outer.bias"] + x @ theta["past.weight"].T
        return 2 * F.cross_entropy(scores, y)

    def step(self, step: int) -> tuple[float, float]:
        """The batch's loss, and the learning rate."""
        seen = sum(4 + at for at in range(step))
        row = torch.cat([torch.randperm(30, generator=generator(0, "data", epoch)) for epoch in range(3)])
        rows = row[seen : seen + 4 + step]
        loss = self.loss(self.theta, self.x[rows] + 0.1, self.y[rows])
        found = torch.autograd.grad(loss, list(self.theta.values()))
        self.gradients = dict(zip(self.theta, found, strict=True))
        rate = 0.02 * 0.8**step * ((4 + step) / 4) ** 2
        noise = torch.randn(5 * 4 + 5 + 3 * 5 + 3 + 3 * 4, generator=generator(0, "noise", step)).double()
        parts = (0.0001 * (1 + step)) ** 0.5 * noise
        with torch.no_grad():
            for name, gradient in self.gradients.items():
                value = self.theta[name]
                pulled = gradient + (0.3 * value**3 if name.endswith("weight") else 0)
                added, parts = parts[: value.numel()], parts[value.numel() :]
                g = 0.7 * pulled + added.view_as(value)
                value -= rate * (0.5 * g.sign() + 0.5 * g)
                self.average[name] = (self.average[name] + value) / 2
        return loss.item(), rate


def test_a_run_of_ones_own_parts_is_what_they_say(run: Path) -> None:
    """Float32 against float64 over seven steps of some tenths."""
    again, rows = Again(), table(run / "metrics.csv")
    curves = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    points: dict[str, dict[int, float]] = {
        tag: {event.step: event.value for event in curves.Scalars(tag)}
        for tag in curves.Tags()["scalars"]
        if tag.startswith("layers/")
    }
    norms = {}
    for step, row in enumerate(rows[:STEPS]):
        norms[step] = again.theta["past.weight"].norm().item()
        loss, rate = again.step(step)
        assert float(row["batch_loss"]) == pytest.approx(loss, rel=1e-4)
        assert float(row["lr"]) == pytest.approx(rate, rel=1e-12)
        if step in (0, 1, 4):  # gradients without the penalty and clipping
            gradient = again.gradients["past.weight"].norm().item()
            assert points["layers/gradient_norm/3_past"][step] == pytest.approx(gradient, rel=1e-3)
            assert points["layers/weight_norm/3_past"][step] == pytest.approx(norms[step], rel=1e-4)
    assert {tuple(point) for point in points.values()} == {(0, 1, 4)}
    assert [row["epoch"] for row in rows[:STEPS]][-1] == f"{49 / 30!r}"  # 4 + 5 + ... + 10 of 30 examples
    state = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    for name, value in again.theta.items():
        torch.testing.assert_close(state["model"][name].double(), value.detach(), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(
            state["average"]["tensors"][name].double(), again.average[name], rtol=1e-3, atol=1e-4
        )
    result = read(run / "result.json")
    for part, rows_of in (("val", slice(30, 36)), ("test", slice(36, 48))):
        loss = again.loss(again.average, again.x[rows_of], again.y[rows_of]).item()
        assert result["metrics"][f"{part}_loss"] == pytest.approx(loss, rel=1e-4)
    assert (result["state"], result["parameters"]) == ("done", 20 + 5 + 15 + 3 + 12)
    chosen = dict(tuple(one.split("/")) for one in OWN)
    assert {group: result["overrides"][group] for group in chosen} == chosen


def test_probes_see_ones_own_layers(run: Path) -> None:
    rows = table(run / "profiles.csv")
    assert list(dict.fromkeys(row["snapshot"] for row in rows)) == ["init", "2", "final"]
    found = {
        (row["axis"], row["layer"], row["quantity"]): float(row["value"])
        for row in rows
        if row["snapshot"] == "init" and row["value"]
    }
    for quantity in ("activation_norm", "gradient_norm", "weight_norm", "weight_movement"):
        assert [layer for axis, layer, what in found if (axis, what) == ("weight", quantity)] == [
            "inner",
            "outer",
            "past",
        ]
    modules = [layer for axis, layer, what in found if (axis, what) == ("module", "activation_norm")]
    assert modules == ["input", "inner", "norm", "act", "outer", "past"]
    halved = found["module", "inner", "activation_norm"] / 2
    assert found["module", "norm", "activation_norm"] == pytest.approx(halved, rel=1e-6)
    ramp = torch.linspace(-0.5, 0.5, 20, dtype=torch.float64)
    assert found["weight", "inner", "weight_norm"] == pytest.approx(ramp.norm().item(), rel=1e-6)
    assert {row["theory"] for row in rows if row["quantity"] == "activation_norm"} == {""}


# ---- typed, without a file


DIRECT = """
from torch import nn

class Net(nn.Module):
    def __init__(self, *, in_features, out_features, activation, depth, width, bias):
        super().__init__()
        sizes = [in_features] + [width] * (depth - 1)
        pairs = [(nn.Linear(n, m, bias=bias), activation()) for n, m in zip(sizes, sizes[1:])]
        inner = [module for pair in pairs for module in pair]
        self.layers = nn.Sequential(nn.Flatten(), *inner, nn.Linear(width, out_features))

    def forward(self, x):
        return self.layers(x)
"""
TYPED = ("model._target_=my_module.Net", "model.depth=3", "model.width=8", "activation._target_=torch.nn.SiLU",
         "optimizer._target_=torch.optim.SGD", "+optimizer.momentum=0.9", "+optimizer.nesterov=true",
         "data.image_size=8", "trainer.batch_size=50", "trainer.device=cpu", "trainer.log_every=1")  # fmt: skip


@pytest.mark.slow
def test_a_model_and_torchs_optimizer_typed_directly(place: Path) -> None:
    """Against the plain loop: torch's own classes on the same batches, from the weights that a rate of 0 leaves."""
    (place / "my_module.py").write_text(DIRECT)
    for steps, lr in ((1, 0), (6, 0.1)):
        said = fanin(place, *TYPED, f"trainer.steps={steps}", f"optimizer.lr={lr}", f"hydra.sweep.dir=typed_{steps}")
        assert (said.code, said.err) == (0, [])
    (start,), (end,) = (list(runs(place / f"typed_{steps}").values()) for steps in (1, 6))
    before, after = (torch.load(one / "checkpoints" / "last.pt", weights_only=True)["model"] for one in (start, end))
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.SiLU(), nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 10),
    )  # fmt: skip
    net.load_state_dict({name.removeprefix("layers."): value for name, value in before.items()})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    from fanin.parts.data import Digits

    data, losses = Digits(image_size=8).load(), []
    order = torch.randperm(len(data.train_x), generator=generator(0, "data", 0))
    for rows in order[:300].view(6, 50):
        loss = F.cross_entropy(net(data.train_x[rows]), data.train_y[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert [float(row["batch_loss"]) for row in table(end / "metrics.csv")[:6]] == pytest.approx(losses, rel=1e-6)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(after[f"layers.{name}"], value, rtol=1e-5, atol=1e-7)
    layers = {row["layer"] for row in table(end / "profiles.csv") if row["axis"] == "weight"}
    assert layers == {"layers.1", "layers.3", "layers.5"}
    theirs = read(end / "result.json")["overrides"]
    assert (theirs["model._target_"], theirs["optimizer.momentum"]) == ("my_module.Net", 0.9)
