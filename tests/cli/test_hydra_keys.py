"""Hydra's own keys: obeyed, or refused in one line before anything is written; never taken in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import Said, fanin, read, runs

TINY = ("model.depth=2", "model.width=8", "data.limit=100", "trainer.steps=1")

CALLBACK = "hydra.experimental.callbacks.PickleJobInfoCallback"

IN_A_POOL = {
    "hydra.job.chdir=true": "hydra.job.chdir=true: must be false; hydra/launcher=basic follows it, hydra/launcher=pool",
    "+hydra.job.env_set.X=3": "hydra.job.env_set of X: hydra/launcher=basic follows it",
    "hydra.output_subdir=null": "hydra.output_subdir=null: must be .hydra; hydra/launcher=basic follows it",
    f"+hydra.callbacks.a._target_={CALLBACK}": "hydra.callbacks.a: is called around each run; hydra/launcher=basic",
    "hydra.sweep.subdir=x": "hydra.sweep.subdir=x: must be left as it is: a run's folder is named by what it is",
    "hydra.sweep.subdir=x hydra/launcher=basic": "hydra.sweep.subdir=x: must be left as it is",
    "hydra.sweep.dir=": "hydra.sweep.dir=: must be a folder",
    "hydra.sweep.dir=file": "hydra.sweep.dir=file: must be a folder; it is a file",
    "hydra.sweep.dir=file/x": "hydra.sweep.dir=file/x: must be a folder; file is a file",
    "hydra.sweep.dir=a,b": "hydra.sweep.dir=a,b: Hydra's own keys are the same for all runs",
    "hydra.sweeper.max_batch_size=0": "hydra.sweeper.max_batch_size=0: must be null or an integer >= 1",
    "hydra.launcher._target_=nope.x": "nope.x: must be a launcher or sweeper of Hydra's",
    "hydra.launcher=pool": "hydra.launcher=pool: must be chosen, hydra/launcher=NAME",
    "experiment=init_study,activation_study": "experiment=init_study,activation_study: each study has a grid of",
    "model.depth=range(a,2)": "model.depth=range(a,2): must be range(STOP), range(START,STOP) or range(START,STOP,",
    "model.depth=tag(log)": "model.depth=tag(log): must be tag(NAME,AXIS), where AXIS is a choice(...), range(...) or ",
    "model.depth=range(2,0)": "model.depth=range(2,0): holds no value",
    "model.depth=range(1,3,0)": "model.depth=range(1,3,0): must be range(start,stop,step) of finite numbers",
    "model.depth=glob('*')": "model.depth=glob('*'): holds no value",
    "model.depth=range(0,1e9)": "a grid of 2,000,000,000 runs (2 of seed x 1,000,000,000 of model.depth): must be at",
    "activation=range(0,1e9)": "activation=range(0,1e9): must be one of elu,",
    "optimizer.lr=interval(0,1)": "optimizer.lr=interval(0,1): a grid takes values, a,b,c or range(start,stop,step);",
    "model.width=${hydra:job.num}": "${hydra:...} has no value in a grid",
    "trainer.epochs=1,2 trainer.steps=3": "trainer.epochs=1,2 trainer.steps=3: both say how long to train",
}

IN_A_RUN = {
    "hydra.run.dir=": "hydra.run.dir=: must be a folder",
    "hydra.run.dir=file": "hydra.run.dir=file: must be a folder; it is a file",
    "hydra.sweep.dir=": "hydra.sweep.dir=: must be a folder",
    "hydra.run.dir=there model.depth=0": "model.depth=0: must be an integer >= 1",
    "hydra.verbose=1": "hydra.verbose=1: must be true, false, or the names of loggers",
    "hydra.job.env_copy=[NOPE]": "hydra.job.env_copy=[NOPE]: the environment has no 'NOPE'",
    "hydra.searchpath=[nowhere]": "hydra.searchpath: nowhere is not there; a folder is typed file:///FOLDER",
    "hydra=3": "hydra=3: must be set key by key",
    "--resolve": "--resolve goes with --cfg",
    "--shell-completion": "--shell-completion: must be install=SHELL, uninstall=SHELL or query=SHELL",
    "--experimental-rerun=x": "unrecognized arguments: --experimental-rerun",
}


@pytest.mark.parametrize(("table", "grid"), [(IN_A_POOL, ("-m", "seed=1,2")), (IN_A_RUN, ())], ids=["grid", "run"])
def test_what_cannot_be_followed_is_one_line(
    typed: Callable[..., Said], tmp_path: Path, table: dict[str, str], grid: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    for words, line in table.items():
        said = typed(*grid, *words.split())
        assert (words, said.code, said.out, len(said.err)) == (words, 1, [], 1), said
        assert said.err[0].startswith(f"fanin: {line}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_relative_paths_mean_the_folder_where_the_command_was_typed(tmp_path: Path) -> None:
    """The first run is loaded by the second one, which works in its own folder, and is asked for by a relative path."""
    assert fanin(tmp_path, *TINY, "hydra.run.dir=first").code == 0
    said = fanin(tmp_path, *TINY, "initializer=pretrained", "initializer.path=first", "hydra.job.chdir=true")
    assert (said.code, said.err) == (0, []), said
    (name,) = runs(tmp_path / "outputs" / "runs")
    assert said.out[0].startswith(f"outputs/runs/{name}  ")


def test_options_and_overrides_go_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "edge=1.yaml").write_text(
        "_target_: fanin.parts.models.Mlp\ndepth: 2\nwidth: 8\nbias: true\n"
    )
    words = (*TINY[2:], '--config-dir', "mine", 'model="edge=1"', "seed=1,2", "-m", "hydra/launcher=basic")  # fmt: skip
    said = fanin(tmp_path, *words)
    assert (said.code, said.err) == (0, ["2 runs in outputs/runs"])
    assert {read(run / "result.json")["choices"]["model"] for run in runs(tmp_path / "outputs" / "runs").values()} == {
        "edge=1"
    }
    (tmp_path / "mine" / "model" / "broken.yaml").write_text("_target_: x\n  depth: 1: 2\n")
    said = fanin(tmp_path, "--config-dir", "mine", "model=broken")
    assert (said.code, said.out, len(said.err)) == (1, [], 1)
    assert said.err[0].endswith("model/broken.yaml, line 2: no YAML: mapping values are not allowed here")


def test_typed_epochs_outdo_a_studys_steps(typed: Callable[..., Said]) -> None:
    asked = ("experiment=init_study", "--cfg", "job", "-p", "trainer")
    for words, steps, epochs, least in (
        ((), "null", "8", "1500"),
        (("trainer.epochs=3",), "null", "3", "1"),
        (("trainer.epochs=3", "trainer.least_steps=9"), "null", "3", "9"),
        (("trainer.epochs=3", "trainer.steps=7"), "7", "8", "1500"),
        (("trainer.steps=7", "trainer.epochs=3"), "7", "8", "1500"),
        (("trainer.steps=null", "trainer.epochs=3"), "null", "3", "1"),
    ):
        said = typed(*asked, "--resolve", *words)
        assert said.code == 0
        assert {f"steps: {steps}", f"epochs: {epochs}", f"least_steps: {least}"} <= {*said.out}, words
