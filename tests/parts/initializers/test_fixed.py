"""Weights without chance: the symmetry that they keep, and what the identity does to an input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from fanin.parts.initializers import Constant, Dirac, Identity, Initializer, Zeros


def filled(initializer: Initializer, shape: tuple[int, ...]) -> Tensor:
    weight = torch.full(shape, math.nan)
    initializer.fill(weight, shape[1], shape[0], torch.Generator())
    return weight


def network(initializer: Initializer, depth: int, seed: int) -> tuple[nn.Sequential, Tensor, Tensor]:
    """Sigmoid layers (which are not 0 at 0), initialized, with inputs and targets."""
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        layers += [nn.Linear(5, 5), nn.Sigmoid()]
    model = nn.Sequential(*layers, nn.Linear(5, 3))
    initializer(model, lambda name: torch.Generator())
    draws = torch.Generator().manual_seed(seed)
    return model, torch.randn(7, 5, generator=draws), torch.randint(3, (7,), generator=draws)


@given(depth=st.integers(2, 6), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_zeros_leave_every_layer_but_the_last_without_gradient(depth: int, seed: int) -> None:
    model, inputs, targets = network(Zeros(), depth, seed)
    F.cross_entropy(model(inputs), targets).backward()
    *hidden, last = [layer for layer in model if isinstance(layer, nn.Linear)]
    assert all(not p.grad.any() for layer in hidden for p in layer.parameters())  # type: ignore[union-attr]
    assert last.weight.grad is not None
    # dL/dW = mean over the batch of (softmax - one-hot) h^T, with h = sigmoid(0) = 1/2 and softmax = 1/3
    shares = 1 / 3 - torch.bincount(targets, minlength=3) / 7
    torch.testing.assert_close(last.weight.grad, shares[:, None].expand(3, 5) / 2, rtol=0, atol=1e-6)


@given(value=st.floats(-0.5, 0.5), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_constant_keeps_the_units_of_a_layer_alike(value: float, seed: int) -> None:
    model, inputs, targets = network(Constant(value=value), 3, seed)
    assert all(layer.weight.eq(torch.tensor(value)).all() for layer in model if isinstance(layer, nn.Linear))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    first = model[0].weight
    # sums of 5 or 7 equal terms in another order: a few roundings of numbers of order 1
    torch.testing.assert_close(first, first[:1].expand_as(first), rtol=0, atol=1e-5)


@pytest.mark.parametrize("initializer", [Identity(), Dirac()])
@given(out=st.integers(1, 6), inside=st.integers(1, 6), sides=st.lists(st.integers(1, 5), max_size=3))
@settings(max_examples=25, deadline=None)
def test_identity_and_dirac_are_torchs(initializer: Initializer, out: int, inside: int, sides: list[int]) -> None:
    theirs = torch.empty(out, inside, *sides)
    (nn.init.dirac_ if sides else nn.init.eye_)(theirs)
    assert torch.equal(filled(initializer, (out, inside, *sides)), theirs)


@given(out=st.integers(1, 5), inside=st.integers(1, 5), radius=st.integers(0, 2))
@settings(max_examples=15, deadline=None)
def test_an_identity_kernel_hands_the_common_channels_on(out: int, inside: int, radius: int) -> None:
    image = torch.rand(2, inside, 6, 6, generator=torch.Generator().manual_seed(out))
    seen = F.conv2d(image, filled(Dirac(), (out, inside, 2 * radius + 1, 2 * radius + 1)), padding=radius)
    common = min(out, inside)
    assert torch.equal(seen[:, :common], image[:, :common])
    assert not seen[:, common:].any()
