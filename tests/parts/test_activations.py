"""Each activation against its formula written with math, its derivative against central differences, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fanin.errors import OptionError
from fanin.parts import activations
from fanin.parts.activation_maps import activation_map

EPS = 2.0**-52
H = 3e-5  # step of the central differences

SELU = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772


def normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


Case = tuple[Callable[[], nn.Module], Callable[[float], float]]

CASES: dict[str, Case] = {
    "identity": (activations.identity, lambda z: z),
    "sigmoid": (activations.sigmoid, lambda z: 1 / (1 + math.exp(-z))),
    "tanh": (activations.tanh, math.tanh),
    "hardtanh": (activations.hardtanh, lambda z: min(max(z, -1.0), 1.0)),
    "softsign": (activations.softsign, lambda z: z / (1 + abs(z))),
    "relu": (activations.relu, lambda z: max(z, 0.0)),
    "leaky_relu": (activations.leaky_relu, lambda z: z if z > 0 else 0.01 * z),
    "leaky_relu 0.3": (partial(activations.leaky_relu, slope=0.3), lambda z: z if z > 0 else 0.3 * z),
    "elu": (activations.elu, lambda z: z if z > 0 else math.expm1(z)),
    "elu 2.5": (partial(activations.elu, alpha=2.5), lambda z: z if z > 0 else 2.5 * math.expm1(z)),
    "selu": (activations.selu, lambda z: SELU * (z if z > 0 else SELU_ALPHA * math.expm1(z))),
    "gelu": (activations.gelu, lambda z: z * normal_cdf(z)),
    "silu": (activations.silu, lambda z: z / (1 + math.exp(-z))),
    "mish": (activations.mish, lambda z: z * math.tanh(math.log1p(math.exp(z)))),
    "softplus": (activations.softplus, lambda z: math.log1p(math.exp(z))),
    "softplus 4": (partial(activations.softplus, beta=4), lambda z: math.log1p(math.exp(4 * z)) / 4),
}
KINKS = {"relu": [0.0], "leaky_relu": [0.0], "elu": [0.0], "selu": [0.0], "softsign": [0.0], "hardtanh": [-1.0, 1.0]}
POINTS = st.lists(st.floats(-50, 50), min_size=1, max_size=40)  # 4 * 50 is far beyond softplus's switch at 40


@pytest.mark.parametrize("name", CASES)
@given(points=POINTS)
@settings(max_examples=20, deadline=None)
def test_equals_its_formula(name: str, points: list[float]) -> None:
    make, formula = CASES[name]
    expected = torch.tensor([formula(z) for z in points], dtype=torch.float64)
    # Some operations of a few units in the last place each. gelu takes the left tail as 1 + erf, which rounds at 1:
    # an error of |z| eps there; elu and softplus have errors of eps itself next to 0.
    given_points = torch.tensor(points, dtype=torch.float64)
    allowed = 8 * EPS * (expected.abs() + 1 + given_points.abs())
    assert ((make()(given_points) - expected).abs() <= allowed).all()


@pytest.mark.parametrize("name", CASES)
@given(points=POINTS)
@settings(max_examples=20, deadline=None)
def test_derivative_equals_the_central_difference_of_the_formula(name: str, points: list[float]) -> None:
    make, formula = CASES[name]
    points = [z for z in points if all(abs(z - kink) > H for kink in KINKS.get(name.split()[0], []))]
    z = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    make()(z).sum().backward()
    assert z.grad is not None
    for point, derivative in zip(points, z.grad.tolist(), strict=True):
        numeric = (formula(point + H) - formula(point - H)) / (2 * H)
        # h^2/6 max|f'''|, and |f'''| <= 6 (softsign next to 0; the next ones: tanh 2, elu 2.5, 16/8 for softplus 4);
        # 4 units in the last place for each of the formula's two values, and of the points themselves.
        rounding = 4 * EPS * (abs(formula(point)) + abs(point) + 1) / H
        assert abs(derivative - numeric) <= H**2 + rounding, point


FAR = {  # value at -1000 and 1000, derivative there
    "identity": (-1000, 1000, 1, 1),
    "sigmoid": (0, 1, 0, 0),
    "tanh": (-1, 1, 0, 0),
    "hardtanh": (-1, 1, 0, 0),
    "softsign": (-1000 / 1001, 1000 / 1001, 1001**-2, 1001**-2),
    "relu": (0, 1000, 0, 1),
    "leaky_relu": (-10, 1000, 0.01, 1),
    "leaky_relu 0.3": (-300, 1000, 0.3, 1),
    "elu": (-1, 1000, 0, 1),
    "elu 2.5": (-2.5, 1000, 0, 1),
    "selu": (-SELU * SELU_ALPHA, 1000 * SELU, 0, SELU),
    "gelu": (0, 1000, 0, 1),
    "silu": (0, 1000, 0, 1),
    "mish": (0, 1000, 0, 1),
    "softplus": (0, 1000, 0, 1),
    "softplus 4": (0, 1000, 0, 1),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_beyond_saturation_it_reaches_its_limits(name: str, dtype: torch.dtype) -> None:
    z = torch.tensor([-1000.0, 1000.0], dtype=dtype, requires_grad=True)
    y = CASES[name][0]()(z)
    y.sum().backward()
    assert z.grad is not None
    # e^-1000 is 0 in either type: the limits hold but for a few roundings; softsign's derivative is a difference of
    # two numbers of 1e-3, whose roundings are 6e-11 each in float32.
    torch.testing.assert_close([*y.tolist(), *z.grad.tolist()], list(map(float, FAR[name])), rtol=1e-6, atol=3e-10)


@pytest.mark.parametrize(
    ("name", "kink", "derivative"),
    [
        ("relu", 0, 0),
        ("leaky_relu 0.3", 0, 0.3),
        ("elu 2.5", 0, 2.5),
        ("selu", 0, SELU * SELU_ALPHA),
        ("hardtanh", -1, 0),
        ("hardtanh", 1, 0),
    ],
)
def test_derivative_at_a_kink_is_that_of_the_side_its_docstring_names(
    name: str, kink: float, derivative: float
) -> None:
    z = torch.tensor([float(kink)], dtype=torch.float64, requires_grad=True)
    CASES[name][0]()(z).sum().backward()
    assert z.grad is not None
    assert z.grad.item() == pytest.approx(derivative, rel=1e-15)


def test_selu_reproduces_mean_0_and_variance_1() -> None:
    z = torch.linspace(-12, 12, 240_001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    y = activations.selu()(z)
    # The trapezoidal rule with step 1e-4: the kink at 0 costs h^2/12 times the slopes' jump, 1e-9.
    assert torch.trapezoid(y * density, z).item() == pytest.approx(0, abs=1e-8)
    assert torch.trapezoid(y.square() * density, z).item() == pytest.approx(1, abs=1e-8)


@given(slope=st.floats(-2, 2), alpha=st.floats(0.01, 10), beta=st.floats(0.01, 10), z=st.floats(-20, 20))
@settings(max_examples=25, deadline=None)
def test_hyperparameters_have_their_meaning(slope: float, alpha: float, beta: float, z: float) -> None:
    point = torch.tensor(z, dtype=torch.float64)
    assert activations.leaky_relu(slope=slope)(point).item() == (z if z > 0 else slope * z)
    expected = z if z > 0 else alpha * math.expm1(z)
    assert activations.elu(alpha=alpha)(point).item() == pytest.approx(expected, rel=1e-14)
    # softplus_beta(z) = softplus_1(beta z) / beta
    expected = activations.softplus()(point * beta).item() / beta
    assert activations.softplus(beta=beta)(point).item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_leaves_the_pre_activation_as_it_was(name: str) -> None:
    z = torch.tensor([-1.5, 0.0, 2.5])
    CASES[name][0]()(z)
    assert z.tolist() == [-1.5, 0.0, 2.5]


@pytest.mark.parametrize("name", CASES)
def test_each_call_gives_a_module_of_its_own(name: str) -> None:
    make = CASES[name][0]
    assert make() is not make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(activations.leaky_relu, slope="steep"), "slope=steep: must be a finite number"),
        (partial(activations.elu, alpha=0), "alpha=0: must be a finite number > 0"),
        (partial(activations.softplus, beta=-1), "beta=-1: must be a finite number > 0"),
    ],
)
def test_bad_values_give_one_line(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message


def test_a_map_is_the_same_whoever_asks_first() -> None:
    """A model that is only checked is made on the meta device, whose numbers have no values."""
    module = nn.ELU(alpha=0.37)  # whose map nobody has asked for yet
    with torch.device("meta"):
        first = activation_map(module)
    assert first is not None
    # E max(0, z)^2 = 1/2, E (e^z - 1)^2 [z < 0] = e^2 Phi(-2) - 2 e^(1/2) Phi(-1) + 1/2
    normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    below = math.e**2 * normal.cdf(torch.tensor(-2.0)) - 2 * math.e**0.5 * normal.cdf(torch.tensor(-1.0)) + 0.5
    assert first.mean_square(1.0) == pytest.approx(0.5 + 0.37**2 * float(below), rel=1e-6)
    assert activation_map(nn.ELU(alpha=0.37)) is first
