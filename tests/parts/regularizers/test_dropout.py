"""Dropout's law and its generator."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from fanin.errors import OptionError
from fanin.parts.regularizers import Dropout, DropoutModule


def dropout(p: float, seed: int) -> DropoutModule:
    module = Dropout().make(p)
    module.generator = torch.Generator().manual_seed(seed)
    return module


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 7])
def test_dropout_keeps_the_mean_and_scales_what_is_left(p: float, seed: int) -> None:
    count = 200_000
    y = dropout(p, seed)(torch.full((count,), 3.0))
    kept = y[y != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 3 / (1 - p)), rtol=2e-7, atol=0)
    # y is 3/(1-p) times a Bernoulli(1-p): standard deviation of the mean 3 sqrt(p/(1-p)/count)
    assert abs(y.double().mean().item() - 3) < 5 * 3 * math.sqrt(p / (1 - p) / count)


def test_dropout_passes_gradients_only_where_it_passed_values() -> None:
    x = torch.ones(1000, requires_grad=True)
    y = dropout(0.25, 1)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())


def test_dropout_draws_from_its_own_generator_alone() -> None:
    x = torch.ones(64, 32)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = [dropout(0.5, 5)(x) for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    again = dropout(0.5, 5)(x)
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[0], again)
    assert not torch.equal(first[0], dropout(0.5, 6)(x))


def test_two_masks_in_a_row_differ() -> None:
    module = dropout(0.5, 5)
    assert not torch.equal(module(torch.ones(100)), module(torch.ones(100)))


def test_dropout_is_the_identity_at_evaluation_and_at_zero() -> None:
    x = torch.randn(8, 3)
    assert torch.equal(dropout(0.9, 0).eval()(x), x)
    assert torch.equal(dropout(0.0, 0)(x), x)


def test_a_copied_model_drops_alike_and_apart() -> None:
    module = dropout(0.5, 5)
    twin = copy.deepcopy(module)
    x = torch.ones(100)
    assert torch.equal(module(x), twin(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dropout(p=1), "p=1: must be a finite number >= 0 and < 1"),
        (lambda: Dropout(input_p=-0.1), "input_p=-0.1: must be a finite number >= 0 and < 1"),
    ],
)
def test_bad_values_give_one_line(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message
