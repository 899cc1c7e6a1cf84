"""A user's own functions as measured quantities: numbers by numpy, stacked runs, files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from command_line import fanin, table
from engine import batch, learner, network
from fanin.errors import OptionError, UserError
from fanin.parts.optimizers import SGD
from fanin.probes import Probe
from fanin.probes.probe import QUANTITIES, measure_curves, measure_profile
from fanin.probes.quantities import Quantity, own_quantities
from fanin.train.fused_learner import FusedLearner

MODULE = """
import torch

def stable_rank(weight):
    w = weight.flatten(1)
    return w.square().sum() / torch.linalg.matrix_norm(w, 2) ** 2

def kurtosis(activation):
    x = activation.flatten(1)
    return (x**4).mean() / (x**2).mean() ** 2

def alignment(weight, gradient):
    return torch.cosine_similarity(weight.flatten(), gradient.flatten(), dim=0)

def flow(activation_gradient):
    return activation_gradient.abs().max()

def largest_step(updated, weight):
    return float((updated - weight).abs().max())

def of_x(x):
    return 0

def of_columns(weight):
    return weight.sum(0)
"""

OWN = ["mine.stable_rank", "mine.kurtosis", "mine.alignment", "mine.flow", "mine.largest_step"]
TINY = ("model.depth=3", "model.width=16", "data.limit=300", "data.image_size=8", "trainer.steps=4", "probe.every=1")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Quantity, ...]:
    (tmp_path / "own_measures_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return own_quantities([name.replace("mine", "own_measures_of_a_test") for name in OWN])


def test_numbers_of_a_profile_by_numpy(own: tuple[Quantity, ...]) -> None:
    one = learner(network(1))
    seen = one.observe(batch(0))
    labels, values = measure_profile(seen, own)
    found = dict(zip(labels, values[0].tolist(), strict=True))
    for index, (name, weight) in enumerate(one.own.weights.items(), start=1):
        w = weight.detach().double().numpy()
        singular = np.linalg.svd(w, compute_uv=False)
        expected = (singular**2).sum() / singular[0] ** 2
        assert found["weight", index, name, "stable_rank"] == pytest.approx(expected, rel=1e-5)
        g = seen.gradients[index - 1][0].double().numpy()
        cosine = (w * g).sum() / np.linalg.norm(w) / np.linalg.norm(g)
        assert found["weight", index, name, "alignment"] == pytest.approx(cosine, rel=1e-4, abs=1e-6)
    for index, (name, activation) in enumerate(zip(seen.modules, seen.activations, strict=True), start=1):
        x = activation.double().numpy()
        expected = (x**4).mean() / (x**2).mean() ** 2
        assert found["module", index, name, "kurtosis"] == pytest.approx(expected, rel=1e-5)
    assert ("module", 1, "input", "flow") not in found, "nothing flows back to the input"
    assert found["module", 2, "linear_1", "flow"] > 0
    assert not any(label[3] == "largest_step" for label in labels), "there is no update in a profile"
    assert {label[3] for label in labels} >= set(QUANTITIES) - {"update_ratio", "bias_gradient_norm"}


def test_curves_of_the_training_pass(own: tuple[Quantity, ...]) -> None:
    """SGD: the largest step is the rate times the largest gradient; activations are those of the layer's block."""
    one = learner(network(2))
    data = batch(0)
    block = one.observe(data).activations[2][0].double()  # relu_1
    result = one.step(data, [0.5], own)
    assert result.curves is not None
    found = {label[1:]: value for label, value in zip(result.curves[0], result.curves[1][0].tolist(), strict=True)}
    for index, (name, weight) in enumerate(one.own.weights.items(), start=1):
        assert weight.grad is not None
        step = 0.5 * float(weight.grad.abs().max())
        assert found[index, name, "largest_step"] == pytest.approx(step, rel=1e-3)
    expected = float((block**4).mean() / (block**2).mean() ** 2)
    assert found[1, "linear_1", "kurtosis"] == pytest.approx(expected, rel=1e-5)


def test_fused_runs_are_measured_each_by_itself(own: tuple[Quantity, ...]) -> None:
    alone = [learner(network(seed), SGD) for seed in range(3)]
    fused = FusedLearner([learner(network(seed), SGD).own for seed in range(3)])
    each = [batch(seed) for seed in range(3)]
    together = torch.cat([one[0] for one in each]), torch.cat([one[1] for one in each])
    labels, values = measure_profile(fused.observe(together), own)
    curves = fused.step(together, [0.1] * 3, own).curves
    assert curves is not None
    for run, one in enumerate(alone):
        its_labels, its = measure_profile(one.observe(each[run]), own)
        assert labels == its_labels
        torch.testing.assert_close(values[run], its[0], rtol=1e-4, atol=1e-5, equal_nan=True)
        its_curves = one.step(each[run], [0.1], own).curves
        assert its_curves is not None
        assert curves[0] == its_curves[0]
        torch.testing.assert_close(curves[1][run], its_curves[1][0], rtol=1e-4, atol=1e-5)


def test_files_of_a_command(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    chosen = "probe.curves=[stable_rank,largest_step,gradient_norm]"
    said = fanin(tmp_path, *TINY, f"probe.measures=[{','.join(OWN)}]", chosen)
    assert said.code == 0, said.err
    (run,) = tmp_path.glob("outputs/runs/*/")
    rows = [row for row in table(run / "profiles.csv") if row["snapshot"] == "init"]
    ranks = [float(row["value"]) for row in rows if row["quantity"] == "stable_rank"]
    assert len(ranks) == 3
    assert 1 <= min(ranks) <= max(ranks) <= 16
    events = EventAccumulator(str(run), {"scalars": 0})
    events.Reload()
    steps = [event.step for event in events.Scalars("layers/largest_step/2_linear_2")]
    assert steps == [0, 1, 2, 3]
    profile = [event.value for event in events.Scalars("profile_init/stable_rank")]
    assert profile == pytest.approx(ranks, rel=1e-6)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("[mine.nope]", "probe.measures.nope=mine.nope: must be a function of your own module, such as "),
        (
            "[mine.of_x]",
            "must be a function with parameters out of activation, activation_gradient, ",
        ),
        ("[mine.of_columns]", "probe.measures.of_columns: must give one number for tensors of shape [4, 3]; "),
        ("[os.system]", "probe.measures.system=os.system: must be a function of your own module"),
        ("[torch.relu]", "probe.measures.relu=torch.relu: must be a function of your own module"),
        ("[weight_norm]", "probe.measures=weight_norm: must be a name of letters, digits and _ that is not taken"),
        ("{weight_norm: mine.stable_rank}", "probe.measures=weight_norm: must be a name of letters"),
        ("mine.stable_rank", "probe.measures=mine.stable_rank: must be a list of functions; type measures=[mine."),
    ],
)
def test_what_is_no_quantity_is_one_line_and_leaves_nothing(tmp_path: Path, typed: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    answer = fanin(tmp_path, *TINY, f"probe.measures={typed}")
    assert (answer.code, len(answer.err)) == (1, 1)
    assert said in answer.err[0]
    assert not (tmp_path / "outputs").exists()


def test_a_curve_of_no_quantity_names_those_there_are(own: tuple[Quantity, ...]) -> None:
    names = {"rank": "own_measures_of_a_test.stable_rank"}
    assert [one.name for one in Probe(measures=names, curves=["rank"]).curves] == ["rank"]
    with pytest.raises(OptionError, match="update_ratio, rank"):
        Probe(measures=names, curves=["stable_rank"])


def test_a_function_that_fails_later_is_told_with_the_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example that it is tried on has four rows."""
    (tmp_path / "picky_measure_of_a_test.py").write_text("def corner(weight): return weight[3, 2]")
    monkeypatch.syspath_prepend(tmp_path)
    own = own_quantities(["picky_measure_of_a_test.corner"])
    seen = learner(network(3, depth=2, width=2)).observe(batch(0))
    with pytest.raises(UserError, match=r"probe\.measures\.corner: must give one number for tensors of shape \[2, 7\]"):
        measure_curves(seen, own)


@pytest.mark.parametrize(
    ("every", "steps", "points"),
    [
        (None, 9, 9),
        (None, 39, 13),  # every 3rd step
        (None, 100, 10),
        (None, 500, 10),  # every 50th, and so it stays
        (None, 5000, 100),
        (50, 39, 1),
        (10, 39, 4),
        (0, 39, 0),
    ],
)
def test_the_cadence_of_curves_follows_the_length_of_the_run(every: int | None, steps: int, points: int) -> None:
    probe = Probe(every=every)
    probe.set_length(steps)
    assert sum(probe.curve_due(step) for step in range(steps)) == points
