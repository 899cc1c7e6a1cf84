"""Monte Carlo dropout against the sum over all masks, and what a command writes of it."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from command_line import fanin, read, runs
from fanin.parts.activations import relu
from fanin.parts.models import Mlp
from fanin.parts.normalization import BatchNorm, NoNorm
from fanin.parts.regularizers import Dropout
from fanin.report.cli import main
from fanin.train.sampled_evaluation import sampled
from fanin.train.trained_model import TrainedModel
from networks import drawn

P, WIDTH = 0.4, 3


def network(normalization: type = NoNorm) -> TrainedModel:
    model = drawn(
        Mlp(
            in_features=4, out_features=3, depth=2, width=WIDTH, bias=True, activation=relu,
            normalization=normalization(), dropout=Dropout(p=P),
        ).double()
    )  # fmt: skip
    with torch.no_grad():
        for one in model.parameters():
            one.mul_(3)
    stream = torch.Generator().manual_seed(0)
    return TrainedModel(model, torch.optim.SGD(model.parameters(), lr=0.1), dropout=stream, seed=5)


def exact(own: TrainedModel, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean over all 2^WIDTH masks of p, its variance over them, and the mean of the entropies."""
    *below, _, last = own.model.eval().children()
    hidden, mean, square, entropies = nn.Sequential(*below)(inputs), torch.zeros(()), torch.zeros(()), torch.zeros(())
    for kept in itertools.product([0.0, 1.0], repeat=WIDTH):
        mask = torch.tensor(kept, dtype=torch.float64)
        weight = float((1 - P) ** mask.sum() * P ** (WIDTH - mask.sum()))
        p = last(hidden * mask / (1 - P)).softmax(dim=1).detach()
        mean, square = mean + weight * p, square + weight * p**2
        entropies = entropies - weight * (p * p.log()).sum(dim=1)
    return mean, square - mean**2, entropies


def test_the_mean_is_that_over_all_masks() -> None:
    own, inputs, samples = network(), torch.randn(50, 4, dtype=torch.float64), 3000
    found = sampled(own, inputs, samples, chunk=20)
    mean, variance, entropies = exact(own, inputs)
    # 150 means, each within 5 standard errors: one leaves them with probability 9e-5 or so.
    assert ((found.log_p.exp() - mean).abs() <= 5 * (variance / samples).sqrt() + 1e-12).all()
    assert torch.allclose(found.log_p.exp().sum(dim=1), torch.ones(50, dtype=torch.float64))
    entropy = -(mean * mean.log()).sum(dim=1)
    slack = 5 * np.log(3) / samples**0.5  # an entropy lies between 0 and ln 3
    torch.testing.assert_close(found.entropy, entropy, rtol=0, atol=slack)
    torch.testing.assert_close(found.information, entropy - entropies, rtol=0, atol=2 * slack)
    assert (found.information >= 0).all()


def test_nothing_else_is_as_in_training() -> None:
    own, inputs = network(BatchNorm), torch.randn(30, 4, dtype=torch.float64)
    assert own.dropout is not None
    before = {name: one.clone() for name, one in own.tensors.items()}
    state = own.dropout.get_state()
    first, second = (sampled(own, inputs, 4, chunk=size).log_p for size in (30, 30))
    assert torch.equal(first, second)  # a stream of its own, from its start
    assert all(torch.equal(one, before[name]) for name, one in own.tensors.items())
    assert torch.equal(own.dropout.get_state(), state)
    assert not any(module.training for module in own.model.modules())
    # Batch normalization is by its running statistics: an example's answer does not depend on the others.
    own.model.get_submodule("dropout_1").p = 0.0  # type: ignore[assignment]
    together = sampled(own, inputs, 1, chunk=30).log_p
    torch.testing.assert_close(together, own.model(inputs).log_softmax(dim=1))


def test_torchs_own_dropout_is_on_too() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)).double()
    own = TrainedModel(model, torch.optim.SGD(model.parameters(), lr=0.1))
    inputs, state = torch.randn(6, 4, dtype=torch.float64), torch.get_rng_state()
    found = sampled(own, inputs, 20, chunk=10)
    assert (found.information > 0).all()
    assert torch.equal(torch.get_rng_state(), state)


WORDS = (
    "data=digits", "model.depth=2", "model.width=12", "model.bias=true", "trainer.steps=30", "regularizer=dropout",
    "probe=off",
)  # fmt: skip


@pytest.mark.slow
def test_a_command_writes_both_evaluations(tmp_path: Path) -> None:
    for words in (("hydra.run.dir=plain",), ("hydra.run.dir=told", "evaluation.samples=20")):
        said = fanin(tmp_path, *WORDS, *words)
        assert said.code == 0, said.err
    plain, told = (read(tmp_path / name / "result.json") for name in ("plain", "told"))
    assert plain["metrics"] == told["metrics"]
    assert "samples" not in plain["evaluation"]["test"]
    found = told["evaluation"]["test"]
    with np.load(tmp_path / "told" / "scores.npz") as kept:
        scores, targets = kept["test_sampled_scores"], kept["test_targets"]
        entropy, information = kept["test_entropy"], kept["test_information"]
        assert kept["val_sampled_scores"].shape == kept["val_scores"].shape
    p = np.exp(scores)
    assert found["samples"] == 20
    assert found["sampled_error"] == pytest.approx((p.argmax(axis=1) != targets).mean())
    assert found["sampled_loss"] == pytest.approx(-np.log(p[np.arange(len(p)), targets]).mean())
    assert found["sampled_entropy"] == pytest.approx(entropy.mean())
    assert entropy == pytest.approx(-(p * np.log(p)).sum(axis=1))
    assert found["sampled_information"] == pytest.approx(information.mean())
    sure, right = p.max(axis=1), p.argmax(axis=1) == targets
    places = np.minimum(np.ceil(sure * 15), 15)
    gaps = [abs((right - sure)[places == place].sum()) for place in np.unique(places)]
    assert found["sampled_calibration_error"] == pytest.approx(sum(gaps) / len(p))


@pytest.mark.slow
def test_runs_of_one_program_are_sampled_each_as_it_is_alone(tmp_path: Path) -> None:
    samples = "evaluation.samples=5"
    assert fanin(tmp_path, *WORDS, samples, "seed=0,1", "-m", "hydra.sweep.dir=together").code == 0
    assert fanin(tmp_path, *WORDS, samples, "seed=1", "hydra.run.dir=alone").code == 0
    (fused,) = (path for path in (tmp_path / "together").rglob("result.json") if "seed=1" in path.parent.name)
    one, other = (read(path)["evaluation"]["test"] for path in (fused, tmp_path / "alone" / "result.json"))
    for name in ("sampled_loss", "sampled_entropy", "sampled_information"):
        assert one[name] == pytest.approx(other[name], rel=1e-5)


@pytest.mark.slow
def test_the_page_of_a_run_has_both_reliability_diagrams(tmp_path: Path) -> None:
    words = ("data=digits", "model.depth=2", "trainer.steps=30", "regularizer=dropout", "probe=off")
    assert fanin(tmp_path, *words, "evaluation.samples=10").code == 0
    (run,) = runs(tmp_path / "outputs" / "runs").values()
    assert main([str(run)]) == 0
    found = read(run / "result.json")["evaluation"]["test"]
    for name, error in (("calibration", "calibration_error"), ("calibration_sampled", "sampled_calibration_error")):
        with (run / "report" / f"{name}.csv").open() as file:
            bins = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        gap = sum(one["examples"] * abs(one["accuracy"] - one["confidence"]) for one in bins)
        assert gap / sum(one["examples"] for one in bins) == pytest.approx(found[error], rel=1e-9)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("evaluation.samples=5",),
            "evaluation.samples=5: must be 0 for a Mlp without dropout, whose passes are all alike; or take "
            "regularizer=dropout",
        ),
        (("evaluation.samples=-1",), "evaluation.samples=-1: must be an integer >= 0"),
        (
            ("evaluation.samples=5", "model=vae", "loss=elbo"),
            "evaluation.samples=5: must be 0 with loss=elbo, which asks for no classes; leave it out",
        ),
    ],
)
def test_what_has_nothing_to_sample_is_told(tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    said = fanin(tmp_path, "data=digits", *words)
    assert (said.code, said.err) == (1, [f"fanin: {line}"])
