"""Rates and decays of their own for some parameters: against torch's groups, alone, stacked and resumed."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from fanin.errors import UserError
from fanin.parts.models import Mlp
from fanin.parts.optimizers import SGD, Adam, AdamW, Muon
from fanin.parts.optimizers.parameter_groups import Factors, spread_decays
from fanin.parts.regularizers import WeightDecay
from fanin.train.single_learner import SingleLearner
from fanin.train.step import Method
from fanin.train.trained_model import TrainedModel
from together import batches, close, fuse, model_of, train

FACTORS = Factors({"linear_1.*": 0.1, "*bias": 2.0}, {"linear_2.weight": 0.0, "linear_3.*": 3.0})
TORCHS = {
    SGD: partial(torch.optim.SGD, weight_decay=0.0),
    AdamW: partial(torch.optim.AdamW, betas=(0.9, 0.999), eps=1e-8),
}


def made(kind: Any, seed: int, decay: float = 0.02, factors: Factors = FACTORS) -> SingleLearner:
    """A learner of a network of four layers whose parameters have factors, with decoupled decay beside the step."""
    model = model_of(Mlp, seed, dtype=torch.float64, bias=True)
    optimizer = kind(
        factors.groups(model.named_parameters()), lr=0.1, **({"weight_decay": 0.3} if kind is AdamW else {})
    )
    spread_decays(optimizer)
    return SingleLearner(TrainedModel(model, optimizer, Method(decays=[WeightDecay(rate=decay)])))


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_a_run_is_that_of_torchs_groups(kind: Any) -> None:
    learner, other = made(kind, 3), model_of(Mlp, 3, dtype=torch.float64, bias=True)
    rate = {"linear_1": 0.1, "linear_2": 1.0, "linear_3": 1.0, "linear_4": 1.0}
    decay = {"linear_1": 1.0, "linear_2": 0.0, "linear_3": 3.0, "linear_4": 1.0}
    groups = []
    for name, one in other.named_parameters():
        layer, _, what = name.partition(".")
        factor = 3.0 if layer == "linear_3" else decay[layer] if what == "weight" else 1.0
        more = {"weight_decay": 0.3 * factor} if kind is AdamW else {}
        groups.append({"params": [one], "factor": rate[layer] * (2.0 if what == "bias" else 1.0), **more})
    oracle = TORCHS[kind](groups, lr=0.1)
    for step in range(5):
        ((inputs, targets),) = batches(1, step, dtype=torch.float64)
        learner.step((inputs, targets), [0.05 + 0.01 * step])
        oracle.zero_grad()
        nn.functional.cross_entropy(other(inputs[0]), targets[0]).backward()
        with torch.no_grad():
            for name, one in other.named_parameters():
                if name.endswith("weight"):
                    one *= 1 - 0.02 * decay[name.partition(".")[0]]
        for group in oracle.param_groups:
            group["lr"] = (0.05 + 0.01 * step) * group["factor"]
        oracle.step()
    for mine, theirs in zip(learner.model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", [SGD, Adam, Muon])
def test_fused_equals_alone_and_goes_on(kind: Any) -> None:
    alone, fused = ([made(kind, run, 0.01 * run) for run in range(3)] for _ in range(2))
    together = fuse(fused)
    train(alone, together, range(4), dtype=torch.float64)
    states = [together.state(run) for run in range(3)]
    assert all(close(state, one.state(0), 1e-9, 1e-12) for state, one in zip(states, alone, strict=True))
    resumed = fuse([made(kind, run, 0.01 * run) for run in range(3)])
    for run, state in enumerate(states):
        resumed.load_state(run, state)
    train(alone, resumed, range(4, 7), dtype=torch.float64)
    assert all(close(resumed.state(run), one.state(0), 1e-9, 1e-12) for run, one in enumerate(alone))


@pytest.mark.parametrize(
    ("factors", "decays", "told"),
    [
        (0.1, None, "factors=0.1: must be null or numbers by patterns"),
        ({"a*": -1}, None, r"factors.a\*=-1: must be a finite number >= 0"),
        ({"b*": 1}, None, r"optimizer.factors=b\*: must be a pattern that matches .*; there are a.weight"),
        (None, {"a*": 2}, "optimizer.decay_factors: SGD has no weight decay; take optimizer=adamw"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_a_line(factors: object, decays: object, told: str) -> None:
    with pytest.raises(UserError, match=told):
        Factors.of(factors, decays).check(["a.weight"], SGD([nn.Parameter(torch.zeros(1))], lr=0.1), decays=False)
