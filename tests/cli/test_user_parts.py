"""A user's own parts: an initializer in ten lines is an option like any other, and a part that breaks one run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import TINY, Said, fanin, read, runs, table

OWN = '''
import os
import torch
from fanin.parts.initializers import Initializer
from fanin.parts.models import Mlp

class Sparse(Initializer):
    """Each weight is +-sqrt(c / (p fan_in)) with probability p, else 0: Var W = c / fan_in."""

    def __init__(self, *, c: float, p: float) -> None:
        self.c, self.p = c, p

    def variance(self, fan_in, fan_out):
        return self.c / fan_in

    def fill(self, weight, fan_in, fan_out, generator):
        drawn = torch.rand(weight.shape, generator=generator)
        signs = (drawn < self.p / 2).float() - (drawn > 1 - self.p / 2).float()
        weight.copy_(signs * (self.c / (self.p * fan_in)) ** 0.5)

class Brittle(Mlp):
    """A net whose width 17 breaks in its 7th pass (theory's looks count), where the variable BRITTLE is set."""

    passes = 0

    def forward(self, x):
        self.passes += self.training
        if "BRITTLE" in os.environ and x.shape[0] and self.linear_1.out_features == 17 and self.passes == 7:
            raise ArithmeticError("width 17 is odd")
        return super().forward(x)
'''
SPARSE = """\
# a few weights of one size, the others 0
_target_: own_parts.Sparse
c: 2.0  # variance of a weight times its fan_in
p: 0.1  # share of the weights that are not 0
"""
BRITTLE = "# breaks on request\ndefaults:\n  - mlp\n  - _self_\n_target_: own_parts.Brittle\n"
GRID = ("-m", "--config-dir=own", *TINY, "initializer=sparse", "model=brittle", "model.width=16,17,18")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's own options, and the module they name on the path of `python -m`."""
    folder = tmp_path_factory.mktemp("own")
    for file, content in (("initializer/sparse.yaml", SPARSE), ("model/brittle.yaml", BRITTLE)):
        (folder / "own" / file).parent.mkdir(parents=True)
        (folder / "own" / file).write_text(content)
    (folder / "code").mkdir()
    (folder / "code" / "own_parts.py").write_text(OWN)
    return folder


@pytest.fixture(scope="module")
def broken(place: Path) -> tuple[Said, dict[str, Path]]:
    """What a grid says of which one run fails, and its runs by width."""
    said = fanin(place, *GRID, BRITTLE="yes", PYTHONPATH=str(place / "code"))
    return said, {read(run / "status.json") and name.partition("width=")[2][:2]: run
                  for name, run in runs(place / "outputs" / "runs").items()}  # fmt: skip


def test_the_help_lists_own_options(place: Path) -> None:
    for folder in (["--config-dir=own"], ["--config-dir", "own"], ["-cd", "own"]):
        said = fanin(place, "--help", *folder, fresh=True)
        assert said.code == 0
        listed = [line.split(maxsplit=1) for line in said.out]
        assert ["sparse", "a few weights of one size, the others 0"] in listed
        assert ["brittle", "breaks on request"] in listed
        assert said.out.index("  model") < said.out.index("  initializer")
    assert not any("sparse" in line for line in fanin(place, "--help", fresh=True).out)


@pytest.mark.slow
def test_own_parts_train_like_any_other(broken: tuple[Said, dict[str, Path]]) -> None:
    run = broken[1]["16"]
    result = read(run / "result.json")
    assert (result["state"], result["steps"], result["overrides"]["initializer"]) == ("done", 6, "sparse")
    profile = [row for row in table(run / "profiles.csv") if row["snapshot"] == "init"]
    variances = [float(row["value"]) for row in profile if row["quantity"] == "weight_variance"]
    # 784 x 16 weights of which about 1254 +- 34 are not 0: the sample variance is 2 within 4 * 2 * 34 / 1254.
    assert variances[0] == pytest.approx(2, abs=0.22)
    # +-1 times the share p: the weights are those that Sparse makes, not the default's.
    norms = [float(row["value"]) for row in profile if row["quantity"] == "weight_norm"]
    per_weight = norms[0] ** 2 / (2 / (0.1 * 784))
    assert per_weight == pytest.approx(round(per_weight), abs=1e-2)  # a whole number of equal squares
    # Weights that have no law: what is expected of them comes from redraws.
    sources = {row["source"] for row in profile if row["quantity"] == "activation_norm" and row["layer"] != "input"}
    assert all(source.startswith("redraw of ") for source in sources), sources


def test_a_failing_run_takes_no_other_with_it(place: Path, broken: tuple[Said, dict[str, Path]]) -> None:
    said, found = broken
    failed = found["17"]
    assert said.code == 1
    assert said.err == [
        "3 runs in outputs/runs",
        f"fanin: 1 of 3 runs failed; the first: {failed.relative_to(place)}/run.log",
    ]
    assert sum("train loss" in line for line in said.out) == 2
    (line,) = [line for line in said.out if "failed: " in line]
    assert "failed: ArithmeticError: width 17 is odd" in line
    status = read(failed / "status.json")
    assert (status["state"], status["error"]) == ("failed", "ArithmeticError: width 17 is odd")
    assert (status["step"], status["steps"]) == (3, 6)  # the last row that was logged
    assert not (failed / "result.json").exists()
    log = (failed / "run.log").read_text()
    assert "Traceback (most recent call last):" in log
    assert 'raise ArithmeticError("width 17 is odd")' in log
    for width in ("16", "18"):
        assert read(found[width] / "status.json")["state"] == "done"
        assert "Traceback" not in (found[width] / "run.log").read_text()
    rows = {row["run"]: row for row in table(place / "outputs" / "runs" / "summary.csv")}
    assert [(row["model.width"], row["state"]) for _, row in sorted(rows.items())] == [
        ("16", "done"), ("17", "failed"), ("18", "done"),
    ]  # fmt: skip
    assert rows[failed.name]["error"] == "ArithmeticError: width 17 is odd"
    assert "failed" in (place / "outputs" / "runs" / "report" / "index.html").read_text()


@pytest.mark.slow
def test_the_same_command_runs_the_failed_one_alone(place: Path, broken: tuple[Said, dict[str, Path]]) -> None:
    found = broken[1]
    before = {width: (run / "status.json").read_text() for width, run in found.items()}
    said = fanin(place, *GRID, PYTHONPATH=str(place / "code"))
    assert (said.code, said.err) == (
        0,
        ["3 runs in outputs/runs, 2 of them finished before (force=true runs them again)"],
    )
    assert {width for width, run in found.items() if (run / "status.json").read_text() != before[width]} == {"17"}
    assert read(found["17"] / "status.json")["state"] == "done"
    result = read(found["17"] / "result.json")
    assert (result["steps"], result["overrides"]["model.width"]) == (6, 17)
    assert [row["step"] for row in table(found["17"] / "metrics.csv")] == ["1", "3", "6", "6"]
    assert {row["state"] for row in table(place / "outputs" / "runs" / "summary.csv")} == {"done"}


def test_mistakes_in_own_parts_are_one_line(place: Path, typed: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "own" / "initializer").mkdir(parents=True)
    for target, line in {
        "own_partz.Sparse": "fanin: initializer._target_=own_partz.Sparse: must be an importable class or function; ",
        "fanin.parts.initializers.Sparse": "fanin: initializer._target_=fanin.parts.initializers.Sparse: must be",
        "fanin.parts.initializers.Zeros\nspeed: 3": "fanin: unknown key initializer.speed=3: fanin.parts",
    }.items():
        (tmp_path / "own" / "initializer" / "mine.yaml").write_text(f"_target_: {target}\n")
        said = typed("--config-dir=own", "initializer=mine", "trainer.steps=0")
        assert (said.code, said.out, len(said.err)) == (1, [], 1)
        assert said.err[0].startswith(line)
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@pytest.mark.slow
def test_an_edited_part_is_not_passed_over_in_silence(typed: Callable[..., Said], tmp_path: Path) -> None:
    """The run stays as it is, for a change may be one of words; what to type is told, in a single run and a grid."""
    (tmp_path / "own" / "initializer").mkdir(parents=True)
    (tmp_path / "own" / "initializer" / "sparse.yaml").write_text(SPARSE.replace("own_parts", "edited_parts"))
    (tmp_path / "edited_parts.py").write_text(OWN)
    command = ("--config-dir=own", "data=gaussian", "model.depth=3", "trainer.steps=1", "initializer=sparse")
    assert typed(*command).code == 0
    (run,) = runs(tmp_path / "outputs" / "runs").values()
    digest = hashlib.sha256(OWN.encode()).hexdigest()[:16]
    assert read(run / "result.json")["code"] == {"edited_parts.py": digest}
    assert typed(*command).out[0].endswith("done before, not run again (force=true does)")
    (tmp_path / "edited_parts.py").write_text(OWN + "\n# another word\n")
    assert typed(*command).out[0].endswith("(force=true does); edited_parts.py has changed since")
    told = typed("-m", *command).err
    assert "edited_parts.py has changed since 1 of those; force=true runs them again" in told
    assert read(run / "result.json")["code"] == {"edited_parts.py": digest}
    assert typed(*command, "force=true").code == 0
    assert read(run / "result.json")["code"] != {"edited_parts.py": digest}


GAN = '''
from torch import nn

class Gan(nn.Module):
    """A model may call a part of it what it likes."""

    def __init__(self, *, in_features, out_features):
        super().__init__()
        self.generator, self.discriminator = nn.Linear(in_features, 4), nn.Linear(4, out_features)

    def forward(self, x):
        return self.discriminator(self.generator(x.flatten(1)).relu())
'''


def test_a_model_may_have_a_part_called_generator(typed: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "gan_of_a_user.py").write_text(GAN)
    typed_words = ("model._target_=gan_of_a_user.Gan", "~model.depth", "~model.width", "~model.bias", "data=gaussian",
                   "trainer.steps=3")  # fmt: skip
    said = typed(*typed_words)
    assert (said.code, said.err) == (0, [])
    (run,) = runs(tmp_path / "outputs" / "runs").values()
    rows = table(run / "profiles.csv")
    assert {row["layer"] for row in rows if row["axis"] == "weight"} == {"generator", "discriminator"}
