"""What a user mistypes is told in one line a mistake, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from command_line import Said

Typed = Callable[..., Said]

CONF = Path(__file__).parents[2] / "conf"
GROUPS = sorted(
    [path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("hydra", "experiment", "debug")]
)

ROOT = ("force", "objective", "pause_at", "seed", "study")
"""Keys of a run that are no groups."""


def every(group: str) -> str:
    """The names of a group's options, as a message lists them."""
    return ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))


AT_THE_TOP = f"fanin knows {', '.join(sorted([*GROUPS, *ROOT]))}"

UNKNOWN_OPTIONS = {
    "optimizer=sgdd": f"optimizer=sgdd: must be one of {every('optimizer')}; did you mean sgd?",
    "experiment=init_studdy": f"experiment=init_studdy: must be one of {every('experiment')};",
    "regularizer=[l2,l3]": f"regularizer=l3: must be one of {every('regularizer')}",
    "model=3": f"model=3: must be one of {every('model')}",
    "optimizer=null": f"optimizer=null: must be one of {every('optimizer')}",
    "activation=[relu,tanh]": "activation=[relu,tanh]: must be one option, not a list; -m activation=relu,tanh tries",
    "experiment=[init_study]": "experiment=[init_study]: must be one option, not a list",
    "data=[[none]]": f"data=[[none]]: must be one of {every('data')}",
    "regularizer=[l2,[dropout]]": f"regularizer=[l2,[dropout]]: must be one of {every('regularizer')}",
    "-m augment=[[none]],flip": f"augment=[[none]],flip: must be one of {every('augment')}",
    "~debug=[a]": "~debug=[a]: type ~debug, or ~debug=OPTION",
    "~model": "~model: a run has one; type model=OPTION for another",
    "hydra/launcher=3": "hydra/launcher=3: must be an option's name",
    "+optimizer@second=adam": "+optimizer@second=adam: a group has one place in a run; type optimizer=",
    f"model={'a' * 10_000}": f"model={'a' * 54}... (10,006 characters): a name has at most 200 characters",
}
UNREADABLE = {
    "initializer.path=outputs/seed=0": "initializer.path=outputs/seed=0: cannot be read; close its brackets, or quote "
    "the value: 'initializer.path=\"outputs/seed=0\"'",
    "model.depth=[1": "model.depth=[1: cannot be read; close its brackets, or quote the value: 'model.depth=\"[1\"'",
    "data.root=ünï": "data.root=ünï: cannot be read; close its brackets, or quote the value: 'data.root=\"ünï\"'",
    "data.root=a#b": "data.root=a#b: cannot be read; close its brackets, or quote the value: 'data.root=\"a#b\"'",
    "data.root=a'b": "data.root=a'b: cannot be read; close its brackets, or quote the value: 'data.root=\"a'",
    "data.root=~/x": "data.root=~/x: cannot be read; type data.root=$HOME/x",
    "ünï=3": "ünï=3: ünï is no key: a key has letters, digits, _ and -, with dots between",
    "lr": "'lr': must be KEY=VALUE or GROUP=OPTION; fanin --help lists the groups",
    "=3": "'=3': must be KEY=VALUE or GROUP=OPTION; fanin --help lists the groups",
    f"seed={'1' * 5000}": f"seed={'1' * 60}... (5,000 characters): cannot be read",
}
UNKNOWN_KEYS = {
    "modell.depth=3": "unknown key modell.depth: fanin knows "
    f"{', '.join(sorted([*GROUPS, *ROOT]))}; did you mean model?",
    "mdoel=mlp": "unknown key mdoel: fanin knows activation, augment,",
    "model.depht=3": "unknown key model.depht: model knows bias, depth, width; did you mean model.depth?",
    "model.depth.deeper=3": "unknown key model.depth.deeper: model.depth knows no keys",
    "initializer.c=2": "unknown key initializer.c: initializer knows bias, bias_variance, forget_bias, mode, slope",
    "regularizer.l2.strength=1": "unknown key regularizer.l2.strength: regularizer knows no keys",
    "hydra.swep.dir=x": "unknown key hydra.swep.dir: hydra knows",
    "+optimizer.lrr=1": "unknown key optimizer.lrr=1: fanin.parts.optimizers.SGD knows lr; did you mean lr?",
    "+model.extra=1": "unknown key model.extra=1: fanin.parts.models.Mlp knows bias, depth, width",
    "+trainer.step=1": "unknown key trainer.step=1: fanin.train.settings.Trainer knows accumulate,",
    "+sede=1": "unknown key sede=1: fanin knows activation,",
    "++new.key=2": "unknown key new={'key': 2}: fanin knows activation,",
    "lr=0.1": f"unknown key lr: {AT_THE_TOP}; did you mean optimizer.lr?",
    "depth=20": f"unknown key depth: {AT_THE_TOP}; did you mean model.depth?",
    "epochs=3": f"unknown key epochs: {AT_THE_TOP}; did you mean trainer.epochs?",
    "batch_sise=3": f"unknown key batch_sise: {AT_THE_TOP}; did you mean probe.batch_size or trainer.batch_size?",
    "model.lr=3": "unknown key model.lr: model knows bias, depth, width; did you mean optimizer.lr?",
    "+model=mlp": "+model: the group has its option already; type model=... without +",
    "+model.depth=3": "+model.depth: the key is there already; type it without +",
}
OUT_OF_RANGE = {
    "model.depth=0": "model.depth=0: must be an integer >= 1",
    "model.width=2.5": "model.width=2.5: must be an integer >= 1",
    "initializer=variance_scaling initializer.c=0": "initializer.c=0: must be a finite number > 0",
    "initializer=variance_scaling initializer.mode=fan": "initializer.mode=fan: must be one of fan_in, fan_out,",
    "optimizer.lr=-1": "optimizer.lr=-1: must be a finite number >= 0",
    "optimizer.lr=nan": "optimizer.lr=nan: must be a finite number >= 0",
    "optimizer=adam optimizer.beta1=1": "optimizer.beta1=1: must be a finite number >= 0 and < 1",
    "schedule=step schedule.size=0": "schedule.size=0: must be an integer >= 1",
    "schedule=cosine schedule.warmup=quick": "schedule.warmup=quick: must be one of linear, cosine, constant",
    "regularizer=dropout regularizer.dropout.p=1.5": "regularizer.dropout.p=1.5: must be a finite number >= 0 and < 1",
    "regularizer=l2 regularizer.l2.strength=-1": "regularizer.l2.strength=-1: must be a finite number >= 0",
    "normalization=layer normalization.placement=before": "normalization.placement=before: must be one of pre_",
    "probe.every=-1": "probe.every=-1: must be an integer >= 0",
    "probe.curves=[activation_nrm]": "probe.curves=activation_nrm: must be one of activation_norm,",
    "trainer.epochs=0": "trainer.epochs=0: must be a finite number > 0",
    "trainer.precision=float16": "trainer.precision=float16: must be one of float32, float64, bfloat16",
    "trainer.target_error=2": "trainer.target_error=2: must be a finite number >= 0 and <= 1",
    "data.limit=0": "data.limit=0: must be null or an integer >= 1",
    "data=gaussian data.classes=1": "data.classes=1: must be an integer >= 2",
    "seed=-1": "seed=-1: must be an integer >= 0",
    "force=maybe": "force=maybe: must be true or false",
    "objective=accuracy": "objective=accuracy: must be one of train_loss, train_error, val_loss,",
}
SCORE = "model=vae loss=elbo model.estimator=score_function"
ESTIMATED = "model: Vae estimates its gradient, which is the loss's derivative in the mean alone and will not do for"
NOT_TOGETHER = {
    "seed=0,1": "seed=0,1: several values make a grid; add -m",
    "seed=range(0,5)": "seed=range(0,5): several values make a grid; add -m",
    "optimizer=sgd,adam": "optimizer=sgd,adam: several values make a grid; add -m",
    "probe.steps=null": "probe.steps=null: must be a list of steps; type steps=[]",
    "probe.steps=5": "probe.steps=5: must be a list of steps; type steps=[5]",
    "probe.curves=gradient_norm": "probe.curves=gradient_norm: must be a list of quantities; type curves=[gr",
    "trainer.batch_size=5000": "trainer.batch_size=5000: must be at most the 1300 training examples",
    "probe.batch_size=5000": "probe.batch_size=5000: must be at most the 1300 training examples",
    "normalization=batch trainer.batch_size=1": "trainer.batch_size=1: must be at least 2 in each pass",
    "model=vae": "model=vae: needs loss=elbo, not cross_entropy; type loss=elbo optimizer=adam",
    "model=vae loss=elbo model.estimator=pathwise": "model.estimator=pathwise: must be one of reparameterization,",
    f"{SCORE} optimizer=lbfgs": f"{ESTIMATED} LBFGS; take optimizer=adam",
    f"{SCORE} debug=gradient_check": f"{ESTIMATED} trainer.gradient_check",
    f"{SCORE} probe=curvature probe.curvature.mode=training": f"{ESTIMATED} probe.curvature.mode=training",
    "regularizer=early_stopping regularizer.early_stopping.monitor=train_loss": "regularizer.early_stopping.monitor="
    "train_loss: must be batch_loss or batch_error while trainer.eval_train=false; or set trainer.eval_train=true",
    "schedule=plateau data.val_size=0": "schedule.monitor=val_loss: must be batch_loss or batch_error while "
    "data.val_size=0; or set data.val_size",
    "regularizer=early_stopping data.val_size=0": "regularizer.early_stopping.monitor=val_loss: must be batch_loss or "
    "batch_error while data.val_size=0; or set data.val_size",
    "data.val_size=1500": "data.val_size=1500: must be smaller than",
    "data=mnist data.root=a_file": "data.root=",
    "model.width=${widht}": "model.width: Interpolation key 'widht' not found",
    "-m --cfg job": "-m and --cfg do not go together",
    "--config-dir=nowhere": "--config-dir=nowhere: must be a folder of option files",
    "--config-dir": "argument --config-dir/-cd: expected one argument; fanin --help lists",
    "seed=0 --sweep": "unrecognized arguments: --sweep; fanin --help lists what there is",
    "seed=0 -m trainer.step=2": "unknown key trainer.step: trainer knows accumulate,",
}


@pytest.mark.parametrize(
    "table",
    [UNREADABLE, UNKNOWN_OPTIONS, UNKNOWN_KEYS, NOT_TOGETHER],
    ids=["unreadable", "unknown options", "unknown keys", "not together"],
)
def test_a_mistake_is_one_line_and_writes_nothing(typed: Typed, tmp_path: Path, table: dict[str, str]) -> None:
    (tmp_path / "a_file").touch()
    for command, line in table.items():
        said = typed(*command.split())
        assert (command, said.code, said.out, len(said.err)) == (command, 1, [], 1)
        assert said.err[0].startswith(f"fanin: {line}")
    assert [path.name for path in tmp_path.iterdir()] == ["a_file"]


def groups(words: str) -> set[str]:
    """The groups that some words are about."""
    return {word.split("=")[0].split(".")[0] for word in words.split()}


def test_every_value_out_of_range_is_one_line_and_writes_nothing(typed: Typed, tmp_path: Path) -> None:
    """A command tells the mistakes of several groups at once, so those of different groups are typed together."""
    commands: list[list[str]] = []
    for words in OUT_OF_RANGE:
        fitting = (one for one in commands if not groups(words) & groups(" ".join(one)))
        if (one := next(fitting, None)) is None:
            commands.append(one := [])
        one.append(words)
    alone: list[str] = []
    for command in commands:
        said = typed(*" ".join(command).split())
        assert (said.code, said.out) == (1, [])
        told = [[words for words in command if line.startswith(f"fanin: {OUT_OF_RANGE[words]}")] for line in said.err]
        assert [len(found) for found in told] == [1] * len(told), said.err
        left = set(command) - {words for (words,) in told}
        assert len(told) + len(left) == len(command)
        alone += left
    assert len(alone) < len(OUT_OF_RANGE) / 4  # a model, say, whose normalization cannot be made
    for words in [*alone, "seed=-1"]:
        said = typed(*words.split())
        assert (words, said.code, said.out, len(said.err)) == (words, 1, [], 1)
        assert said.err[0].startswith(f"fanin: {OUT_OF_RANGE[words]}")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_a_device_is_refused_where_there_is_none(kind: str, typed: Typed, tmp_path: Path) -> None:
    said = typed(f"trainer.device={kind}")
    assert (said.code, said.out) == (1, [])
    assert said.err == [f"fanin: trainer.device={kind}: must be cpu or auto; torch finds no {kind.upper()} device here"]
    assert not list(tmp_path.iterdir())


def test_missing_files_are_told_with_what_to_do(typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody listens at port 9: so it is offline here even where there is a network.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    for command in (["data=mnist", "data.root=there"], ["-m", "data=mnist", "data.root=there", "seed=0,1"]):
        said = typed(*command)
        assert (said.code, said.out, len(said.err)) == (1, [], 1)
        (line,) = said.err
        assert line.startswith(f"fanin: data=mnist: cannot be read from root {tmp_path / 'there'} (")
        for advice in (str(tmp_path / "there" / "MNIST" / "raw"), "FANIN_DATA", "data.root=", "data=digits"):
            assert advice in line
    assert not list(tmp_path.iterdir())


def test_all_mistakes_of_a_grid_are_told_before_its_first_run(typed: Typed, tmp_path: Path) -> None:
    said = typed(
        "-m", "optimizer.lr=-1,nan", "seed=0,-2", "+model.extra=1",
        "trainer.steps=1", "schedule.warmup_steps=-1",
    )  # fmt: skip
    assert (said.code, said.out) == (1, [])
    assert sorted(said.err) == [
        "fanin: optimizer.lr=-1: must be a finite number >= 0",
        "fanin: optimizer.lr=nan: must be a finite number >= 0",
        "fanin: schedule.warmup_steps=-1: must be an integer >= 0",
        "fanin: seed=-2: must be an integer >= 0",
        "fanin: unknown key model.extra=1: fanin.parts.models.Mlp knows bias, depth, width",
    ]
    assert not list(tmp_path.iterdir())
    # An option that does not exist shows even where only one of the runs would have it.
    said = typed("-m", "initializer=zeros,orthogonall", "trainer.steps=1")
    assert (said.code, said.out, len(said.err)) == (1, [], 1)
    assert said.err[0].startswith(f"fanin: initializer=orthogonall: must be one of {every('initializer')};")
    assert said.err[0].endswith("did you mean orthogonal?")
    assert not list(tmp_path.iterdir())
