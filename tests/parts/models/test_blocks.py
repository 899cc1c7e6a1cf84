"""The hidden stage and the residual block that models are made of."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import jacrev, vmap

from fanin.parts import activations
from fanin.parts.models.blocks import Add, Hidden, Residual, residual_branches
from fanin.parts.normalization import BatchNorm, LayerNorm, NoNorm, WeightNorm
from fanin.parts.regularizers import Dropout, DropoutModule
from networks import normal


def branch(seed: int, width: int = 4) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    first, second = nn.Linear(width, 6), nn.Linear(6, width)
    return {"norm": nn.LayerNorm(width), "first": first, "tanh": nn.Tanh(), "second": second}


@given(seed=st.integers(0, 999), scale=st.floats(0.1, 2))
@settings(max_examples=15, deadline=None)
def test_the_gradient_goes_back_through_the_shortcut_and_the_branch(seed: int, scale: float) -> None:
    block = Residual(branch(seed), scale=scale).double()
    h = normal(seed, 5, 4).requires_grad_()
    after = block(h)
    flow = normal(seed + 1, 5, 4)  # dL/dh_l
    (back,) = torch.autograd.grad(after, h, flow)

    def f(one: torch.Tensor) -> torch.Tensor:
        for module in block.branch():
            one = module(one)
        return one

    jacobians = vmap(jacrev(f))(h.detach())  # dF/dh of each example, [5, 4, 4]
    expected = flow + scale * torch.einsum("bi,bij->bj", flow, jacobians)
    torch.testing.assert_close(back, expected, rtol=1e-11, atol=1e-11)  # products of three 4 x 6 matrices


def test_a_block_adds_its_scaled_branch_to_its_shortcut() -> None:
    parts, projection = branch(0), nn.Linear(4, 4, bias=False).double()
    block = Residual(parts, projection, scale=0.5).double()
    h = normal(0, 3, 4)
    w, gain = projection.weight, parts["norm"].eps  # type: ignore[union-attr]
    z = (h - h.mean(1, keepdim=True)) / (h.var(1, keepdim=True, correction=0) + gain).sqrt()
    first, second = parts["first"], parts["second"]
    out = torch.tanh(z @ first.weight.T + first.bias) @ second.weight.T + second.bias  # type: ignore[operator, union-attr]
    torch.testing.assert_close(block(h), h @ w.T + 0.5 * out, rtol=1e-12, atol=1e-12)


def test_a_probe_sees_every_module_of_a_block_and_its_sum_last() -> None:
    block = Residual(branch(0), nn.Linear(4, 4))
    ran = []
    for name, module in block.named_children():
        module.register_forward_hook(lambda *_, n=name: ran.append(n))
    block(torch.zeros(2, 4))
    assert ran == ["norm", "first", "tanh", "second", "projection", "add"]
    assert isinstance(block.add, Add)


def test_residual_branches_are_the_weight_layers_of_the_branches() -> None:
    first, second = Residual(branch(0)), Residual(branch(1), nn.Linear(4, 4))
    model = nn.Sequential(nn.Linear(4, 4), first, nn.ReLU(), second, nn.Linear(4, 2))
    assert residual_branches(model) == [
        [first.get_submodule("first"), first.get_submodule("second")],
        [second.get_submodule("first"), second.get_submodule("second")],
    ]


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        (Hidden(activations.relu, NoNorm()), ["relu_3"]),
        (Hidden(activations.relu, BatchNorm()), ["batchnorm_3", "relu_3"]),
        (Hidden(activations.relu, WeightNorm(), Dropout(p=0)), ["relu_3"]),
        (
            Hidden(activations.leaky_relu, LayerNorm(placement="post_activation"), Dropout(p=0.5)),
            ["leakyrelu_3", "layernorm_3", "dropout_3"],
        ),
    ],
)
def test_a_stage_is_named_by_its_kinds_and_its_layer(hidden: Hidden, expected: list[str]) -> None:
    assert list(hidden.after(3, 8)) == expected
    assert list(hidden.after(3, 8, drop=False)) == [name for name in expected if name != "dropout_3"]


def test_a_stage_of_maps_normalizes_maps() -> None:
    parts = Hidden(activations.relu, BatchNorm()).after(1, 8, 2)
    assert isinstance(parts["batchnorm_1"], nn.BatchNorm2d)


def test_the_inputs_have_a_dropout_of_their_own() -> None:
    (drop,) = Hidden(activations.relu, NoNorm(), Dropout(p=0.5, input_p=0.2)).inputs().items()
    assert drop[0] == "dropout_0"
    assert isinstance(drop[1], DropoutModule)
    assert drop[1].p == 0.2
    assert Hidden(activations.relu, NoNorm(), Dropout(p=0.5, input_p=0)).inputs() == {}
