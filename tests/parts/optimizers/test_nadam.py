"""The product of NAdam's momenta without a loop, against the loop."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.parts.optimizers.nadam import momentum_product

BETAS = st.floats(0, 0.9999)
DECAYS = st.one_of(st.just(0.0), st.floats(1e-12, 1e-6), st.floats(1e-3, 100))


def by_loop(beta1: float, decay: float, steps: int) -> float:
    return math.prod(beta1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in range(1, steps + 1))


@settings(max_examples=25, deadline=None)
@given(beta1=BETAS, decay=DECAYS, steps=st.integers(1, 3000))
def test_is_the_product(beta1: float, decay: float, steps: int) -> None:
    # a rounding of 1e-16 for each factor, in the exponent of either form; below 1e-300 float64 loses digits
    expected = by_loop(beta1, decay, steps)
    assert momentum_product(beta1, decay, steps) == pytest.approx(expected, rel=1e-15 * (100 + steps), abs=1e-290)


@settings(max_examples=25, deadline=None)
@given(pairs=st.lists(st.tuples(BETAS, DECAYS), min_size=1, max_size=4), steps=st.integers(1, 50))
def test_one_for_each_run(pairs: list[tuple[float, float]], steps: int) -> None:
    betas, decays = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    expected = [by_loop(beta1, decay, steps) for beta1, decay in pairs]
    together = momentum_product(betas, decays, steps)
    assert isinstance(together, torch.Tensor)
    assert together.tolist() == pytest.approx(expected, rel=2e-13, abs=1e-290)
    of_one_decay = momentum_product(betas, decays[0].item(), steps)
    assert isinstance(of_one_decay, torch.Tensor)
    expected = [by_loop(beta1, pairs[0][1], steps) for beta1, _ in pairs]
    assert of_one_decay.tolist() == pytest.approx(expected, rel=2e-13, abs=1e-290)
