"""Every group takes a user's own option, by YAML or typed: a run made of nothing else, and its numbers once more."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from command_line import Said, fanin, read, runs, table
from fanin.build import GROUPS, check
from fanin.config_folder import config_folder
from fanin.identity import identify, without_hydra
from fanin.resolvers import register_resolvers
from fanin.streams import generator

OWN = {
    "data/waves": "_target_: own_parts.Waves\nfeatures: 4\nval_size: 6",
    "preprocess/doubled": "_target_: own_parts.Doubled",
    "augment/shift": "shift:\n  _target_: own_parts.Shift\n  by: 0.1",
    "model/net": "_target_: own_parts.Net\nwidth: 5",
    "activation/sine": "_target_: own_parts.Sine\n_partial_: true\nfrequency: 2.0",
    "initializer/ramp": "_target_: own_parts.Ramp\ntop: 0.5",
    "normalization/halving": "_target_: own_parts.Halving\nplacement: pre_activation",
    "loss/twice": "_target_: own_parts.Twice",
    "regularizer/quartic": "quartic:\n  _target_: own_parts.Quartic\n  strength: 0.3",
    "optimizer/half_sign": "_target_: own_parts.HalfSign\n_partial_: true\nlr: 0.02\nshare: 0.5",
    "clipping/shrinking": "_target_: own_parts.Shrinking\nbound: 0.7",
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
    assert {name.partition("/")[0] for name in OWN} == {group for group in GROUPS if group != "trainer"}
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
        with torch.no_grad():
            for name, gradient in self.gradients.items():
                value = self.theta[name]
                pulled = gradient + (0.3 * value**3 if name.endswith("weight") else 0)
                g = 0.7 * pulled
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
        assert float(row["train_loss"]) == pytest.approx(loss, rel=1e-4)
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
    from fanin.data import Digits

    data, losses = Digits(image_size=8).load(), []
    order = torch.randperm(len(data.train_x), generator=generator(0, "data", 0))
    for rows in order[:300].view(6, 50):
        loss = F.cross_entropy(net(data.train_x[rows]), data.train_y[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert [float(row["train_loss"]) for row in table(end / "metrics.csv")[:6]] == pytest.approx(losses, rel=1e-6)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(after[f"layers.{name}"], value, rtol=1e-5, atol=1e-7)
    layers = {row["layer"] for row in table(end / "profiles.csv") if row["axis"] == "weight"}
    assert layers == {"layers.1", "layers.3", "layers.5"}
    theirs = read(end / "result.json")["overrides"]
    assert (theirs["model._target_"], theirs["optimizer.momentum"]) == ("my_module.Net", 0.9)


# ---- wrong parts


WRONG = """
import torch
from torch import nn
from fanin.losses import Loss
from fanin.regularizers import Penalty

class Nothing:
    pass

class Vector(Loss):
    name = "vector"
    def __call__(self, outputs, targets, inputs):
        return nn.functional.cross_entropy(outputs, targets, reduction="none")
    def guess(self, classes):
        return None

class Cut(Vector):
    def __call__(self, outputs, targets, inputs):
        return nn.functional.cross_entropy(outputs.detach(), targets)

class Half(Penalty):
    def penalty(self, weights):
        return 0

class Net(nn.Module):
    classes = None
    def __init__(self, in_features, out_features):
        super().__init__()
        self.layer = nn.Linear(in_features, self.classes or out_features)
    def forward(self, x):
        return self.layer(x.flatten(1))

class Five(Net):
    classes = 5

class Pair(Net):
    def forward(self, x):
        return x, x

class Raising(Net):
    def forward(self, x):
        raise ArithmeticError("no way\\nforward")

class Failing(Net):
    def __init__(self, in_features, out_features):
        {}["absent"]

class Empty(nn.Module):
    def __init__(self):
        super().__init__()
    def forward(self, x):
        return x.flatten(1)[:, :10]

class Looking(Net):
    def __init__(self, in_features, out_features):
        super().__init__(in_features, out_features)
        self.steps = [s.item() for s in torch.linspace(0, 1, 3)]

class Refusing(torch.optim.Optimizer):
    def __init__(self, params, lr):
        raise RuntimeError("not today")

class Three:
    def load(self):
        return 3
"""

KINDS = "Penalty, WeightDecay, Dropout, EarlyStopping, LabelSmoothing, MaxNorm, SAM"
MISTAKES = [
    ("regularizer/it", "it: {_target_: W.Nothing}", f"regularizer.it: Nothing must derive from one of {KINDS}"),
    ("regularizer/it", "it: {_target_: W.Half}", "regularizer.it: W.Half: Can't instantiate abstract class Half"),
    ("augment/it", "it: {_target_: W.Nothing}", "augment.it: Nothing must derive from Augmentation"),
    *[
        (f"{group}/it", "_target_: W.Nothing", f"{group}: Nothing must derive from {kind}")
        for group, kind in {
            "preprocess": "Preprocess", "model": "Module", "initializer": "Initializer", "loss": "Loss",
            "clipping": "Clipping", "averaging": "Averaging", "schedule": "Schedule", "batch": "BatchSchedule",
            "lr_scaling": "Scaling", "probe": "Probe",
        }.items()
    ],
    ("normalization/it", "_target_: W.Nothing", "model: AttributeError: 'Nothing' object has no attribute 'wrap'"),
    ("activation/it", "{_target_: W.Nothing, _partial_: true}", "model: fanin.models.Mlp: W.Nothing is not a Module"),
    ("data/it", "_target_: W.Nothing", "data: AttributeError: 'Nothing' object has no attribute 'load'"),
    ("data/it", "_target_: W.Three", "data: must give a fanin.data.Dataset, not int"),
    ("loss/it", "_target_: torch.nn.NLLLoss", "loss: NLLLoss must derive from Loss"),
    ("loss/it", "_target_: W.Vector", "loss: Vector must give a scalar tensor, the mean over the batch, not a tensor "
     "of shape [2]"),
    ("loss/it", "_target_: W.Cut", "loss: Cut must depend on the outputs, so that there is a gradient"),
    ("model/it", "_target_: W.Five", "model: Five must give outputs [examples, 10]; of 2 examples it gives [2, 5]"),
    ("model/it", "_target_: W.Pair", "model: Pair must give outputs [examples, 10]; of 2 examples it gives tuple"),
    ("model/it", "_target_: W.Empty", "model: Empty has no parameters to train"),
    ("model/it", "_target_: W.Failing", "model: KeyError: 'absent' (wrong_parts.py, line "),
    ("model/it", "{_target_: W.Net, depth: 3}", "unknown key model.depth=3: W.Net knows no keys"),
    ("optimizer/it", "{_target_: W.Nothing, _partial_: true, lr: 1}", "unknown key optimizer.lr=1: W.Nothing knows"),
    ("optimizer/it", "{_target_: W.Refusing, _partial_: true, lr: 1}", "optimizer: RuntimeError: not today (wrong_"),
    ("optimizer/it", "{_target_: torch.optim.SGD, _partial_: true, lr: -1}", "optimizer: torch.optim.SGD: Invalid"),
    ("optimizer/it", "{_target_: torch.optim.SGD, _partial_: true}", "optimizer.lr=null: must be there: every opt"),
    ("optimizer/it", "{_target_: torch.optim.LBFGS, _partial_: true, lr: 1}", "optimizer: torch.optim.LBFGS asks for "
     "the loss again in each step; of such there is optimizer=lbfgs"),
]  # fmt: skip


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of an importable module of wrong parts."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "wrong_parts.py").write_text(WRONG)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield "wrong_parts"


@pytest.fixture(scope="module")
def base() -> DictConfig:
    """The default configuration, composed once; small."""
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("config", ["data.limit=100", "data.image_size=8", "trainer.device=cpu"])


@pytest.mark.parametrize(("name", "content", "line"), MISTAKES)
def test_a_wrong_part_is_one_line(base: DictConfig, wrong: str, name: str, content: str, line: str) -> None:
    cfg = base.copy()
    cfg[name.partition("/")[0]] = OmegaConf.create(content.replace("W.", f"{wrong}."))
    (mistake,) = map(str, check(cfg))
    assert mistake.startswith(line.replace("W.", f"{wrong}."))
    assert "\n" not in mistake


@pytest.mark.parametrize(
    ("name", "content", "line"), [MISTAKES[0], next(one for one in MISTAKES if "Failing" in one[1])]
)
def test_the_command_tells_it_and_writes_nothing(
    typed: Callable[..., Said], tmp_path: Path, wrong: str, name: str, content: str, line: str
) -> None:
    group, option = name.split("/")
    (tmp_path / "own" / group).mkdir(parents=True)
    (tmp_path / "own" / f"{name}.yaml").write_text(content.replace("W.", f"{wrong}.") + "\n")
    said = typed("--config-dir=own", f"{group}=[{option}]" if group in LISTS else f"{group}={option}")
    assert (said.code, said.out, len(said.err)) == (1, [], 1), said
    assert said.err[0].startswith(f"fanin: {line}"), said.err[0]
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


BARE = ("~model.depth", "~model.width", "~model.bias", "data.limit=100", "trainer.steps=3", "trainer.device=cpu",
        "trainer.batch_size=20", "probe.batch_size=20")  # fmt: skip


def test_a_model_that_raises_fails_its_run_alone(typed: Callable[..., Said], tmp_path: Path, wrong: str) -> None:
    said = typed(f"model._target_={wrong}.Raising", *BARE)
    (run,) = runs(tmp_path / "outputs" / "runs").values()
    assert (said.code, said.err, len(said.out)) == (1, [], 1)
    assert "failed: ArithmeticError: no way (see " in said.out[0]
    assert (read(run / "status.json")["state"], read(run / "status.json")["error"]) == (
        "failed",
        "ArithmeticError: no way",
    )
    log = (run / "run.log").read_text()
    assert "Traceback (most recent call last):" in log
    assert 'raise ArithmeticError("no way\\nforward")' in log
    assert not (run / "result.json").exists()


def test_a_model_that_looks_at_numbers_while_it_is_made_trains(typed: Callable[..., Said], wrong: str) -> None:
    """Shapes are checked without memory, where there are no numbers to look at."""
    said = typed(f"model._target_={wrong}.Looking", *BARE)
    assert (said.code, said.err) == (0, [])


# ---- the README's examples


README = Path(__file__).parents[2] / "README.md"


def sections(text: str) -> dict[str, list[str]]:
    """The sections of a Markdown text about parts of one's own: their lines by heading."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif heading.startswith("Your own"):
            found.setdefault(heading, []).append(line)
    return found


def follow(lines: list[str], folder: Path) -> list[list[str]]:
    """Write the files that a section shows, each after a line that begins with its name; returns its commands."""
    commands: list[list[str]] = []
    name, block, inside = "", list[str](), False
    for line in lines:
        if line.startswith("```"):
            inside = not inside
            if not inside and name:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text("\n".join(block) + "\n")
            elif not inside:
                commands += [shlex.split(one, comments=True)[1:] for one in block if one.startswith("fanin ")]
            block, name = [], name if inside else ""
        elif inside:
            block.append(line)
        elif line.startswith("`") and line.count("`") == 2:
            name = line.split("`")[1]
    return commands


@pytest.mark.parametrize("heading", sections(README.read_text()))
def test_the_readmes_examples_run(tmp_path: Path, heading: str) -> None:
    """Word for word, but smaller and shorter."""
    commands = follow(sections(README.read_text())[heading], tmp_path)
    assert commands
    small = ("data.limit=100", "data.image_size=8", "trainer.batch_size=50", "trainer.steps=2", "trainer.device=cpu")
    for number, command in enumerate(commands):
        said = fanin(tmp_path, *command, *small, "hydra.launcher.n_jobs=1", f"hydra.sweep.dir=out/{number}")
        assert said.code == 0, said
        states = [read(run / "status.json")["state"] for run in runs(tmp_path / "out" / str(number)).values()]
        assert set(states) == {"done"}
        if "initializer=edge" in command:  # of its own, and yet i.i.d. normal: theory speaks of it
            for run in runs(tmp_path / "out" / str(number)).values():
                assert read(run / "result.json")["init"]["theory_factor"] is not None


def test_the_readmes_fine_tuning_names_the_run_that_it_takes() -> None:
    text = README.read_text()
    (first,) = [line for line in text.splitlines() if line.startswith("fanin model.depth=5 trainer.epochs=20")]
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg: Any = compose("config", shlex.split(first, comments=True)[1:], return_hydra_config=True)
        identity = identify(without_hydra(cfg), cfg.hydra)
    assert f"'initializer.path=\"outputs/{identity.experiment}/{identity.name}\"'" in text
