"""Normalizations by mean and variance, or mean square, against their formulas in numpy, float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fanin.parts.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm

Array = npt.NDArray[np.float64]

SHAPES = st.tuples(st.integers(2, 6), st.integers(2, 4), st.integers(2, 4), st.integers(2, 4))  # B, C / 2, H, W
EPS = st.sampled_from([1e-5, 1e-3, 0.3])
examples = settings(max_examples=15, deadline=None)


def draw(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Entries of standard deviation 3, means 0, 1, 2, ... of the features."""
    noise = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return noise + torch.arange(shape[1]).reshape(-1, *[1] * (len(shape) - 2))


def affine(module: nn.Module | None) -> tuple[nn.Module, Array, Array]:
    """The module in float64 with gamma and beta apart from 1 and 0."""
    assert module is not None
    module = module.double()
    values = {}
    for name, low, high in (("weight", 0.5, 2.0), ("bias", -1.0, 1.0)):
        parameter = dict(module.named_parameters()).get(name)
        if parameter is not None:
            with torch.no_grad():
                parameter.copy_(torch.linspace(low, high, len(parameter)))
            values[name] = parameter.detach().numpy()
    return module, values["weight"], values.get("bias", np.zeros(1))


def standardized(z: Array, eps: float) -> Array:
    """All entries of an array to mean 0 and variance 1."""
    mean = z.sum() / z.size
    var = ((z - mean) ** 2).sum() / z.size
    return (z - mean) / np.sqrt(var + eps)


def assert_close(ours: Tensor, formula: Array) -> None:
    # some dozen float64 operations on numbers up to 20, 2.2e-16 each; a variance may be a thousandth of the squares
    # that it comes from
    np.testing.assert_allclose(ours.detach().numpy(), formula, rtol=1e-11, atol=1e-11)


def along_features(values: Array, z: Array) -> Array:
    return values.reshape(-1, *[1] * (z.ndim - 2))


@pytest.mark.parametrize("dims", [0, 2])
@given(shape=SHAPES, eps=EPS, seed=st.integers(0, 999))
@examples
def test_batch(dims: int, shape: tuple[int, int, int, int], eps: float, seed: int) -> None:
    size, half, *places = shape
    z = draw(seed, (size, 2 * half, *places[:dims]))
    module, gamma, beta = affine(BatchNorm(eps=eps).make(2 * half, dims))
    expected = np.stack([standardized(z.numpy()[:, c], eps) * gamma[c] + beta[c] for c in range(2 * half)], axis=1)
    assert_close(module(z), expected)


@pytest.mark.parametrize("dims", [0, 2])
@given(shape=SHAPES, eps=EPS, seed=st.integers(0, 999))
@examples
def test_layer(dims: int, shape: tuple[int, int, int, int], eps: float, seed: int) -> None:
    size, half, *places = shape
    z = draw(seed, (size, 2 * half, *places[:dims]))
    module, gamma, beta = affine(LayerNorm(eps=eps).make(2 * half, dims))
    a = z.numpy()
    expected = np.stack([standardized(example, eps) for example in a])
    assert_close(module(z), expected * along_features(gamma, a) + along_features(beta, a))


@pytest.mark.parametrize("dims", [0, 2])
@given(shape=SHAPES, groups=st.sampled_from([1, 2]), eps=EPS, seed=st.integers(0, 999))
@examples
def test_group(dims: int, shape: tuple[int, int, int, int], groups: int, eps: float, seed: int) -> None:
    size, half, *places = shape
    features = 2 * half
    z = draw(seed, (size, features, *places[:dims]))
    module, gamma, beta = affine(GroupNorm(groups=groups, eps=eps).make(features, dims))
    a, expected = z.numpy(), np.empty(z.shape)
    for example in range(size):
        for first in range(0, features, features // groups):
            members = slice(first, first + features // groups)
            expected[example, members] = standardized(a[example, members], eps)
    assert_close(module(z), expected * along_features(gamma, a) + along_features(beta, a))


@given(shape=SHAPES, eps=EPS, seed=st.integers(0, 999))
@examples
def test_instance(shape: tuple[int, int, int, int], eps: float, seed: int) -> None:
    z = draw(seed, shape)
    module, gamma, beta = affine(InstanceNorm(eps=eps).make(shape[1], 2))
    a = z.numpy()
    expected = np.array([[standardized(one, eps) for one in example] for example in a])
    assert_close(module(z), expected * along_features(gamma, a) + along_features(beta, a))
    module.eval()  # nothing is kept from training
    assert_close(module(z[:1]), (expected * along_features(gamma, a) + along_features(beta, a))[:1])


@pytest.mark.parametrize("dims", [0, 2])
@given(shape=SHAPES, eps=EPS, seed=st.integers(0, 999))
@examples
def test_rms(dims: int, shape: tuple[int, int, int, int], eps: float, seed: int) -> None:
    size, half, *places = shape
    z = draw(seed, (size, 2 * half, *places[:dims]))
    module, gamma, _ = affine(RMSNorm(eps=eps).make(2 * half, dims))
    a = z.numpy()
    expected = np.stack([example / np.sqrt((example**2).sum() / example.size + eps) for example in a])
    assert_close(module(z), expected * along_features(gamma, a))
    plain = RMSNorm(eps=eps, affine=False).make(2 * half, dims)
    assert_close(plain(z), expected)


@pytest.mark.parametrize("dims", [0, 2])
@pytest.mark.parametrize("momentum", [0.1, 0.6])
def test_batch_evaluates_with_running_statistics(dims: int, momentum: float) -> None:
    shape = (12, 5, 3, 2)[: 2 + dims]
    axes = (0, 2, 3)[: 1 + dims]
    module = BatchNorm(momentum=momentum).make(5, dims).double()
    mean, var = np.zeros(5), np.ones(5)
    for seed in (2, 3, 4):
        z = draw(seed, shape)
        module(z)
        mean = (1 - momentum) * mean + momentum * z.numpy().mean(axes)
        var = (1 - momentum) * var + momentum * z.numpy().var(axes, ddof=1)
    module.eval()
    z = draw(5, shape)
    expected = (z.numpy() - along_features(mean, z.numpy())) / np.sqrt(along_features(var, z.numpy()) + 1e-5)
    assert_close(module(z), expected)
    # At evaluation an example's answer does not depend on its companions.
    assert_close(module(z[:1]), expected[:1])


@pytest.mark.parametrize("dims", [0, 2])
@given(eps=EPS, seed=st.integers(0, 999))
@examples
def test_batch_can_undo_itself(dims: int, eps: float, seed: int) -> None:
    shape, axes = (7, 4, 3, 2)[: 2 + dims], (0, 2, 3)[: 1 + dims]
    z = draw(seed, shape)
    module = BatchNorm(eps=eps).make(4, dims).double()
    with torch.no_grad():
        module.get_parameter("weight").copy_((z.var(axes, correction=0) + eps).sqrt())
        module.get_parameter("bias").copy_(z.mean(axes))
    assert_close(module(z), z.numpy())


@pytest.mark.parametrize(
    ("settings", "dims", "groups"),  # groups: of an example's entries that are standardized together
    [
        (LayerNorm(eps=1e-12), 0, 1),
        (LayerNorm(eps=1e-12), 2, 1),
        (GroupNorm(groups=2, eps=1e-12), 0, 2),
        (GroupNorm(groups=2, eps=1e-12), 2, 2),
        (InstanceNorm(eps=1e-12), 2, 8),
        (RMSNorm(eps=1e-12), 0, 1),
        (RMSNorm(eps=1e-12), 2, 1),
    ],
    ids=str,
)
def test_what_divides_by_an_examples_own_spread_does_not_see_its_scale(settings: Any, dims: int, groups: int) -> None:
    z = draw(7, (12, 8, 3, 3)[: 2 + dims])
    small = 0.01 * z
    # eps changes the result by a relative eps / (2 var)
    tolerance = 1e-12 / small.reshape(12, groups, -1).var(2, correction=0).min().item() + 1e-11
    assert tolerance < 1e-7
    module = settings.make(8, dims).double()
    torch.testing.assert_close(module(small), module(z), rtol=tolerance, atol=1e-11)


def test_rms_is_torchs_over_the_last_axis() -> None:
    z = draw(9, (5, 3, 7))  # also a sequence of vectors
    module, _, _ = affine(RMSNorm(eps=1e-3).make(7))
    torchs = nn.RMSNorm(7, eps=1e-3).double()
    torchs.load_state_dict(module.state_dict())
    assert_close(module(z), torchs(z).detach().numpy())


def test_one_group_is_layer_and_as_many_as_channels_instance_normalization() -> None:
    z = draw(8, (4, 6, 3, 5))
    one, each = GroupNorm(groups=1).make(6, 2).double(), GroupNorm(groups=6).make(6, 2).double()
    assert_close(one(z), LayerNorm().make(6, 2).double()(z).detach().numpy())
    assert_close(each(z), InstanceNorm().make(6, 2).double()(z).detach().numpy())
