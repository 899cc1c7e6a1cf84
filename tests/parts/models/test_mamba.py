"""The selective state space against its recurrence step by step, in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from command_line import fanin, read
from fanin import streams
from fanin.errors import OptionError, UserError
from fanin.parts import activations
from fanin.parts.models import Mamba
from fanin.parts.models.mamba import Selective, scan
from fanin.parts.normalization import BatchNorm, LayerNorm, NoNorm
from networks import drawn
from stacking import assert_stacked_equals_single


def network(seed: int = 0, **changes: Any) -> Mamba:
    made = {
        "input_shape": (1, 5, 3), "out_features": 2, "width": 6, "states": 3, "activation": activations.silu,
        "normalization": NoNorm(), **changes,
    }  # fmt: skip
    model = drawn(Mamba(**made).double(), seed)
    assert isinstance(model, Mamba)
    return model


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.integers(0, 999))
def test_the_scan_is_the_recurrence(count: int, seed: int) -> None:
    stream = streams.generator(seed, "scan")
    decay, driven = (torch.randn(2, count, 3, generator=stream, dtype=torch.float64) for _ in range(2))
    state, states = torch.zeros(2, 3, dtype=torch.float64), []
    for a, b in zip(decay.unbind(1), driven.unbind(1), strict=True):
        state = a * state + b
        states.append(state)
    # sums of at most 20 products of at most 20 factors of order 1
    torch.testing.assert_close(scan(decay, driven), torch.stack(states, 1), rtol=1e-10, atol=1e-10)


def test_a_branch_is_the_papers_algorithm_step_by_step() -> None:
    layer = drawn(Selective(6, 8, 3, 0.1, activations.silu).double(), 3)
    assert isinstance(layer, Selective)
    with torch.no_grad():
        for own in (layer.log_decay, layer.step_shift, layer.skip):
            own.add_(0.1 * torch.arange(own.numel(), dtype=torch.float64).view(own.shape))
    x = torch.randn(2, 7, 6, dtype=torch.float64)
    weights = {name: value.detach().numpy() for name, value in layer.named_parameters()}

    def silu(z: Any) -> Any:
        return z / (1 + np.exp(-z))

    def scaled(z: Any) -> Any:
        return z / np.sqrt(np.mean(z**2) + 1e-6)

    for example, found in zip(x.numpy(), layer(x).detach().numpy(), strict=True):
        h = np.zeros((8, 3))
        for token, ours in zip(example, found, strict=True):
            token = scaled(token)
            u = silu(weights["enter.weight"] @ token)
            chosen = weights["step_up.weight"] @ weights["step_down.weight"] @ u + weights["step_shift"]
            delta = np.log1p(np.exp(chosen))
            a = -np.exp(weights["log_decay"])
            h = np.exp(delta[:, None] * a) * h + np.outer(delta * u, scaled(weights["write.weight"] @ u))
            y = h @ scaled(weights["read.weight"] @ u) / 3**0.5 + weights["skip"] * u
            wanted = weights["out.weight"] @ (y * silu(weights["gate.weight"] @ token))
            np.testing.assert_allclose(ours, wanted, rtol=1e-10, atol=1e-12)


def test_what_it_starts_with() -> None:
    layer = Selective(6, 8, 3, 0.25, activations.silu)
    torch.testing.assert_close(torch.nn.functional.softplus(layer.step_shift), torch.full((8,), 0.25))
    torch.testing.assert_close(layer.log_decay.exp(), torch.arange(1.0, 4).expand(8, 3))


def test_later_rows_change_nothing_before_them() -> None:
    layer = drawn(Selective(6, 8, 3, 0.1, activations.silu).double(), 0)
    x = torch.randn(1, 7, 6, dtype=torch.float64)
    changed = x.clone()
    changed[:, 4:] += 1
    torch.testing.assert_close(layer(x)[:, :4], layer(changed)[:, :4], rtol=0, atol=1e-15)
    assert (layer(x)[:, 4:] != layer(changed)[:, 4:]).any()


@pytest.mark.parametrize("normalization", [NoNorm(), LayerNorm()])
def test_stackable(normalization: Any) -> None:
    models = [network(seed, normalization=normalization) for seed in range(3)]
    assert_stacked_equals_single(models, torch.randn(3, 4, 1, 5, 3))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="model=mamba: normalizes each vector by itself, not by BatchNorm"):
        network(normalization=BatchNorm())
    with pytest.raises(OptionError, match="states=0: must be an integer >= 1"):
        network(states=0)
    with pytest.raises(OptionError, match="step=0: must be"):
        network(step=0)


@pytest.mark.slow
def test_the_defaults_train(tmp_path: Path) -> None:
    few = ("data.limit=400", "trainer.batch_size=25", "trainer.steps=40", "trainer.eval_every=100", "probe=off")
    said = fanin(tmp_path, "model=mamba", *few)
    assert said.code == 0, said.err
    (path,) = tmp_path.glob("outputs/*/*/result.json")
    result = read(path)
    assert result["state"] == "done"
    assert result["metrics"]["test_loss"] < result["first_loss"]
