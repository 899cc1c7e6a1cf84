"""Each activation against its formula, its derivative against central differences, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fanin import activations

POINTS = torch.linspace(-6, 6, 1201, dtype=torch.float64)

CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[Tensor], Tensor]]] = {
    "relu": (activations.relu, lambda z: (z + z.abs()) / 2),
    "tanh": (activations.tanh, lambda z: 1 - 2 / (torch.exp(2 * z) + 1)),
    "identity": (activations.identity, lambda z: z),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_its_formula(name: str) -> None:
    make, formula = CASES[name]
    torch.testing.assert_close(make()(POINTS), formula(POINTS), rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", CASES)
def test_derivative_equals_the_central_difference_of_the_formula(name: str) -> None:
    make, formula = CASES[name]
    z = POINTS[POINTS.abs() > 1e-3].clone().requires_grad_()  # ReLU has no derivative at 0
    make()(z).sum().backward()
    h = 1e-5
    numeric = (formula(z + h) - formula(z - h)).detach() / (2 * h)
    # h^2/6 |f'''| <= 1e-10/6 * 2 for tanh; rounding 6 * 2.2e-16 / h = 1.3e-10 at |f| <= 6
    torch.testing.assert_close(z.grad, numeric, rtol=0, atol=3e-10)


@pytest.mark.parametrize("name", CASES)
def test_leaves_the_pre_activation_as_it_was(name: str) -> None:
    z = torch.tensor([-1.5, 0.0, 2.5])
    CASES[name][0]()(z)
    assert z.tolist() == [-1.5, 0.0, 2.5]


@pytest.mark.parametrize("name", CASES)
def test_each_call_gives_a_module_of_its_own(name: str) -> None:
    make = CASES[name][0]
    assert make() is not make()


def test_relu_passes_no_gradient_at_zero() -> None:
    z = torch.zeros(1, requires_grad=True)
    activations.relu()(z).sum().backward()
    assert z.grad is not None
    assert z.grad.item() == 0
