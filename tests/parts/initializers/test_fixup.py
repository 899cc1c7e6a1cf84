"""Fixup: the standard deviation of every layer of every branch, and an output of 0."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fanin import streams
from fanin.errors import UserError
from fanin.parts.initializers import Fixup, KaimingNormal, Stream


class Residual(nn.Module):
    """h <- h + branch(h), with ReLU between the layers of a branch."""

    def __init__(self, branches: int, layers: int, width: int = 100) -> None:
        super().__init__()
        self.stem = nn.Linear(30, width)
        self.branches = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, width) for _ in range(layers)) for _ in range(branches)
        )
        self.head = nn.Linear(width, 3)

    def residual_branches(self) -> list[list[nn.Module]]:
        return [list(branch) for branch in self.branches]  # type: ignore[arg-type]

    def hidden(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.stem(x)
        for branch in self.residual_branches():
            inner = hidden
            for layer in branch:
                inner = layer(torch.relu(inner))
            hidden = hidden + inner
        return hidden

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.hidden(x))
        return logits


def stream(seed: int) -> Stream:
    return lambda name: streams.generator(seed, "init", name)


@given(branches=st.integers(1, 20), layers=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_standard_deviations_by_branch(branches: int, layers: int, seed: int) -> None:
    model = Residual(branches, layers)
    Fixup()(model, stream(seed))
    he, error = math.sqrt(2 / 100), 1 / math.sqrt(2 * 100 * 100)  # relative standard error of a normal's std
    for *inner, last in model.residual_branches():
        assert not last.get_parameter("weight").any()
        for layer in inner:
            expected = he * branches ** (-1 / (2 * layers - 2))
            assert layer.get_parameter("weight").std().item() == pytest.approx(expected, rel=5 * error)
    stem = model.stem.weight.std().item()
    assert stem == pytest.approx(math.sqrt(2 / 30), rel=5 / math.sqrt(2 * 3000))
    x = torch.randn(8, 30, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(model.hidden(x), model.stem(x))  # every branch starts at 0
    assert not model(x).any()


def test_the_draws_are_those_of_kaiming_normal() -> None:
    ours, plain = Residual(16, 3, 20), Residual(16, 3, 20)
    Fixup()(ours, stream(7))
    KaimingNormal()(plain, stream(7))
    assert torch.equal(ours.stem.weight, plain.stem.weight)
    for fixup, he in zip(ours.residual_branches(), plain.residual_branches(), strict=True):
        for scaled, drawn in zip(fixup[:-1], he[:-1], strict=True):
            # 16^(-1/4) = 1/2 is exact in binary
            assert torch.equal(2 * scaled.get_parameter("weight"), drawn.get_parameter("weight"))


def test_branches_may_differ_in_length() -> None:
    model = Residual(4, 2, 50)
    longer = [*model.residual_branches()[:3], [*model.residual_branches()[3], nn.Linear(50, 50)]]
    model.branches = nn.ModuleList(nn.ModuleList(branch) for branch in longer)
    Fixup()(model, stream(1))
    stds = [layer.get_parameter("weight").std().item() / math.sqrt(2 / 50) for layer in longer[3]]
    # m = 3: L^(-1/4); 2500 entries
    assert stds[:2] == pytest.approx([4**-0.25] * 2, rel=5 / math.sqrt(2 * 2500))
    assert stds[2] == 0
    assert longer[0][0].get_parameter("weight").std().item() / math.sqrt(2 / 50) == pytest.approx(4**-0.5, rel=0.08)


def test_float64_gets_the_same_weights() -> None:
    single, double = Residual(3, 2, 10), Residual(3, 2, 10).double()
    for model in (single, double):
        Fixup()(model, stream(2))
    pairs = zip(single.parameters(), double.parameters(), strict=True)
    assert all(torch.equal(one.double(), other) for one, other in pairs)


def test_a_model_without_branches_is_refused_in_one_line() -> None:
    with torch.device("meta"):
        plain, residual = nn.Linear(3, 3), Residual(2, 2, 5)
    with pytest.raises(UserError) as caught:
        Fixup().check(plain)
    assert str(caught.value) == (
        "initializer=fixup: Linear has no residual branches; "
        "choose model=residual_mlp or model=resnet, or another initializer"
    )
    with pytest.raises(UserError, match="no residual branches"):
        Fixup()(nn.Linear(3, 3), stream(0))
    Fixup().check(residual)
