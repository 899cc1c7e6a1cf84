"""Every optimizer that torch has, with drawn hyperparameters, against torch's over 100 steps of drawn problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fanin.parts.optimizers import GD, SGD, Adadelta, Adagrad, Adam, AdamW, Momentum, NAdam, Nesterov, RAdam, Rmsprop
from oracles.optimizers import DoubleNAdam

Numbers = dict[str, Any]
Make = Callable[[Any, Numbers], torch.optim.Optimizer]


def share(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high)


def logarithmic(low: float, high: float) -> st.SearchStrategy[float]:
    """Powers of ten between 10^low and 10^high."""
    return st.floats(low, high).map(lambda exponent: 10**exponent)


RATE = {"lr": logarithmic(-4, -1)}
EPS = {"eps": logarithmic(-8, -1)}
BETAS = {"beta1": share(0, 0.99), "beta2": share(0.5, 0.9999)}
DECAY = {"weight_decay": share(0, 1)}


def betas(n: Numbers) -> Numbers:
    rest = {name: value for name, value in n.items() if name not in ("beta1", "beta2")}
    return {**rest, "betas": (n["beta1"], n["beta2"])}


def renamed(n: Numbers, name: str, theirs: str) -> Numbers:
    return {theirs if key == name else key: value for key, value in n.items()}


CASES: dict[type[torch.optim.Optimizer], tuple[dict[str, st.SearchStrategy[Any]], Make]] = {
    SGD: (RATE, lambda p, n: torch.optim.SGD(p, **n)),
    GD: (RATE, lambda p, n: torch.optim.SGD(p, **n)),
    Momentum: (RATE | {"momentum": share(0, 0.99)}, lambda p, n: torch.optim.SGD(p, **n)),
    Nesterov: (RATE | {"momentum": share(0.01, 0.99)}, lambda p, n: torch.optim.SGD(p, **n, nesterov=True)),
    Adagrad: (
        RATE | EPS | {"initial": share(0, 2)},
        lambda p, n: torch.optim.Adagrad(p, **renamed(n, "initial", "initial_accumulator_value")),
    ),
    Rmsprop: (
        RATE | EPS | {"rho": share(0.5, 0.999), "momentum": share(0, 0.9), "centered": st.booleans()},
        lambda p, n: torch.optim.RMSprop(p, **renamed(n, "rho", "alpha")),
    ),
    Adadelta: (
        {"lr": logarithmic(-3, 0), "rho": share(0, 0.999), "eps": logarithmic(-8, -1)},
        lambda p, n: torch.optim.Adadelta(p, **n),
    ),
    Adam: (RATE | EPS | BETAS, lambda p, n: torch.optim.Adam(p, **betas(n))),
    AdamW: (RATE | EPS | BETAS | DECAY, lambda p, n: torch.optim.AdamW(p, **betas(n))),
    NAdam: (RATE | EPS | BETAS | {"momentum_decay": share(0, 0.1)}, lambda p, n: DoubleNAdam(p, **betas(n))),
    RAdam: (RATE | EPS | BETAS, lambda p, n: torch.optim.RAdam(p, **betas(n))),
}


def descend(make: Callable[[list[Tensor]], torch.optim.Optimizer], shapes: list[tuple[int, ...]], seed: int) -> Tensor:
    """theta after 100 steps on |theta|^2/2 with noise of size 1 in the gradient."""
    generator = torch.Generator().manual_seed(seed)
    params = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    noises = [torch.randn(100, *shape, generator=generator, dtype=torch.float64) for shape in shapes]
    optimizer = make(params)
    for step in range(100):
        for param, noise in zip(params, noises, strict=True):
            param.grad = param + noise[step]
        optimizer.step()
    return torch.cat([param.flatten() for param in params])


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_equals_torch(kind: type[torch.optim.Optimizer]) -> None:
    strategies, theirs = CASES[kind]
    shapes = st.lists(st.sampled_from([(), (3,), (2, 3), (2, 1, 2)]), min_size=1, max_size=3)

    @settings(max_examples=10, deadline=None)
    @given(numbers=st.fixed_dictionaries(strategies), shapes=shapes, seed=st.integers(0, 10**6))
    def check(numbers: Numbers, shapes: list[tuple[int, ...]], seed: int) -> None:
        mine = descend(lambda params: kind(params, **numbers), shapes, seed)
        other = descend(lambda params: theirs(params, numbers), shapes, seed)
        # roundings of some 1e-16 in each of 100 steps, which a scale divides by at least 1e-8 where a gradient is 0
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)

    check()
