"""Parameters that are not trained, and networks without weight layers: they stay, the others train as ever."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import engine
from engine import batch, network, perturbed, recipe, rows
from fanin.parts import activations
from fanin.parts.averaging import Ema, NoAveraging
from fanin.parts.clipping import ClipNorm
from fanin.parts.initializers import TorchDefault
from fanin.parts.optimizers import SGD, Adam, Momentum
from fanin.parts.regularizers import L1, L2, SAM, MaxNorm, WeightDecay
from fanin.probes import Probe
from fanin.probes.probe import QUANTITIES, measure_profile
from fanin.train.single_learner import SingleLearner
from fanin.train.step import Method
from fanin.train.trained_model import TrainedModel
from steps_by_hand import EXACT, ByHand, curve_values, gradients_by_hand, length, method_of, parameters
from together import fuse

EVERYTHING = Method(
    penalties=[L1(strength=0.01), L2(strength=0.1)],
    clipping=ClipNorm(bound=0.5),
    decays=[WeightDecay(rate=0.01)],
    bounds=[MaxNorm(bound=0.8)],
    sam=SAM(rho=0.1),
    averaging=Ema(decay=0.5),
)


def frozen(names: Sequence[str], optimizer: Any = Momentum, **changes: Any) -> SingleLearner:
    """A learner of 7 -> 6 -> 6 -> 6 -> 4 in which parameters whose names begin so are not trained."""
    seed = changes.pop("seed", 2)
    model = perturbed(network(seed, bias=True, dtype=torch.float64, activation=activations.tanh))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(names)))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return SingleLearner(TrainedModel(model, optimizer(trained, lr=0.0), **{"method": EVERYTHING, **changes}))


FROZEN = [
    ["linear_1"],
    ["linear_2.weight", "linear_3.bias"],
    ["linear_4"],
    [f"linear_{index}.weight" for index in range(1, 5)],  # biases alone are trained
    ["linear_1", "linear_2", "linear_3", "linear_4.weight"],
    ["linear_1.bias", "linear_2", "linear_3", "linear_4"],  # the first weight alone is
]


@pytest.mark.parametrize("names", FROZEN, ids=lambda names: f"{len(names)} {names[0]}")
@pytest.mark.parametrize("optimizer", [Momentum, Adam])
def test_what_is_frozen_stays_whatever_the_recipe(names: list[str], optimizer: Any) -> None:
    one = frozen(names, optimizer)
    before = copy.deepcopy(one.model.state_dict())
    for step in range(3):
        result = one.step(batch(step, dtype=torch.float64), [0.1], QUANTITIES)
        found = curve_values(result)
        for layer in (f"linear_{index}" for index in range(1, 5)):
            held = f"{layer}.weight".startswith(tuple(names))
            for quantity in ("gradient_norm", "weight_movement", "update_ratio"):
                if quantity != "weight_movement" or step:
                    assert (found[quantity, layer] == 0) == held, (quantity, layer)
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith(tuple(names)), name
        averaged = one.best_weights(0)[name]
        # an average of equal numbers: exact but for the rounding of a + w (a - a)
        assert torch.equal(averaged, before[name]) == name.startswith(tuple(names)), name
    seen = one.observe(batch(9, dtype=torch.float64))
    zero = [not gradient.any() for gradient in seen.gradients]
    assert zero == [f"linear_{index}.weight".startswith(tuple(names)) for index in range(1, 5)]


@pytest.mark.parametrize("names", FROZEN, ids=lambda names: f"{len(names)} {names[0]}")
def test_the_others_train_as_if_the_frozen_ones_were_constants(names: list[str]) -> None:
    """The norms of clipping and of SAM's ascent go over what is trained alone."""
    parts: dict[str, float | None] = {"l1": 0.01, "l2": 0.1, "clip": 0.3, "decay": 0.05, "bound": 0.9}
    one = frozen(names, SGD, method=method_of(parts, sam=SAM(rho=0.2)))
    data, theta, other = batch(4, dtype=torch.float64), parameters(one.model), copy.deepcopy(one.model)
    trained = [name for name in theta if not name.startswith(tuple(names))]
    gradients = gradients_by_hand(other, data)
    up = 0.2 / length([gradients[name] for name in trained])
    with torch.no_grad():
        for name in trained:
            other.get_parameter(name).add_(torch.from_numpy(up * gradients[name]))
    gradients = gradients_by_hand(other, data)
    wanted = ByHand(parts, SGD).step({name: theta[name] for name in trained}, {n: gradients[n] for n in trained}, 0.1)
    one.step(data, [0.1])
    for name, value in parameters(one.model).items():
        np.testing.assert_allclose(value, wanted.get(name, theta[name]), rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("names", FROZEN, ids=lambda names: f"{len(names)} {names[0]}")
def test_runs_with_frozen_layers_train_together_as_they_do_alone(names: list[str]) -> None:
    alone, together = (
        [frozen(names, method=replace(EVERYTHING, sam=None), seed=seed) for seed in range(3)] for _ in range(2)
    )
    fused = fuse(together)
    for step in range(3):
        data = [batch(10 * run + step, dtype=torch.float64) for run in range(3)]
        results = [one.step(own, [0.1], QUANTITIES) for one, own in zip(alone, data, strict=True)]
        joined = torch.cat([inputs for inputs, _ in data]), torch.cat([targets for _, targets in data])
        labels, numbers = fused.step(joined, [0.1] * 3, QUANTITIES).curves  # type: ignore[misc]
        for run, result in enumerate(results):
            assert result.curves is not None
            assert result.curves[0] == labels
            torch.testing.assert_close(numbers[run], result.curves[1][0], rtol=1e-8, atol=1e-10, equal_nan=True)
    for run, one in enumerate(alone):
        for name, value in one.best_weights(0).items():
            torch.testing.assert_close(fused.best_weights(run)[name], value, **EXACT)
    looks = measure_profile(alone[0].observe(data[0])), measure_profile(fused.observe(joined))
    assert looks[0][0] == looks[1][0]
    torch.testing.assert_close(looks[1][1][:1], looks[0][1], rtol=1e-8, atol=1e-10, equal_nan=True)


def test_profiles_of_a_run_with_frozen_layers(tmp_path: Path) -> None:
    """They show gradient 0 there, and a movement of 0; what flows through the layer is measured as ever."""

    class Freezing(TorchDefault):
        def __call__(self, model: nn.Module, stream: Any) -> None:
            super().__call__(model, stream)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(not name.startswith("linear_2"))

    made = recipe(initializer=Freezing(), probe=Probe(batch_size=30, every=4), model={"bias": True, "depth": 3})
    engine.trained(tmp_path, made)
    for snapshot in ("init", "final"):
        found = {
            (row["axis"], row["quantity"], row["layer"]): float(row["value"])
            for row in rows(tmp_path / "profiles.csv")
            if row["snapshot"] == snapshot and row["value"]
        }
        zero = [found["weight", "gradient_norm", f"linear_{index}"] == 0 for index in (1, 2, 3)]
        assert zero == [False, True, False]
        passed = ("linear_1", "relu_1", "linear_2", "relu_2", "linear_3")
        assert all(found["module", "activation_gradient_norm", name] > 0 for name in passed)
    moved = [found["weight", "weight_movement", f"linear_{index}"] > 0 for index in (1, 2, 3)]
    assert moved == [True, False, True]


class Bare(nn.Module):
    """Softmax regression whose matrix is a parameter of the network itself, and of no weight layer."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.linspace(-1, 1, 48).view(12, 4))
        self.scores = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.scores(inputs @ self.matrix)
        return scores


def test_a_network_without_weight_layers_trains_and_shows_its_modules(tmp_path: Path) -> None:
    """Penalties, decay and bounds are on the weights of weight layers, and have nothing to do; clipping has."""
    method = replace(EVERYTHING, sam=None, averaging=NoAveraging())
    made = recipe(
        make_model=lambda shape, outputs: Bare(), method=method, probe=Probe(batch_size=30, every=1),
        trainer={"steps": 1},
    )  # fmt: skip
    one, other = engine.trained(tmp_path, made), Bare()
    data = one.batches(0)
    F.cross_entropy(other(data[0][0]), data[1][0]).backward()  # type: ignore[no-untyped-call]
    gradient = other.matrix.grad
    assert gradient is not None
    wanted = other.matrix - 0.05 * gradient * min(1.0, 0.5 / gradient.norm().item())
    torch.testing.assert_close(one.learner.model.matrix, wanted)  # type: ignore[attr-defined]
    seen = {(row["axis"], row["layer"]) for row in rows(tmp_path / "profiles.csv")}
    assert seen == {("module", "input"), ("module", "scores")}
