"""Each optimizer against torch.optim, or against its formula, over 100 steps; and through a checkpoint."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fanin.errors import OptionError
from fanin.parts.optimizers import (
    GD,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    EmaMomentum,
    Lion,
    Momentum,
    Muon,
    NAdam,
    Nesterov,
    RAdam,
    Rmsprop,
    UnbiasedMomentum,
)
from oracles.optimizers import (
    DoubleNAdam,
    EmaMomentumByHand,
    LionByHand,
    MuonBySvd,
    PlainNAdamByHand,
    UnbiasedMomentumByHand,
)

SHAPES = [(5, 4), (7,), (3, 2, 2), ()]
Make = Callable[[Any], torch.optim.Optimizer]
PAIRS: dict[str, tuple[Make, Make]] = {
    "sgd": (lambda p: SGD(p, lr=0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "momentum": (
        lambda p: Momentum(p, lr=0.02, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    ),
    "adam": (lambda p: Adam(p, lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    "adam, other constants": (
        lambda p: Adam(p, lr=0.03, beta1=0.5, beta2=0.9, eps=1e-3),
        lambda p: torch.optim.Adam(p, lr=0.03, betas=(0.5, 0.9), eps=1e-3),
    ),
    "gd": (lambda p: GD(p, lr=0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "ema momentum": (lambda p: EmaMomentum(p, lr=0.1), lambda p: EmaMomentumByHand(p, lr=0.1, beta=0.9)),
    "unbiased momentum": (
        lambda p: UnbiasedMomentum(p, lr=0.1),
        lambda p: UnbiasedMomentumByHand(p, lr=0.1, beta=0.9),
    ),
    "nesterov": (
        lambda p: Nesterov(p, lr=0.02),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    ),
    "adagrad": (lambda p: Adagrad(p, lr=0.3), lambda p: torch.optim.Adagrad(p, lr=0.3)),
    "rmsprop": (lambda p: Rmsprop(p, lr=0.01), lambda p: torch.optim.RMSprop(p, lr=0.01)),
    "rmsprop, centered, with momentum": (
        lambda p: Rmsprop(p, lr=0.01, rho=0.9, momentum=0.5, centered=True),
        lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, momentum=0.5, centered=True),
    ),
    "adadelta": (
        lambda p: Adadelta(p, lr=0.4, eps=1e-2),
        lambda p: torch.optim.Adadelta(p, lr=0.4, eps=1e-2),
    ),
    "adamw": (lambda p: AdamW(p, lr=0.01), lambda p: torch.optim.AdamW(p, lr=0.01)),
    "nadam": (lambda p: NAdam(p, lr=0.01), lambda p: DoubleNAdam(p, lr=0.01)),
    "nadam without bias correction": (
        lambda p: NAdam(p, lr=0.01, bias_correction=False),
        lambda p: PlainNAdamByHand(p, lr=0.01, beta1=0.9, beta2=0.999, eps=1e-8, momentum_decay=0.004),
    ),
    "radam": (lambda p: RAdam(p, lr=0.03), lambda p: torch.optim.RAdam(p, lr=0.03)),
    "lion": (
        lambda p: Lion(p, lr=0.01),
        lambda p: LionByHand(p, lr=0.01, beta1=0.9, beta2=0.99, weight_decay=0),
    ),
    "muon": (
        lambda p: Muon(p, lr=0.05, vector_factor=0.5),
        lambda p: MuonBySvd(p, lr=0.05, momentum=0.95, nesterov=True, weight_decay=0.1, vector_factor=0.5),
    ),
    "muon without look-ahead": (
        lambda p: Muon(p, lr=0.05, nesterov=False, weight_decay=0.0),
        lambda p: MuonBySvd(p, lr=0.05, momentum=0.95, nesterov=False, weight_decay=0, vector_factor=0.05),
    ),
}


def start(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in SHAPES]


def descend(params: list[Tensor], optimizer: torch.optim.Optimizer, steps: range, seed: int) -> None:
    """Steps on a noisy convex problem, which forgets roundings; the noise depends on seed and step alone."""
    for step in steps:
        generator = torch.Generator().manual_seed(1000 * seed + step)
        optimizer.zero_grad()
        noise = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in params]
        terms = [(0.5 * p**2 + n * p).sum() for p, n in zip(params, noise, strict=True)]
        joint = torch.logsumexp(torch.cat([3 * p.flatten() for p in params]), 0)  # ties all entries together
        (torch.stack(terms).sum() + joint).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@pytest.mark.parametrize(("seed", "name"), list(enumerate(PAIRS)))
def test_equals_torch_over_100_steps(name: str, seed: int) -> None:
    ours, theirs = start(seed), start(seed)
    descend(ours, PAIRS[name][0](ours), range(100), seed)
    descend(theirs, PAIRS[name][1](theirs), range(100), seed)
    assert max((a - b).abs().max().item() for a, b in zip(ours, start(seed), strict=True)) > 0.5
    for a, b in zip(ours, theirs, strict=True):
        # other orders of the same operations: 100 steps of some 1e-16, which Adam scales by at most lr/eps
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", PAIRS)
def test_a_checkpoint_continues_bit_for_bit(name: str) -> None:
    make = PAIRS[name][0]
    whole = start(4)
    descend(whole, make(whole), range(20), 4)

    first = start(4)
    optimizer = make(first)
    descend(first, optimizer, range(10), 4)
    file = io.BytesIO()
    torch.save({"params": [p.detach() for p in first], "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = [p.requires_grad_() for p in saved["params"]]
    resumed = make(second)
    resumed.load_state_dict(saved["optimizer"])
    descend(second, resumed, range(10, 20), 4)
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))


@pytest.mark.parametrize("name", PAIRS)
def test_a_parameter_without_a_gradient_stays_and_joins_later(name: str) -> None:
    def run(make: Make) -> tuple[list[float], list[float]]:
        early, late = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
        optimizer = make([early, late])
        early.grad = torch.tensor([1.0, -2.0], dtype=torch.float64)
        for _ in range(3):
            optimizer.step()
        assert late.tolist() == [1, 1]
        late.grad = torch.tensor([0.5, 3.0], dtype=torch.float64)
        for _ in range(3):
            optimizer.step()
        return early.tolist(), late.tolist()

    for ours, theirs in zip(run(PAIRS[name][0]), run(PAIRS[name][1]), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-13)


@pytest.mark.parametrize("name", PAIRS)
def test_each_group_has_its_learning_rate(name: str) -> None:
    def run(make: Make) -> list[float]:
        a, b = (torch.tensor(1.0, dtype=torch.float64, requires_grad=True) for _ in range(2))
        optimizer = make([{"params": [a], "lr": 0.5}, {"params": [b]}])
        for _ in range(3):
            a.grad = b.grad = torch.tensor(2.0, dtype=torch.float64)
            optimizer.step()
        return [a.item(), b.item()]

    ours = run(PAIRS[name][0])
    assert ours == pytest.approx(run(PAIRS[name][1]), rel=1e-13)
    assert ours[0] < ours[1]


def test_the_learning_rate_of_the_group_rules_the_next_step() -> None:
    theta = torch.tensor(1.0, requires_grad=True)
    optimizer = SGD([theta], lr=0.1)
    theta.grad = torch.tensor(1.0)
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    assert theta.item() == 0.75


def test_only_gd_asks_for_the_whole_training_set() -> None:
    assert [kind for kind in (GD, SGD, Adam, Momentum) if kind.full_batch] == [GD]


def test_a_closure_is_run_with_gradients_on() -> None:
    theta = torch.tensor(3.0, requires_grad=True)
    optimizer = SGD([theta], lr=0.1)

    def closure() -> float:
        loss = theta**2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    assert optimizer.step(closure) == 9.0
    assert theta.item() == pytest.approx(3 - 0.1 * 6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SGD(p, lr=-0.1), "lr=-0.1: must be a finite number >= 0"),
        (lambda p: SGD(p, lr=float("nan")), "lr=nan: must be a finite number >= 0"),
        (lambda p: Momentum(p, lr="fast"), "lr=fast: must be a finite number >= 0"),  # type: ignore[arg-type]
        (lambda p: Momentum(p, lr=0.1, momentum=1), "momentum=1: must be a finite number >= 0 and < 1"),
        (lambda p: Adam(p, lr=0.1, beta1=1.0), "beta1=1.0: must be a finite number >= 0 and < 1"),
        (lambda p: Adam(p, lr=0.1, beta2=-1), "beta2=-1: must be a finite number >= 0 and < 1"),
        (lambda p: Adam(p, lr=0.1, eps=0), "eps=0: must be a finite number > 0"),
        (
            lambda p: Adam(p, lr=0.1, bias_correction=0),  # type: ignore[arg-type]
            "bias_correction=0: must be true or false",
        ),
        (lambda p: EmaMomentum(p, lr=0.1, beta=1), "beta=1: must be a finite number >= 0 and < 1"),
        (lambda p: UnbiasedMomentum(p, lr=0.1, beta=-0.5), "beta=-0.5: must be a finite number >= 0 and < 1"),
        (lambda p: Nesterov(p, lr=0.1, momentum=1), "momentum=1: must be a finite number >= 0 and < 1"),
        (lambda p: Adagrad(p, lr=0.1, initial=-1), "initial=-1: must be a finite number >= 0"),
        (lambda p: Rmsprop(p, lr=0.1, rho=1), "rho=1: must be a finite number >= 0 and < 1"),
        (
            lambda p: Rmsprop(p, lr=0.1, centered="no"),  # type: ignore[arg-type]
            "centered=no: must be true or false",
        ),
        (lambda p: Adadelta(p, eps=0), "eps=0: must be a finite number > 0"),
        (lambda p: AdamW(p, lr=0.1, weight_decay=-1), "weight_decay=-1: must be a finite number >= 0"),
        (lambda p: NAdam(p, lr=0.1, momentum_decay=-1), "momentum_decay=-1: must be a finite number >= 0"),
        (lambda p: RAdam(p, lr=0.1, beta2=1), "beta2=1: must be a finite number >= 0 and < 1"),
        (lambda p: Lion(p, lr=-1), "lr=-1: must be a finite number >= 0"),
        (lambda p: Muon(p, lr=0.1, vector_factor=-1), "vector_factor=-1: must be a finite number >= 0"),
    ],
)
def test_bad_values_give_one_line(make: Make, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        make(start(0))
    assert str(caught.value) == message
