"""A part of one's own that cannot work is one line; one that breaks in training fails its run alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from command_line import Said, read, runs
from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.run.build import check

LISTS = ("augment", "regularizer")


WRONG = """
import torch
from torch import nn
from fanin.parts.data import Source
from fanin.parts.losses import Loss
from fanin.parts.regularizers import Penalty

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

class Mute(torch.optim.SGD):
    def step(self, closure=None):
        assert False

class Three(Source):
    def load(self):
        return 3

def lying() -> Source:
    return 3

def undeclared():
    return nn.Tanh()

class Exiting(Vector):
    def __init__(self):
        raise SystemExit(0)
"""

OWN = "or a function of your own that is declared to return one"
MISTAKES = [
    ("regularizer/it", "it: {_target_: W.Nothing}", "regularizer.it._target_=W.Nothing: must be a class that derives "
     f"from Regularizer, {OWN}"),
    ("regularizer/it", "_target_: W.Half", "regularizer._target_=W.Half: must be a mapping under the option's own "
     "name, for the group takes several: NAME: {_target_: ...}"),
    ("regularizer/it", "it: {_target_: W.Half}", "regularizer.it: W.Half: Can't instantiate abstract class Half"),
    ("augment/it", "it: {_target_: W.Nothing}", "augment.it._target_=W.Nothing: must be a class that derives from "
     f"Augmentation, {OWN}"),
    *[
        (f"{group}/it", "_target_: W.Nothing", f"{group}._target_=W.Nothing: must be a class that derives from "
         f"{kind}, {OWN}")
        for group, kind in {
            "preprocess": "Preprocess", "model": "Module", "initializer": "Initializer", "loss": "Loss",
            "clipping": "Clipping", "averaging": "Averaging", "schedule": "Schedule", "batch": "BatchSchedule",
            "lr_scaling": "Scaling", "probe": "Probe", "normalization": "Normalization", "activation": "Module",
            "data": "Source",
        }.items()
    ],
    ("data/it", "{_target_: W.Three, val_size: 1, limit: null}", "data: must give a fanin.parts.data.Dataset, not int"),
    ("data/it", "_target_: W.lying", "data: int must derive from Source"),
    ("loss/it", "_target_: W.Exiting", "loss: SystemExit: 0 (wrong_parts.py, line "),
    ("loss/it", "{_target_: fanin.parts.losses.Hinge, margin: {_target_: os.getcwd}}", "loss.margin: a value holds no "
     "_target_, found os.getcwd; only an option has one"),
    ("loss/it", "_target_: torch.nn.NLLLoss", "loss._target_=torch.nn.NLLLoss: must be a class that derives "
     f"from Loss, {OWN}"),
    ("activation/it", "_target_: W.undeclared", "activation._target_=W.undeclared: must be a class that derives from "
     f"Module, {OWN}; write def undeclared(...) -> Module"),
    ("activation/it", "_target_: fanin.activations.relu", "activation._target_=fanin.activations.relu: must be its new "
     "name, fanin.parts.activations.relu"),
    ("optimizer/it", "{_target_: torch.optim.SGD, lr: 1, foreach: x}", "optimizer.foreach=x: must be true or "
     "false or null"),
    ("loss/it", "_target_: W.Vector", "loss: Vector must give a scalar tensor, the mean over the batch, not a tensor "
     "of shape [2]"),
    ("loss/it", "_target_: W.Cut", "loss: Cut must depend on the outputs, so that there is a gradient"),
    ("model/it", "_target_: W.Five", "model: Five must give outputs [examples, 10]; of 2 examples it gives [2, 5]"),
    ("model/it", "_target_: W.Pair", "model: Pair must give outputs [examples, 10]; of 2 examples it gives tuple"),
    ("model/it", "_target_: W.Empty", "model: Empty has no parameters to train"),
    ("model/it", "_target_: W.Failing", "model: KeyError: 'absent' (wrong_parts.py, line "),
    ("model/it", "{_target_: W.Net, depth: 3}", "unknown key model.depth=3: W.Net knows no keys"),
    ("optimizer/it", "{_target_: W.Nothing, _partial_: true, lr: 1}", "optimizer._target_=W.Nothing: must be a "
     f"class that derives from Optimizer, {OWN}"),
    ("optimizer/it", "{_target_: W.Refusing, _partial_: true, lr: 1}", "optimizer: RuntimeError: not today (wrong_"),
    ("optimizer/it", "{_target_: torch.optim.SGD, _partial_: true, lr: -1}", "optimizer: torch.optim.SGD: Invalid"),
    ("optimizer/it", "{_target_: torch.optim.SGD, _partial_: true}", "optimizer.lr=null: must be there: every opt"),
    ("optimizer/it", "{_target_: torch.optim.LBFGS, _partial_: true, lr: 1}", "optimizer: torch.optim.LBFGS asks for "
     "the loss again in each step; of such there is optimizer=lbfgs"),
    ("optimizer/it", "{_target_: torch.optim.SparseAdam, lr: 1}", "optimizer: torch.optim.SparseAdam cannot make a "
     "step: RuntimeError: SparseAdam does not support dense gradients"),
    ("optimizer/it", "{_target_: W.Mute, lr: 1}", "optimizer: W.Mute cannot make a step: AssertionError: it says no "
     "more"),
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
    told = line.replace("W.", f"{wrong}.")
    assert said.err[0].startswith(f"fanin: {told}"), said.err[0]
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
