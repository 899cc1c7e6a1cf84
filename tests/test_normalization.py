"""Batch and layer normalization against their formulas in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fanin.errors import OptionError
from fanin.normalization import BatchNorm, LayerNorm, NoNorm


def batch(seed: int, size: int = 12, features: int = 5) -> Tensor:
    noise = torch.randn(size, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 3 * noise + torch.arange(features)


def close(ours: Tensor, formula: Tensor) -> None:
    # a dozen float64 operations on numbers up to 10, 2.2e-16 each, with room
    torch.testing.assert_close(ours, formula, rtol=1e-12, atol=1e-12)


def with_affine(module: nn.Module) -> tuple[nn.Module, Tensor, Tensor]:
    """The module in float64 with gamma and beta apart from 1 and 0."""
    module = module.double()
    gamma, beta = module.get_parameter("weight"), module.get_parameter("bias")
    with torch.no_grad():
        gamma.copy_(torch.linspace(0.5, 2, len(gamma)))
        beta.copy_(torch.linspace(-1, 1, len(beta)))
    return module, gamma.detach(), beta.detach()


@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_batch_norm_equals_its_formula(eps: float) -> None:
    z = batch(0)
    module, gamma, beta = with_affine(BatchNorm(eps=eps).make(5))
    mean, var = z.mean(0), ((z - z.mean(0)) ** 2).mean(0)
    close(module(z), gamma * (z - mean) / (var + eps).sqrt() + beta)


@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_layer_norm_equals_its_formula(eps: float) -> None:
    z = batch(1)
    module, gamma, beta = with_affine(LayerNorm(eps=eps).make(5))
    mean, var = z.mean(1, keepdim=True), z.var(1, keepdim=True, unbiased=False)
    close(module(z), gamma * (z - mean) / (var + eps).sqrt() + beta)


@pytest.mark.parametrize("momentum", [0.1, 0.6])
def test_batch_norm_evaluates_with_running_statistics(momentum: float) -> None:
    module = BatchNorm(momentum=momentum).make(5).double()
    mean, var = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    for seed in (2, 3, 4):
        z = batch(seed)
        module(z)
        mean = (1 - momentum) * mean + momentum * z.mean(0)
        var = (1 - momentum) * var + momentum * z.var(0, unbiased=True)
    module.eval()
    z = batch(5)
    expected = (z - mean) / (var + 1e-5).sqrt()
    close(module(z), expected)
    # At evaluation a sample's answer does not depend on its companions.
    close(module(z[:1]), expected[:1])


def test_batch_norm_can_undo_itself() -> None:
    z = batch(6)
    module = BatchNorm().make(5).double()
    with torch.no_grad():
        module.get_parameter("weight").copy_((z.var(0, unbiased=False) + 1e-5).sqrt())
        module.get_parameter("bias").copy_(z.mean(0))
    close(module(z), z)


def test_layer_norm_does_not_see_the_scale_of_its_input() -> None:
    z = batch(7)
    module = LayerNorm(eps=1e-12).make(5).double()
    small = 0.01 * z
    # eps changes the result by a relative eps / (2 var)
    tolerance = 1e-12 / small.var(1, unbiased=False).min().item() + 1e-13
    assert tolerance < 1e-7
    torch.testing.assert_close(module(small), module(z), rtol=tolerance, atol=1e-13)


@pytest.mark.parametrize("settings", [BatchNorm(affine=False), LayerNorm(affine=False)])
def test_without_affine_nothing_is_learned(settings: BatchNorm | LayerNorm) -> None:
    assert list(settings.make(5).parameters()) == []


def test_no_norm_makes_nothing() -> None:
    assert NoNorm(placement="post_activation").make(5) is None


@pytest.mark.parametrize("kind", [NoNorm, BatchNorm, LayerNorm])
def test_placement_is_kept_and_checked(kind: type[NoNorm | BatchNorm | LayerNorm]) -> None:
    assert kind(placement="post_activation").placement == "post_activation"
    with pytest.raises(OptionError) as caught:
        kind(placement="post_activations")
    assert str(caught.value) == (
        "placement=post_activations: must be one of pre_activation, post_activation; did you mean post_activation?"
    )


@pytest.mark.parametrize("kind", [BatchNorm, LayerNorm])
def test_eps_and_affine_are_checked(kind: type[BatchNorm | LayerNorm]) -> None:
    with pytest.raises(OptionError) as caught:
        kind(eps=0)
    assert str(caught.value) == "eps=0: must be a finite number > 0"
    with pytest.raises(OptionError) as caught:
        kind(affine="yes")  # type: ignore[arg-type]
    assert str(caught.value) == "affine=yes: must be true or false"


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_momentum_is_checked(value: float) -> None:
    with pytest.raises(OptionError) as caught:
        BatchNorm(momentum=value)
    assert str(caught.value) == f"momentum={value}: must be a finite number >= 0 and <= 1"
