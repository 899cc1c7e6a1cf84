"""Curvature in real runs: what a point is, runs together as alone, and what cannot be measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import fanin, read, runs, table

SURFACE = (
    "probe=off", "probe.curvature.quantities=[verdict]", "model=surface", "loss=value", "data=point",
    "trainer.batch_size=1", "trainer.steps=1", "trainer.precision=float64", "initializer=torch_default",
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "start", "word", "index"),
    [
        ("saddle", "[0,0]", "saddle", 1),
        pytest.param("rosenbrock", "[1,1]", "minimum", 0, marks=pytest.mark.slow),
        pytest.param("saddle", "[1,1]", "not stationary", 0, marks=pytest.mark.slow),
    ],
)
def test_what_a_point_of_a_surface_is(tmp_path: Path, kind: str, start: str, word: str, index: int) -> None:
    said = fanin(tmp_path, *SURFACE, f"model.kind={kind}", f"model.start={start}", "hydra.run.dir=run")
    assert said.code == 0
    (count, *_) = (row["value"] for row in table(tmp_path / "run" / "curvature.csv") if row["quantity"] == "index")
    assert float(count) == index
    if word != "not stationary":  # it leaves no stationary point
        assert read(tmp_path / "run" / "result.json")["curvature"]["verdict"] == word


@pytest.mark.slow
def test_runs_together_have_the_curvature_that_they_have_alone(tmp_path: Path) -> None:
    """In float64: equal up to the rounding of sums in another order, in every row, critical steps included."""
    words = (
        "seed=0,1", "probe.curvature.quantities=[sharpness,trace,critical_sharpness]", "probe.curvature.every=2",
        "probe.curvature.mode=training", "trainer.steps=3", "model.depth=3", "model.width=8", "data=gaussian",
        "data.features=5", "trainer.precision=float64", "regularizer=[l2,dropout]", "probe.curvature.vectors=6",
    )  # fmt: skip
    for launcher in ("fused", "basic"):
        assert fanin(tmp_path, "-m", *words, f"hydra/launcher={launcher}", f"hydra.sweep.dir={launcher}").code == 0
    together, alone = (runs(tmp_path / name) for name in ("fused", "basic"))
    assert len(together) == 2
    for name, folder in together.items():
        pairs = zip(table(folder / "curvature.csv"), table(alone[name] / "curvature.csv"), strict=True)
        for one, other in pairs:
            assert float(one.pop("value")) == pytest.approx(float(other.pop("value")), rel=1e-7)
            assert one == other


SMALL = (
    "data=gaussian", "data.features=4", "data.examples=60", "data.val_size=6", "data.test_size=6",
    "trainer.batch_size=8", "trainer.steps=3", "model.depth=3", "model.width=4", "probe=curvature", "probe.band=off",
    "probe.curvature.every=2", "hydra.run.dir=run",
)  # fmt: skip


@pytest.mark.slow
def test_a_run_that_diverges_has_rows_that_say_so(tmp_path: Path) -> None:
    """Looks go on to the last step: no number, `not finite`, and no error."""
    words = ("optimizer.lr=1e30", "probe.batch_size=20", "probe.curvature.quantities=[sharpness,verdict]")
    assert fanin(tmp_path, *SMALL, *words).code == 0
    rows = [row for row in table(tmp_path / "run" / "curvature.csv") if row["quantity"] == "sharpness"]
    assert [row["value"] == "nan" for row in rows] == [False, True]
    assert read(tmp_path / "run" / "result.json")["curvature"]["verdict"] == "not finite"


@pytest.mark.slow
def test_of_one_example_there_is_no_noise_and_all_else(tmp_path: Path) -> None:
    words = ("probe.batch_size=1", "probe.curvature.k=3", "probe.curvature.quantities=[eigenvalues,trace,noise_scale]")
    assert fanin(tmp_path, *SMALL, *words).code == 0
    found = [(row["quantity"], row["value"]) for row in table(tmp_path / "run" / "curvature.csv")]
    assert {name for name, value in found if value == "nan"} == {"noise_scale", "signal_to_noise"}
    assert sum(name == "eigenvalue_largest" for name, _ in found) >= 6


ONE_NUMBER = """
import torch
from torch import nn

class OneNumber(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.5))
        self.out_features = out_features

    def forward(self, x):
        return self.slope * x[:, :1] * torch.arange(self.out_features)
"""


@pytest.mark.slow
def test_a_model_of_one_number_has_one_eigenvalue(tmp_path: Path) -> None:
    """The softmax's scores are s x j: the second derivative by s is the mean of x^2 times the variance of j."""
    (tmp_path / "one_number.py").write_text(ONE_NUMBER)
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "one_number.yaml").write_text("_target_: one_number.OneNumber\n")
    words = (
        *(word for word in SMALL if not word.startswith("model.")), "--config-dir", "own", "model=one_number",
        "probe.batch_size=20", "probe.curvature.quantities=[eigenvalues,trace,density,verdict]", "probe.curvature.k=3",
    )  # fmt: skip
    said = fanin(tmp_path, *words)
    assert (said.code, said.err) == (0, [])
    rows = [row for row in table(tmp_path / "run" / "curvature.csv") if row["step"] == "0"]
    found = {(row["quantity"], row["index"]): float(row["value"]) for row in rows}
    (value,) = (one for (name, _), one in found.items() if name == "eigenvalue_largest")
    assert value > 0
    assert found["eigenvalue_smallest", "1"] == found["trace", ""] == value
    assert (found["index", ""], found["trace_error", ""], found["condition", ""]) == (0, 0, 1)


@pytest.mark.slow
def test_what_takes_more_memory_than_there_is_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    """A curve of 10^15 points: no machine has the addresses."""
    words = ("probe.batch_size=20", "probe.curvature.quantities=[density,sharpness]", f"probe.curvature.bins={10**15}")
    said = fanin(tmp_path, *SMALL, *words)
    assert said.code == 0
    told = [line for line in said.out if "density could not be measured; it takes more memory than there is" in line]
    assert told
    rows = [(row["quantity"], row["value"] == "nan") for row in table(tmp_path / "run" / "curvature.csv")]
    assert set(rows) == {("sharpness", False), ("density", True)}
    assert read(tmp_path / "run" / "status.json")["state"] == "done"
