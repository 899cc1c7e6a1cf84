"""fanin.run: the same run as the command's, to the bit, in a process that stays as it was."""

from __future__ import annotations

import csv
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from host_state import changes, snapshot

import fanin
from command_line import fanin as command
from command_line import read, untimed
from command_line import runs as command_runs
from fanin.errors import UserError

TINY = ["data.image_size=8", "data.limit=300", "model.depth=3", "model.width=8", "trainer.steps=6", "probe.redraws=8"]

STOPS = """
import signal
mode, calls, when = "", 0, -1

def plan(wanted):
    # after a whole run: ends the next one in its profile of step 4, the last but one of profiles of 3 layers
    global mode, calls, when
    mode, calls, when = wanted, 0, when if when > 0 else calls - 5

def lasting(weight):
    global calls
    calls += 1
    if calls == when:
        if mode == "signal":
            signal.raise_signal(signal.SIGINT)
        if mode == "end":
            signal.raise_signal(signal.SIGTERM)
        if mode == "keyboard":
            raise KeyboardInterrupt
        if mode == "failure":
            raise RuntimeError("planted")
        if mode == "exit":
            raise SystemExit(3)
    return weight.square().mean()
"""


@pytest.fixture
def stops(host: Path) -> Iterator[Any]:
    """A measure of one's own that can end a run half-way, in a module of the host's folder."""
    (host / "stops_of_a_test.py").write_text(STOPS)
    sys.modules.pop("stops_of_a_test", None)
    yield lambda: sys.modules["stops_of_a_test"]
    sys.modules.pop("stops_of_a_test", None)


LASTING = [*TINY, "probe.measures=[stops_of_a_test.lasting]", "probe.steps=[4]", "trainer.checkpoint_every=2"]


def test_a_run_is_the_commands_to_the_bit(host: Path, tmp_path: Path) -> None:
    """Every number of every file, and Hydra's record; what is told of it is what its files say."""
    overrides = [*TINY, "optimizer=adam", "regularizer=[dropout]", "seed=3"]
    before = snapshot()
    run = fanin.run(overrides)
    assert changes(before, snapshot()) == []
    said = command(tmp_path, *overrides)
    assert said.code == 0
    (typed,) = command_runs(tmp_path / "outputs" / "runs").values()
    assert run.folder == host / "outputs" / "runs" / typed.name
    assert untimed(run.folder) == untimed(typed)
    for name in ("config", "overrides"):
        assert (run.folder / ".hydra" / f"{name}.yaml").read_text() == (typed / ".hydra" / f"{name}.yaml").read_text()
    ours, theirs = (yaml.safe_load((one / ".hydra" / "hydra.yaml").read_text())["hydra"] for one in (run.folder, typed))
    ours["runtime"]["output_dir"], ours["runtime"]["cwd"] = str(typed), str(tmp_path)
    assert ours == theirs

    assert (run.status, run.skipped, run.error) == ("done", False, None)
    assert run.result == read(run.folder / "result.json")
    with (typed / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(run.metrics.columns) == list(rows[0])
    for name, values in run.metrics.drop(columns="seconds").items():
        told = np.array([float(row[str(name)] or "nan") for row in rows])
        assert np.array_equal(values.to_numpy(float), told, equal_nan=True), name
    with (typed / "profiles.csv").open() as file:
        profiles = list(csv.DictReader(file))
    assert run.profiles["layer"].tolist() == [row["layer"] for row in profiles]
    told = np.array([float(row["value"] or "nan") for row in profiles])
    assert np.array_equal(run.profiles["value"].to_numpy(), told, equal_nan=True)


def test_the_model_is_the_network_that_was_evaluated(host: Path) -> None:
    """Its error on the test part, computed here, is that of result.json: with early stopping and averages, too."""
    from fanin.parts.data import Digits

    for more in ([], ["averaging=ema", "averaging.decay=0.5"], ["regularizer=[early_stopping]"], ["trainer.steps=0"]):
        run = fanin.run([*TINY, *more])
        before = snapshot()
        model = run.model
        assert changes(before, snapshot()) == [], more
        assert not model.training
        data = Digits(image_size=8, limit=300).load()
        if "trainer.steps=0" in more:
            (first,) = run.profiles.query("snapshot == 'init' and quantity == 'weight_norm' and index == 1")["value"]
            assert math.isclose(model.linear_1.weight.detach().norm(), first, rel_tol=1e-6)
            continue
        with torch.no_grad():
            wrong = (model(data.test_x).argmax(1) != data.test_y).double().mean()
        assert run.result["metrics"]["test_error"] == pytest.approx(float(wrong), abs=1e-12), more
        loss = torch.nn.functional.cross_entropy(model(data.test_x).double(), data.test_y)
        assert run.result["metrics"]["test_loss"] == pytest.approx(float(loss.detach()), rel=1e-5), more


def test_what_is_finished_is_not_run_again(host: Path) -> None:
    first = fanin.run(TINY)
    written = (first.folder / "result.json").stat().st_mtime_ns
    again = fanin.run(list(reversed(TINY)))
    assert (again.skipped, again.status, again.folder) == (True, "done", first.folder)
    assert (first.folder / "result.json").stat().st_mtime_ns == written
    assert not fanin.run([*TINY, "force=true"]).skipped
    assert (first.folder / "result.json").stat().st_mtime_ns != written


@pytest.mark.parametrize("mode", ["signal", "keyboard"])
def test_an_interrupted_run_goes_on(host: Path, stops: Callable[[], Any], mode: str) -> None:
    """KeyboardInterrupt reaches the host, whose process is as it was; the same call ends as if nothing had been."""
    whole = fanin.run(LASTING, folder="whole")
    stops().plan(mode)
    before = snapshot()
    with pytest.raises(KeyboardInterrupt):
        fanin.run(LASTING, folder="parts")
    assert changes(before, snapshot()) == []
    assert read(host / "parts" / "status.json")["state"] == "interrupted"
    stops().mode = ""
    resumed = fanin.run(LASTING, folder="parts")
    assert "going on from" in (resumed.folder / "run.log").read_text()
    assert (resumed.status, untimed(resumed.folder)) == ("done", untimed(whole.folder))


@pytest.mark.parametrize("mode", ["failure", "exit"])
def test_a_run_that_fails_says_so(host: Path, stops: Callable[[], Any], mode: str) -> None:
    fanin.run(LASTING, folder="whole")
    stops().plan(mode)
    before = snapshot()
    run = fanin.run(LASTING, folder="broken")
    assert changes(before, snapshot()) == []
    assert (run.status, run.result, len(run.metrics)) == ("failed", {}, len(run.metrics))
    assert run.error
    assert run.error == read(host / "broken" / "status.json")["error"]
    stops().plan(mode)
    with pytest.raises(UserError, match=r"broken failed: .*run\.log"):
        fanin.run(LASTING, folder="broken", check=True)


def test_a_signal_that_ends_the_host_reaches_it(host: Path, stops: Callable[[], Any]) -> None:
    """SIGTERM stops the run at its next step, and the host's own handler is called with it."""
    fanin.run(LASTING, folder="whole")
    heard: list[int] = []
    earlier = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    stops().plan("end")
    try:
        with pytest.raises(KeyboardInterrupt):
            fanin.run(LASTING, folder="ended")
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert heard == [signal.SIGTERM]


def test_threads_take_turns(host: Path) -> None:
    """Two threads of a host at a time, neither of them the main one: their runs are those of one after the other."""
    done: dict[int, fanin.Run] = {}

    def one(seed: int) -> None:
        done[seed] = fanin.run([*TINY, f"seed={seed}"])

    before = snapshot()
    threads = [threading.Thread(target=one, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert changes(before, snapshot()) == []
    for seed, run in done.items():
        assert untimed(run.folder) == untimed(fanin.run([*TINY, f"seed={seed}"], folder=f"alone/{seed}").folder)


def test_nothing_is_printed(host: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fanin.run(TINY)
    assert capfd.readouterr() == ("", "")
    fanin.run([*TINY, "force=true"], verbose=True)
    assert "step 6" in capfd.readouterr().out


def test_a_host_without_gradients_trains_all_the_same(host: Path) -> None:
    """Whatever torch is set to outside, inside it is what a command finds."""
    plain = fanin.run(TINY, folder="plain")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            before = snapshot()
            odd = fanin.run(TINY, folder="odd")
            assert changes(before, snapshot()) == []
    finally:
        torch.set_default_dtype(torch.float32)
    assert untimed(odd.folder) == untimed(plain.folder)


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    ("model.depth=3", {}, r"overrides='model.depth=3': must be a list of words; type \[\"model.depth=3\"\]"),
    ({"model.depth": 3}, {}, r"must be a list of words, such as"),
    ([3], {}, r"overrides: 3 must be a word KEY=VALUE or GROUP=OPTION"),
    (["model.depht=3"], {}, r"unknown key model.depht: .*did you mean model.depth\?"),
    (["optimizer=adm"], {}, r"optimizer=adm: must be one of .*did you mean adam\?"),
    (["optimizer.lr=-1"], {}, r"optimizer.lr=-1: must be a finite number >= 0"),
    (["seed=0,1"], {}, r"seed=0,1: several values make a grid; fanin.sweep runs one"),
    (["hydra.run.dir=there"], {}, r"hydra.run.dir=there: from Python it is folder=DIR"),
    (["hydra.job.chdir=true"], {}, r"hydra.job.chdir=true: Hydra's own keys are the command line's"),
    (["-m"], {}, r"'-m': must be KEY=VALUE or GROUP=OPTION"),
    ([], {"folder": ""}, r"folder='': must be the path of a folder"),
    ([], {"config_dir": "nowhere"}, r"config_dir=nowhere: must be a folder of option files"),
]


@pytest.mark.parametrize(("overrides", "keywords", "line"), WRONG)
def test_wrong_uses_are_one_line(host: Path, overrides: Any, keywords: dict[str, Any], line: str) -> None:
    """And nothing is written, nor changed in the process."""
    before = snapshot()
    with pytest.raises(UserError, match=line) as told:
        fanin.run(overrides, **keywords)
    assert "\n" not in str(told.value)
    assert changes(before, snapshot()) == []
    assert list(host.iterdir()) == []


@pytest.mark.slow
def test_options_of_ones_own(host: Path) -> None:
    """A folder of option files is read as it is now, and only where it was named."""
    own = host / "own" / "optimizer"
    own.mkdir(parents=True)
    for rate in (0.25, 0.5):
        (own / "mine.yaml").write_text(f"_target_: torch.optim.SGD\nlr: {rate}\n")
        assert fanin.compose(["optimizer=mine"], config_dir="own").optimizer.lr == rate
        run = fanin.run([*TINY, "optimizer=mine"], config_dir="own", folder=f"with/{rate}")
        assert run.result["config"]["optimizer"]["lr"] == rate
        assert "optimizer.lr" not in run.result["overrides"]
    with pytest.raises(UserError, match="optimizer=mine: must be one of"):
        fanin.run(["optimizer=mine"])


def test_a_class_that_was_written_anew_is_the_new_one(host: Path) -> None:
    """As in a notebook, where a cell is run again: the module of the class stays, its content changes."""
    code = "import torch\nclass Net(torch.nn.Linear):\n    def __init__(self, in_features, out_features):\n"
    code += "        super().__init__(in_features, out_features, bias={})\n"
    code += "    def forward(self, x):\n        return super().forward(x.flatten(1))\n"
    (host / "net_of_a_test.py").write_text(code.format(True))
    wanted = [
        *TINY[:2],
        "trainer.steps=1",
        "model._target_=net_of_a_test.Net",
        "~model.depth",
        "~model.width",
        "~model.bias",
    ]
    first = fanin.run([*wanted, "force=true"])
    exec(code.format(False), vars(sys.modules["net_of_a_test"]))
    second = fanin.run([*wanted, "force=true"])
    del sys.modules["net_of_a_test"]
    assert first.result["parameters"] - second.result["parameters"] == 10


def test_a_class_of_a_notebook_is_found(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell's class lies in `__main__`, which has no file."""

    class Cell(torch.nn.Linear):
        def __init__(self, in_features: int, out_features: int) -> None:
            super().__init__(in_features, out_features)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.flatten(1))

    monkeypatch.setattr(sys.modules["__main__"], "CellOfATest", Cell, raising=False)
    own = ["model._target_=__main__.CellOfATest", "~model.depth", "~model.width", "~model.bias"]
    run = fanin.run([*TINY[:2], "trainer.steps=2", *own])
    assert (run.status, run.result["parameters"]) == ("done", 8 * 8 * 10 + 10)
    assert isinstance(run.model, Cell)


def test_a_composed_configuration_is_resolved(host: Path) -> None:
    before = snapshot()
    made = fanin.compose(["model.depth=20", "experiment=init_study"])
    assert changes(before, snapshot()) == []
    assert (made.model.depth, "hydra" in made) == (20, False)
    assert "${" not in str(made)
    with pytest.raises(UserError, match="unknown key depth"):
        fanin.compose(["depth=20"])
