"""Jacobians by random vectors against dense ones by automatic differentiation."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from command_line import TINY, fanin, read, runs, table
from engine import SGD, batch, learner, network
from fanin.parts import activations
from fanin.parts.models import Mlp, ResidualMlp, Rnn
from fanin.parts.normalization import BatchNorm, LayerNorm, NoNorm
from fanin.parts.regularizers import Dropout
from fanin.probes.jacobians import blocks, calls_of, jacobian_norm, measured
from fanin.streams import generator
from fanin.train.fused_learner import FusedLearner
from networks import build, drawn, normal


def dense(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """d end / d start of two tensors of one graph, [entries, entries]."""
    rows = [torch.autograd.grad(one, start, retain_graph=True)[0].flatten() for one in end.flatten()]
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("kind", "settings", "ends"),
    [
        (Mlp, {"depth": 3, "width": 6}, ["tanh_1", "tanh_2", "linear_3"]),
        (Mlp, {"depth": 3, "width": [4, 7], "normalization": BatchNorm()}, ["tanh_1", "tanh_2", "linear_3"]),
        (
            ResidualMlp,
            {"depth": 6, "width": 5, "normalization": LayerNorm()},
            ["linear_1", "block_1.add", "tanh_5", "linear_6"],
        ),
    ],
)
def test_block_norms_are_those_of_the_dense_jacobian(kind, settings, ends: list[str]) -> None:  # type: ignore[no-untyped-def]
    model, inputs = drawn(build(kind, **settings)), normal(1, 3, 5).requires_grad_()
    with calls_of(model) as calls:
        model(inputs)
    found = blocks(model, calls)
    assert [one.name for one in found] == ends
    start, vectors = inputs, 400
    for end in found:
        jacobian = dense(start, end.output)
        expected = jacobian.square().sum().item() / end.output.numel()
        # Var v^T A v = 2 sum of the squared entries of A = J J^T off its diagonal, for signs v.
        gram = jacobian @ jacobian.T
        spread = 2 * (gram.square().sum() - gram.diagonal().square().sum()).item()
        error = math.sqrt(spread / vectors) / end.output.numel()
        estimate = jacobian_norm(start, end.output, vectors, torch.Generator().manual_seed(7))
        assert abs(estimate - expected) < 4 * error + 1e-12 * expected
        start = end.output


def test_the_spectrum_is_that_of_each_examples_jacobian() -> None:
    model, inputs = drawn(build(Mlp, depth=3, width=6)), normal(2, 4, 5).requires_grad_()
    with calls_of(model) as calls:
        outputs = model(inputs)
    found = measured(model, calls, inputs, outputs, norms=False, spectra=True)
    each = [torch.autograd.functional.jacobian(lambda x: model(x[None])[0], one) for one in inputs.detach()]
    squares = torch.cat([torch.linalg.svdvals(one) ** 2 for one in each])
    assert found == {
        ("module", 6, "linear_3", "spectrum_mean"): pytest.approx(squares.mean().item(), rel=1e-12),
        ("module", 6, "linear_3", "spectrum_max"): pytest.approx(squares.max().item(), rel=1e-12),
        ("module", 6, "linear_3", "spectrum_variance"): pytest.approx(squares.var(correction=0).item(), rel=1e-12),
    }


def test_what_runs_more_than_once_has_no_blocks() -> None:
    model = drawn(
        Rnn(
            input_shape=(1, 3, 4), out_features=3, width=5, activation=activations.tanh, normalization=NoNorm()
        ).double()
    )
    inputs = normal(3, 2, 1, 3, 4).requires_grad_()
    with calls_of(model) as calls:
        outputs = model(inputs)
    assert blocks(model, calls) == []
    assert len(measured(model, calls, inputs, outputs, norms=True, spectra=True)) == 3


@pytest.mark.parametrize("settings", [{}, {"normalization": BatchNorm()}, {"dropout": Dropout(p=0.4)}])
def test_runs_trained_together_are_measured_as_alone(settings) -> None:  # type: ignore[no-untyped-def]
    def made(seed: int):  # type: ignore[no-untyped-def]
        streams = {}
        if "dropout" in settings:
            streams = {"dropout": generator(seed, "d"), "probe_dropout": lambda: torch.Generator().manual_seed(99)}
        return learner(network(seed, **settings), SGD, **streams)

    alone = [made(seed) for seed in range(2)]
    fused = FusedLearner([made(seed).own for seed in range(2)])
    data = [batch(seed) for seed in range(2)]
    together = (torch.cat([one[0] for one in data]), torch.cat([one[1] for one in data]))
    for one, given in zip(alone, data, strict=True):
        one.step(given, [0.1])
    fused.step(together, [0.1, 0.1])
    before = {name: value.clone() for name, value in alone[0].model.state_dict().items()}
    labels, values = fused.jacobians(together[0], norms=True, spectra=True)
    for run, one in enumerate(alone):
        own, expected = one.jacobians(data[run][0], norms=True, spectra=True)
        assert own == labels
        torch.testing.assert_close(values[run], expected[0], rtol=1e-4, atol=1e-6)
    assert {label[3] for label in labels} == {"jacobian_norm", "spectrum_mean", "spectrum_max", "spectrum_variance"}
    assert all(torch.equal(value, before[name]) for name, value in alone[0].model.state_dict().items())


def test_a_run_that_is_asked_writes_them(tmp_path: Path) -> None:
    said = fanin(tmp_path, *TINY, "probe.jacobians=true", "probe.spectrum=true")
    assert said.code == 0, said.err
    (folder,) = runs(tmp_path / "outputs" / "runs").values()
    rows = [row for row in table(folder / "profiles.csv") if row["snapshot"] == "init"]
    norms = {row["layer"]: float(row["value"]) for row in rows if row["quantity"] == "jacobian_norm"}
    assert list(norms) == ["relu_1", "relu_2", "linear_3"]
    (mean,) = (float(row["value"]) for row in rows if row["quantity"] == "spectrum_mean")
    assert read(folder / "result.json")["init"]["spectrum_mean"] == mean
    assert mean > 0
