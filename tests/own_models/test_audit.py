"""The audit finds planted faults of thirty kinds, and none in right models more often than its level says."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import init

import fanin
from fanin.own_models.rules import laws_of, parameters_of
from networks import one_line
from other_networks import Block, Gpt, LstmModel

GPT = {"wte.weight": "std 0.02", "wpe.weight": "std .02", "*": "gpt2(projections=('*.c_proj.weight',))"}


def gpt() -> Gpt:
    """As GPT-2 is drawn, 3 blocks of width 32."""
    model = Gpt(layers=3, width=32, heads=4, context=16)
    for name, one in model.named_parameters():
        if one.ndim == 2:
            init.normal_(one, std=0.02 / math.sqrt(6) if name.endswith("c_proj.weight") else 0.02)
        elif name.endswith("bias"):
            init.zeros_(one)
    return model


def filled(fill: Callable[[Tensor], object]) -> Callable[[], nn.Module]:
    """20 -> 60 -> 40 -> 10 with a convolution before it; weights filled, biases 0."""

    def make() -> nn.Module:
        layers = [nn.Linear(20, 60), nn.ReLU(), nn.Linear(60, 40), nn.ReLU(), nn.Linear(40, 10)]
        model = nn.Sequential(nn.Conv2d(3, 20, 3), nn.BatchNorm2d(20), *layers)
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                fill(module.weight)
                init.zeros_(module.bias)
        return model

    return make


def of_torch() -> nn.Module:
    """Every kind of torch's own layers."""
    return nn.ModuleList(
        [
            nn.Linear(30, 40), nn.Conv2d(4, 8, 3, groups=2), nn.ConvTranspose2d(6, 9, 4, stride=2), nn.Conv1d(3, 5, 7),
            nn.Embedding(50, 12, padding_idx=3), nn.LSTM(12, 16, 2), nn.GRUCell(9, 20), nn.MultiheadAttention(24, 4),
            nn.Bilinear(5, 6, 7), nn.LayerNorm(30), nn.BatchNorm1d(9), nn.GroupNorm(2, 8), nn.PReLU(), LstmModel(),
            nn.MultiheadAttention(24, 4, kdim=10, vdim=12, add_bias_kv=True), nn.TransformerEncoderLayer(16, 2, 32),
        ]
    )  # fmt: skip


RIGHT: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "torch_default": (of_torch, "torch_default"),
    "gpt2": (gpt, GPT),
    "kaiming_normal": (filled(init.kaiming_normal_), "kaiming_normal"),
    "kaiming_uniform": (filled(init.kaiming_uniform_), "kaiming_uniform"),
    "fan_out": (
        filled(lambda one: init.kaiming_normal_(one, mode="fan_out", nonlinearity="tanh")),
        "nn.init.kaiming_normal_(mode='fan_out', nonlinearity='tanh')",
    ),
    "xavier_uniform": (filled(lambda one: init.xavier_uniform_(one, gain=1.5)), "xavier_uniform(gain=1.5)"),
    "xavier_normal": (
        filled(init.xavier_normal_),
        {"1.weight": "ones", "*.weight": "xavier_normal", "*.bias": "zeros"},
    ),
    "orthogonal": (filled(lambda one: init.orthogonal_(one, 1.4)), "orthogonal(gain=1.4)"),
    "truncated": (
        filled(lambda one: init.trunc_normal_(one, std=0.5, a=-0.8, b=0.8)),
        "trunc_normal(std=0.5, a=-0.8, b=0.8)",
    ),
    "lecun": (filled(lambda one: init.kaiming_normal_(one, nonlinearity="linear")), "lecun_normal"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_models_have_no_fault(name: str) -> None:
    """At a level of 10^-6 a false alarm is one in a million audits."""
    make, rules = RIGHT[name]
    model = make()
    found = fanin.audit(model, rules, torch.optim.SGD(model.parameters()), level=1e-6)
    assert found, str(found)
    assert (found.faults, found.exit_code) == ([], 0)
    assert len(found.table) == len(list(model.parameters()))
    assert str(found).endswith("all as declared")


@pytest.mark.parametrize("name", ["kaiming_normal", "xavier_uniform", "orthogonal", "truncated"])
def test_parameters_of_bfloat16(name: str) -> None:
    """Rounding to 8 bits is no fault, and hides none: a variance that is half of what it should be."""
    make, rules = RIGHT[name]
    assert fanin.audit(make().bfloat16(), rules, level=1e-6)
    model = make()
    with torch.no_grad():
        model.get_parameter("4.weight").mul_(math.sqrt(0.5))
    (fault,) = fanin.audit(model.bfloat16(), rules, level=1e-6).faults
    assert fault.parameter == "4.weight"


@pytest.mark.slow
def test_two_hundred_right_models() -> None:
    """At level 0.05 at most one in twenty: more than 22 of 200 have a probability of 10^-4; at 10^-6 none."""
    alarms = 0
    for _ in range(20):
        for make, rules in RIGHT.values():
            model = make()
            alarms += not fanin.audit(model, rules, level=0.05)
            assert fanin.audit(model, rules, level=1e-6)
    assert alarms <= 22


@pytest.mark.slow
def test_p_values_are_uniform() -> None:
    """Of each law and test over many small samples: Kolmogorov & Smirnov at 10^-6, the lattice of few entries apart."""
    import numpy as np
    from scipy import stats

    from fanin.own_models.weight_laws import Law, p_values

    rng = np.random.default_rng(random.getrandbits(60))
    for law in (
        Law("n", "normal", 0.3),
        Law("u", "uniform", 0.2),
        Law("t", "truncated_normal", 1.0, low=-2.0, high=2.0),
        Law("s", "uniform", 0.2, mean=0.7),
    ):
        draws = law.distribution.rvs(size=(300, 40), random_state=rng)
        found = [p_values(sample, law, 1e-7) for sample in draws]
        for test in ("mean", "variance", "tails", "shape"):
            distance = stats.kstest([one[test] for one in found], "uniform")
            # A mean of 40 bounded draws is not quite normal, nor is the saddlepoint exact: a twentieth apart at most.
            allowed = stats.kstwo.isf(1e-6, 300) + (0.05 if law.kind != "normal" else 0)
            assert distance.statistic < allowed, (law, test, distance)


def set_to(pattern: str, fill: Callable[[Tensor], object]) -> Callable[[nn.Module], str]:
    """A fault: parameters whose names end so, filled otherwise; returns the first one's name."""

    def plant(model: nn.Module) -> str:
        names = [name for name, _ in model.named_parameters() if name.endswith(pattern)]
        with torch.no_grad():
            fill(model.get_parameter(names[0]))
        return names[0]

    return plant


def one_seed(first: str, second: str, scale: float = 1.0) -> Callable[[nn.Module], str]:
    """A fault: a layer drawn twice from one seed."""

    def plant(model: nn.Module) -> str:
        seed = random.getrandbits(60)
        for name in (first, second):
            torch.manual_seed(seed)
            init.kaiming_normal_(model.get_parameter(name))
        return second

    return plant


def proportional(model: nn.Module) -> str:
    with torch.no_grad():
        model.get_parameter("h.1.c_attn.weight").copy_(model.get_parameter("h.0.c_attn.weight").clone())
    return "h.1.c_attn.weight"


def negated(model: nn.Module) -> str:
    with torch.no_grad():
        model.get_parameter("h.2.mlp.c_fc.weight").copy_(-model.get_parameter("h.0.mlp.c_fc.weight"))
    return "h.2.mlp.c_fc.weight"


def new_block(model: nn.Module) -> str:
    model.h[1] = Block(32, 4)  # type: ignore[index]
    return "h.1.c_attn.weight"


def truncated(one: Tensor) -> None:
    """Cut at two standard deviations, which leaves 0.774 of the variance; made up for."""
    parent = 1 / math.sqrt(0.7737 * one.shape[1])
    init.trunc_normal_(one, std=parent, a=-2 * parent, b=2 * parent)


def nan(one: Tensor) -> None:
    one.view(-1)[7] = math.nan


def half_zero(one: Tensor) -> None:
    one[: len(one) // 2] = 0


FAULTS: dict[str, tuple[str, Callable[[nn.Module], str], str]] = {
    "gain 1 for sqrt 2": (
        "kaiming_normal",
        set_to("2.weight", lambda w: init.kaiming_normal_(w, nonlinearity="linear")),
        r"0\.[4-6]\d* times the variance",
    ),
    "gain 5/3": (
        "kaiming_normal",
        set_to("4.weight", lambda w: init.kaiming_normal_(w, nonlinearity="tanh")),
        "times the variance",
    ),
    "fan_out for fan_in": (
        "kaiming_normal",
        set_to("2.weight", lambda w: init.kaiming_normal_(w, mode="fan_out")),
        "times the variance",
    ),
    "fan_out of a kernel": (
        "kaiming_normal",
        set_to("0.weight", lambda w: init.kaiming_normal_(w, mode="fan_out")),
        "times the variance",
    ),
    "xavier for kaiming": ("kaiming_normal", set_to("4.weight", init.xavier_normal_), "times the variance"),
    "uniform for normal": (
        "kaiming_normal",
        set_to("4.weight", init.kaiming_uniform_),
        "largest entry|not distributed",
    ),
    "normal for uniform": ("kaiming_uniform", set_to("4.weight", init.kaiming_normal_), "largest entry"),
    "truncated for normal": ("lecun", set_to("4.weight", truncated), "largest entry"),
    "normal for truncated": (
        "truncated",
        set_to("4.weight", lambda w: init.normal_(w, std=0.5)),
        "largest entry|variance",
    ),
    "forgotten layer": (
        "kaiming_normal",
        set_to("4.weight", lambda w: init.kaiming_uniform_(w, a=math.sqrt(5))),
        "follows torch_default: nobody",
    ),
    "forgotten kernel": (
        "orthogonal",
        set_to("0.weight", lambda w: init.kaiming_uniform_(w, a=math.sqrt(5))),
        "follows torch_default: nobody",
    ),
    "zeros": ("kaiming_normal", set_to("6.weight", init.zeros_), "all entries are 0; nobody has drawn them"),
    "a constant": ("torch_default", set_to("0.weight", lambda w: init.constant_(w, 0.1)), "all entries are 0.1"),
    "half of it 0": ("kaiming_normal", set_to("4.weight", half_zero), "variance|distributed"),
    "not finite": ("kaiming_normal", set_to("4.weight", nan), "1 of 2,400 entries are not finite"),
    "a mean": ("kaiming_normal", set_to("4.weight", lambda w: w.add_(0.05)), "mean is|variance"),
    "absolute values": ("kaiming_normal", set_to("4.weight", lambda w: w.abs_()), "mean is"),
    "twice drawn": ("kaiming_normal", one_seed("4.weight", "2.weight"), "one seed"),
    "copied": ("gpt2", proportional, "one seed"),
    "negated": ("gpt2", negated, r"one seed|correlation -1\.000"),
    "projection not scaled down": (
        "gpt2",
        set_to("1.c_proj.weight", lambda w: init.normal_(w, std=0.02)),
        "gpt2, 0.02/sqrt.6.: its standard deviation is .*variance",
    ),
    "projection by L": (
        "gpt2",
        set_to("mlp.c_proj.weight", lambda w: init.normal_(w, std=0.02 / math.sqrt(3))),
        "variance",
    ),
    "all scaled down": (
        "gpt2",
        set_to("c_fc.weight", lambda w: init.normal_(w, std=0.02 / math.sqrt(6))),
        "0.1.* times the variance",
    ),
    "a new block": ("gpt2", new_block, "follows torch_default"),
    "embedding of torch": ("gpt2", set_to("wpe.weight", init.normal_), "follows torch_default"),
    "a bias drawn": ("gpt2", set_to("c_attn.bias", lambda b: init.normal_(b, std=0.02)), "entries are not 0"),
    "a norm of 0": ("gpt2", set_to("ln_1.weight", init.zeros_), "entries are not 1"),
    "orthogonal of another gain": (
        "orthogonal",
        set_to("4.weight", init.orthogonal_),
        "orthogonal, but of gain 1 where 1.4 is",
    ),
    "normal for orthogonal": ("orthogonal", set_to("4.weight", init.xavier_normal_), "not orthogonal"),
    "a recurrent layer by its input": (
        "torch_default",
        set_to("5.weight_ih_l0", lambda w: init.uniform_(w, -1 / math.sqrt(12), 1 / math.sqrt(12))),
        "variance|largest",
    ),
    "attention as a plain layer": (
        "torch_default",
        set_to("7.in_proj_weight", lambda w: init.kaiming_uniform_(w, a=math.sqrt(5))),
        "largest|variance",
    ),
    "transposed by the other fan": (
        "torch_default",
        set_to("2.weight", lambda w: init.uniform_(w, -1 / math.sqrt(96), 1 / math.sqrt(96))),
        "variance|largest",
    ),
    "a variance for a deviation": (
        "xavier_normal",
        set_to("4.weight", lambda w: init.normal_(w, std=2 / 100)),
        "variance",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_found(name: str) -> None:
    """At a level of 10^-4; what is right beside the planted fault stays right."""
    kind, plant, said = FAULTS[name]
    make, rules = RIGHT[kind]
    model = make()
    parameter = plant(model)
    found = fanin.audit(model, rules, level=1e-4)
    assert not found
    assert found.exit_code == 1
    mine = [fault for fault in found.faults if parameter in (fault.parameter, *fault.said.split(" "))]
    assert mine, str(found)
    assert any(re.search(said, one.said) for one in mine), str(found)
    assert all(one.p < 1e-4 for one in mine)
    others = {one.parameter for one in found.faults if one not in mine}
    assert others <= {other for other in others if name == "a new block" and other.startswith("h.1.")}, str(found)
    assert found.table.set_index("parameter")["fault"][mine[0].parameter] != ""


def test_optimizers_and_gradients() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(2, 2))
    model[3].requires_grad_(False)
    first = torch.optim.SGD([*model[0].parameters(), model[1].weight])
    with pytest.warns(UserWarning, match="duplicate"):
        second = torch.optim.Adam([model[1].weight, model[2].weight, model[2].weight])
    model[0](torch.ones(1, 3)).sum().backward()
    found = fanin.audit(model, optimizer=[first, second], gradients=True)
    assert [(one.parameter, one.said) for one in found.faults] == [
        ("1.weight", "is in 2 places of the optimizers"),
        ("1.bias", "is trained, and in no optimizer"),
        ("2.weight", "is in 2 places of the optimizers"),
        ("2.bias", "is trained, and in no optimizer"),
        *((name, "has no gradient") for name in ("1.weight", "1.bias", "2.weight", "2.bias")),
    ]
    assert str(found).splitlines()[:2] == ["8 parameters: 8 faults", "1.weight: is in 2 places of the optimizers"]


def test_laws_are_those_of_torch() -> None:
    """Standard deviations by torch's own fans."""
    weight = nn.Conv2d(6, 10, 5)
    parameters = parameters_of(weight)
    for rule, fill in (
        ("kaiming_normal(mode='fan_out', a=0.3)", lambda w: init.kaiming_normal_(w, 0.3, "fan_out")),
        ("kaiming_uniform(nonlinearity='relu')", lambda w: init.kaiming_uniform_(w, nonlinearity="relu")),
        ("xavier_normal(gain=2)", lambda w: init.xavier_normal_(w, 2)),
        ("truncated_normal(std=0.5, a=-1, b=1)", lambda w: init.trunc_normal_(w, 0, 0.5, -1, 1)),
    ):
        (law,) = laws_of(parameters, rule)[0]
        many = torch.cat([fill(weight.weight.detach().clone()).flatten() for _ in range(100)])
        # Four standard errors of a deviation of 150,000 draws: kurtosis at most 3.
        assert law.std == pytest.approx(float(many.std()), rel=4 / math.sqrt(2 * len(many)))


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("kaiming", r"rules: kaiming is no law; there are torch_default, gpt2, .*; did you mean kaiming_normal\?"),
        ("kaiming_normal(mod=1)", r"rules: kaiming_normal\(mod=1\): .*unexpected keyword argument 'mod'"),
        ("kaiming_normal(mode='in')", r"rules: kaiming_normal\(mode='in'\) for 0.weight: mode is fan_in or fan_out"),
        ({"weights": "zeros"}, "rules: no parameter matches weights; did you mean 0.weight"),
        ({"0.bias": "xavier_normal"}, "rules: xavier_normal for 0.bias: fans need a weight with 2 axes"),
    ],
)
def test_wrong_rules_are_one_line(rules: Any, said: str) -> None:
    with pytest.raises(fanin.UserError, match=said) as error:
        fanin.audit(nn.Sequential(nn.Linear(3, 4)), rules)
    one_line(error.value)
