"""The multilayer perceptron against a matrix product written out by hand in numpy, float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from fanin import streams
from fanin.parts import activations
from fanin.parts.initializers import TorchDefault
from fanin.parts.models import Mlp
from fanin.parts.normalization import BatchNorm, LayerNorm, NoNorm, Normalization
from fanin.parts.regularizers import Dropout, DropoutModule

Array = npt.NDArray[np.float64]
FUNCTIONS: dict[Callable[[], nn.Module], Callable[[Array], Array]] = {
    activations.relu: lambda z: np.maximum(z, 0),
    activations.tanh: np.tanh,
    activations.identity: lambda z: z,
}


def by_hand(model: Mlp, depth: int, x: Array, f: Callable[[Array], Array], norm: Normalization) -> Array:
    """Logits of a network in training mode, without dropout, from its parameters by their names."""
    p = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}

    def linear(i: int, h: Array) -> Array:
        z: Array = h @ p[f"linear_{i}.weight"].T + p.get(f"linear_{i}.bias", 0)
        return z

    def normalize(i: int, z: Array) -> Array:
        if isinstance(norm, NoNorm):
            return z
        kind, axis = ("batchnorm", 0) if isinstance(norm, BatchNorm) else ("layernorm", 1)
        mean, var = z.mean(axis, keepdims=True), z.var(axis, keepdims=True)
        y: Array = p[f"{kind}_{i}.weight"] * (z - mean) / np.sqrt(var + 1e-5) + p[f"{kind}_{i}.bias"]
        return y

    h = x.reshape(len(x), -1)
    for i in range(1, depth):
        z = linear(i, h)
        h = f(normalize(i, z)) if norm.placement == "pre_activation" else normalize(i, f(z))
    return linear(depth, h)


def network(depth: int, seed: int = 0, **changes: object) -> Mlp:
    settings = {
        "in_features": 6,
        "out_features": 4,
        "depth": depth,
        "width": 9,
        "activation": activations.relu,
        "normalization": NoNorm(),
        **changes,
    }
    model = Mlp(**settings).double()  # type: ignore[arg-type]
    TorchDefault()(model, lambda name: streams.generator(seed, "init", name))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:  # apart from 1 and 0, so that gamma and beta matter
                parameter.add_(torch.linspace(-0.5, 0.5, len(parameter)))
    return model


@pytest.mark.parametrize("depth", [1, 2, 3, 12])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("place", ["pre_activation", "post_activation"])
@pytest.mark.parametrize("kind", [NoNorm, BatchNorm, LayerNorm])
def test_equals_the_matrix_product(
    depth: int,
    bias: bool,
    activation: Callable[[], nn.Module],
    kind: type[NoNorm | BatchNorm | LayerNorm],
    place: str,
) -> None:
    norm = kind(placement=place)
    model = network(depth, depth, bias=bias, activation=activation, normalization=norm)
    x = torch.randn(8, 3, 2, generator=torch.Generator().manual_seed(depth), dtype=torch.float64)
    expected = by_hand(model, depth, x.numpy(), FUNCTIONS[activation], norm)
    # 12 layers of sums over 9 products: 1e-14 of rounding, which normalization may enlarge layer by layer
    np.testing.assert_allclose(model(x).detach().numpy(), expected, rtol=1e-9, atol=1e-11)


def test_dropout_multiplies_by_the_masks_of_its_generator() -> None:
    model = network(3, dropout=Dropout(p=0.5, input_p=0.25))
    for seed, module in enumerate(m for m in model if isinstance(m, DropoutModule)):
        module.generator = torch.Generator().manual_seed(seed)
    x = np.random.default_rng(0).normal(size=(8, 6))
    masks = [
        torch.empty(shape, dtype=torch.float64).bernoulli_(keep, generator=torch.Generator().manual_seed(seed)).numpy()
        / keep
        for seed, (shape, keep) in enumerate([((8, 6), 0.75), ((8, 9), 0.5), ((8, 9), 0.5)])
    ]
    first, second, third = (parameter.detach().numpy() for parameter in model.parameters())
    h = np.maximum(x * masks[0] @ first.T, 0) * masks[1]
    h = np.maximum(h @ second.T, 0) * masks[2]
    np.testing.assert_allclose(model(torch.tensor(x)).detach().numpy(), h @ third.T, rtol=1e-12, atol=1e-14)
    model.eval()
    plain = np.maximum(np.maximum(x @ first.T, 0) @ second.T, 0) @ third.T
    np.testing.assert_allclose(model(torch.tensor(x)).detach().numpy(), plain, rtol=1e-12, atol=1e-14)
