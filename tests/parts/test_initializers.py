"""The laws of the draws, the shape of the matrices, and which stream each parameter takes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from fanin import streams
from fanin.errors import OptionError
from fanin.parts import activations
from fanin.parts.initializers import (
    Constant,
    Dirac,
    Fixup,
    Identity,
    Initializer,
    KaimingNormal,
    KaimingUniform,
    LecunNormal,
    Lsuv,
    Normal,
    Orthogonal,
    Pretrained,
    Stream,
    TorchDefault,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
    XavierNormal,
    XavierUniform,
    Zeros,
)
from fanin.parts.models import Mlp
from fanin.parts.normalization import LayerNorm, NoNorm

FLOAT32 = 2.0**-24  # relative rounding error of one float32 operation
SHAPE = (400, 300)  # fan_out, fan_in: 1.2e5 entries


def filled(initializer: Initializer, seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    weight = torch.empty(shape)
    receptive = math.prod(shape[2:])
    initializer.fill(weight, shape[1] * receptive, shape[0] * receptive, torch.Generator().manual_seed(seed))
    return weight


def stream(seed: int) -> Stream:
    return lambda name: streams.generator(seed, "init", name)


def mlp(depth: int = 4, *, bias: bool = True, norm: NoNorm | LayerNorm | None = None) -> Mlp:
    return Mlp(
        in_features=20,
        out_features=3,
        depth=depth,
        width=10,
        bias=bias,
        activation=activations.relu,
        normalization=norm or NoNorm(),
    )


# The fourth moment decides how far a sample variance strays: Var s^2 = v^2 (kurtosis - 1) / N.
KURTOSIS = {
    "normal": 3.0,
    "uniform": 9 / 5,
    "truncated_normal": 3 + float(stats.truncnorm(-2, 2).stats(moments="k")),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("initializer", "variance", "law"),
    [
        *[
            (VarianceScaling(c=c, mode=mode, distribution=law), c / fan, law)
            for c, mode, fan in [(1, "fan_in", 300), (2, "fan_out", 400), (3, "fan_avg", 350)]
            for law in KURTOSIS
        ],
        (KaimingNormal(), 2 / 300, "normal"),
        (KaimingNormal(mode="fan_out", slope=0.5), 2 / (1.25 * 400), "normal"),
        (XavierNormal(gain=3), 9 * 2 / 700, "normal"),
        (TorchDefault(), 1 / 900, "uniform"),
        (Normal(std=0.3), 0.09, "normal"),
        (Uniform(bound=0.3), 0.03, "uniform"),
        (TruncatedNormal(std=0.3), 0.09 * float(stats.truncnorm(-2, 2).var()), "truncated_normal"),
        (XavierUniform(gain=3), 9 * 2 / 700, "uniform"),
        (KaimingUniform(mode="fan_out", slope=0.5), 2 / (1.25 * 400), "uniform"),
        (LecunNormal(), 1 / 300, "normal"),
    ],
)
def test_mean_and_variance_of_a_draw(initializer: Initializer, variance: float, law: str, seed: int) -> None:
    assert initializer.variance(300, 400) == pytest.approx(variance, rel=1e-14)
    w = filled(initializer, seed).double()
    assert abs(w.mean().item()) < 5 * math.sqrt(variance / w.numel())
    assert abs(w.var().item() / variance - 1) < 5 * math.sqrt((KURTOSIS[law] - 1) / w.numel())


@pytest.mark.parametrize(
    ("law", "reference"),
    [
        ("normal", stats.norm()),
        ("uniform", stats.uniform(-math.sqrt(3), 2 * math.sqrt(3))),
        ("truncated_normal", stats.truncnorm(-2, 2, scale=1 / stats.truncnorm(-2, 2).std())),
    ],
)
def test_distribution_function_of_a_draw(law: str, reference) -> None:  # type: ignore[no-untyped-def]
    sample = filled(VarianceScaling(c=300, distribution=law), seed=4).flatten().numpy()
    # Kolmogorov-Smirnov: the largest deviation of 1.2e5 entries exceeds 2.5/sqrt(N) with probability 7e-6.
    assert stats.kstest(sample, reference.cdf).statistic < 2.5 / math.sqrt(sample.size)


@pytest.mark.parametrize(
    ("initializer", "bound"),
    [
        (VarianceScaling(c=2, distribution="uniform"), math.sqrt(6 / 300)),
        (VarianceScaling(c=2, distribution="truncated_normal"), 2 * math.sqrt(2 / 300) / 0.8796256610342398),
        (TorchDefault(), 1 / math.sqrt(300)),
        (Uniform(bound=0.7), 0.7),
        (TruncatedNormal(std=0.7), 1.4),
        (XavierUniform(gain=2), 2 * math.sqrt(6 / 700)),
        (KaimingUniform(), math.sqrt(6 / 300)),
        (KaimingUniform(mode="fan_out", slope=2), math.sqrt(6 / (5 * 400))),
    ],
)
def test_support_is_exact_and_used(initializer: Initializer, bound: float) -> None:
    largest = filled(initializer, 3).abs().max().item()
    assert largest <= bound * (1 + 2 * FLOAT32)
    # The densities at the ends are at least 0.05 per standard unit: 1.2e5 entries leave no gap of 0.2 %.
    assert largest > 0.998 * bound


def test_torch_default_is_the_law_of_nn_linear() -> None:
    torch.manual_seed(11)
    theirs = nn.Linear(300, 400).weight.detach()
    ours = filled(TorchDefault(), 0)
    assert theirs.abs().max().item() == pytest.approx(ours.abs().max().item(), rel=1e-3)
    # Two sample variances of N uniforms each: relative standard error sqrt(2 * 0.8 / N).
    assert abs(theirs.var().item() / ours.var().item() - 1) < 5 * math.sqrt(1.6 / ours.numel())


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize(
    ("initializer", "reference"),
    [
        (
            KaimingNormal(mode="fan_in"),
            lambda w, g: nn.init.kaiming_normal_(w, mode="fan_in", nonlinearity="relu", generator=g),
        ),
        (
            KaimingNormal(mode="fan_out", slope=0.2),
            lambda w, g: nn.init.kaiming_normal_(w, 0.2, mode="fan_out", generator=g),
        ),
        (XavierNormal(gain=1.7), lambda w, g: nn.init.xavier_normal_(w, 1.7, generator=g)),
        (
            VarianceScaling(c=1, mode="fan_avg", distribution="uniform"),
            lambda w, g: nn.init.xavier_uniform_(w, generator=g),
        ),
        (Orthogonal(gain=1.3), lambda w, g: nn.init.orthogonal_(w, 1.3, generator=g)),
        (Normal(std=0.2), lambda w, g: nn.init.normal_(w, 0.0, 0.2, generator=g)),
        (Uniform(bound=0.2), lambda w, g: nn.init.uniform_(w, -0.2, 0.2, generator=g)),
        (XavierUniform(gain=1.7), lambda w, g: nn.init.xavier_uniform_(w, 1.7, generator=g)),
        (
            KaimingUniform(mode="fan_out", slope=0.2),
            lambda w, g: nn.init.kaiming_uniform_(w, 0.2, mode="fan_out", generator=g),
        ),
        (LecunNormal(), lambda w, g: nn.init.kaiming_normal_(w, nonlinearity="linear", generator=g)),
    ],
)
@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (16, 8, 3, 3)])
def test_equals_torch_from_the_same_generator(
    initializer: Initializer,
    reference: Callable[[Tensor, torch.Generator], Tensor],
    shape: tuple[int, ...],
    seed: int,
) -> None:
    theirs = reference(torch.empty(shape), torch.Generator().manual_seed(seed))
    # torch decomposes in float32, and shifts its uniforms before it scales: some roundings of entries up to 1
    torch.testing.assert_close(filled(initializer, seed, shape), theirs, rtol=1e-5, atol=2e-6)


def test_truncated_normal_is_the_law_of_torch() -> None:
    theirs = torch.empty(SHAPE)
    nn.init.trunc_normal_(theirs, std=0.3, a=-0.6, b=0.6, generator=torch.Generator().manual_seed(1))
    ours = filled(TruncatedNormal(std=0.3), 2)
    # Two samples of N: their distribution functions differ by more than 2.5 sqrt(2/N) with probability 7e-6.
    distance = stats.ks_2samp(ours.flatten().numpy(), theirs.flatten().numpy()).statistic
    assert distance < 2.5 * math.sqrt(2 / ours.numel())


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (Normal(std=0.01), Normal(std=0.02)),
        (Uniform(bound=0.05), Uniform(bound=0.1)),
        (TruncatedNormal(std=0.01), TruncatedNormal(std=0.02)),
        (XavierUniform(gain=1), XavierUniform(gain=2)),
        (KaimingUniform(slope=1), XavierUniform(gain=2)),  # 1/fan_in and, for a square matrix, 4/fan_in
        (LecunNormal(), VarianceScaling(c=4)),
    ],
)
def test_one_seed_gives_rescaled_copies_of_one_draw(small: Initializer, large: Initializer) -> None:
    one, two = filled(small, 3, (30, 30)), filled(large, 3, (30, 30))
    assert torch.equal(2 * one, two)  # a factor of 2 is exact in binary


@pytest.mark.parametrize("law", ["normal", "uniform", "truncated_normal"])
def test_another_c_rescales_the_same_draw(law: str) -> None:
    one, two, eight = (filled(VarianceScaling(c=c, distribution=law), 9) for c in (1, 2, 8))
    assert torch.equal(eight, 2 * two)  # a factor of 2 is exact in binary
    ratio = (two.double() / one.double())[one != 0]
    # on each side the factor and the product are rounded once
    assert (ratio / math.sqrt(2) - 1).abs().max().item() <= 4.1 * FLOAT32


def test_kaiming_and_variance_scaling_at_2_are_one() -> None:
    assert torch.equal(filled(KaimingNormal(), 2), filled(VarianceScaling(c=2), 2))


@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
@pytest.mark.parametrize("shape", [(30, 80), (80, 30), (50, 50), (12, 4, 3, 3), (1, 5), (5, 1)])
def test_orthogonal(shape: tuple[int, ...], gain: float) -> None:
    w = filled(Orthogonal(gain=gain), 6, shape).flatten(1).double()
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    # rounding w to float32 moves an entry of the Gram matrix by at most 2 roundings of |w_i| |w_j| = gain^2
    expected = gain**2 * torch.eye(len(gram), dtype=torch.float64)
    torch.testing.assert_close(gram, expected, rtol=0, atol=2.1 * FLOAT32 * gain**2)


def test_orthogonal_is_gram_schmidt_on_the_normals() -> None:
    columns = torch.randn(9, 6, generator=torch.Generator().manual_seed(8)).double().numpy().T.copy()
    for i, column in enumerate(columns):
        for earlier in columns[:i]:
            column -= (column @ earlier) * earlier
        column /= np.linalg.norm(column)
    # rounded once, entries up to 1
    w = filled(Orthogonal(), 8, (9, 6)).double()
    torch.testing.assert_close(w, torch.tensor(columns.T), rtol=0, atol=6e-8)


def test_zeros() -> None:
    model = mlp()
    Zeros()(model, stream(0))
    assert all(not parameter.any() for parameter in model.parameters())
    assert Zeros().variance(5, 5) == 0


@pytest.mark.parametrize(
    ("initializer", "exact"),
    [
        (VarianceScaling(), True),
        (VarianceScaling(distribution="uniform"), False),
        (VarianceScaling(distribution="truncated_normal"), False),
        (KaimingNormal(), True),
        (XavierNormal(), True),
        (Orthogonal(), False),
        (Zeros(), False),
        (TorchDefault(), False),
        (Normal(), True),
        (LecunNormal(), True),
        (Uniform(), False),
        (TruncatedNormal(), False),
        (XavierUniform(), False),
        (KaimingUniform(), False),
        (Constant(), False),
        (Identity(), False),
        (Dirac(), False),
        (Lsuv(), False),
        (Fixup(), False),
        (Pretrained(), False),
    ],
)
def test_the_band_of_the_theory_is_claimed_for_normals_only(initializer: Initializer, exact: bool) -> None:
    law = initializer.weight_law(nn.Linear(4, 3))
    assert (law is not None and law.kind == "normal") is exact


@pytest.mark.parametrize("initializer", [Orthogonal(), Identity(), Dirac(), Lsuv(), Fixup(), Pretrained()])
def test_no_variance_without_an_independent_law(initializer: Initializer) -> None:
    assert initializer.variance(4, 4) is None


def weights(initializer: Initializer, model: Mlp, seed: int) -> dict[str, Tensor]:
    initializer(model, stream(seed))
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("initializer", [VarianceScaling(), Orthogonal(), TorchDefault()])
def test_a_layer_draws_the_same_whatever_else_the_model_has(initializer: Initializer) -> None:
    short = weights(initializer, mlp(3, bias=False), 1)
    long = weights(initializer, mlp(6, bias=True, norm=LayerNorm()), 1)
    for name in ("linear_1.weight", "linear_2.weight"):
        assert torch.equal(short[name], long[name])


def test_layers_and_seeds_draw_apart() -> None:
    first, second = (weights(VarianceScaling(), mlp(5), seed) for seed in (0, 1))
    draws = [model[f"linear_{i}.weight"].flatten().double() for model in (first, second) for i in (2, 3, 4)]
    correlations = np.corrcoef(torch.stack(draws).numpy()) - np.eye(6)
    assert np.abs(correlations).max() < 5 / math.sqrt(100)  # 100 entries a layer


def test_fill_takes_the_parameter_by_its_name() -> None:
    model = mlp(3, norm=LayerNorm())
    asked: list[str] = []

    def record(name: str) -> torch.Generator:
        asked.append(name)
        return torch.Generator().manual_seed(len(asked))

    VarianceScaling()(model, record)
    assert asked == [f"linear_{i}.{part}" for i in (1, 2, 3) for part in ("weight", "bias")]
    expected = filled(VarianceScaling(), 3, (10, 10))
    assert torch.equal(model.get_parameter("linear_2.weight"), expected)


def test_biases_start_at_zero_and_normalization_is_left_alone() -> None:
    values = weights(VarianceScaling(), mlp(3, norm=LayerNorm()), 0)
    assert not any(values[f"linear_{i}.bias"].any() for i in (1, 2, 3))
    assert torch.equal(values["layernorm_1.weight"], torch.ones(10))


def test_torch_default_draws_biases_too() -> None:
    layer = nn.Linear(9, 50_000)
    TorchDefault()(layer, stream(2))
    bias = layer.bias.detach()
    assert bias.abs().max().item() <= 1 / 3 * (1 + 2 * FLOAT32)
    assert abs(bias.var().item() * 27 - 1) < 5 * math.sqrt(0.8 / 50_000)


def test_a_single_layer_asks_for_plain_names() -> None:
    asked: list[str] = []

    def record(name: str) -> torch.Generator:
        asked.append(name)
        return torch.Generator()

    VarianceScaling()(nn.Linear(2, 2), record)
    assert asked == ["weight", "bias"]


@pytest.mark.parametrize("initializer", [VarianceScaling(), Orthogonal(), TorchDefault()])
def test_float64_gets_the_same_weights_as_float32(initializer: Initializer) -> None:
    single, double = weights(initializer, mlp(), 3), weights(initializer, mlp().double(), 3)
    assert all(torch.equal(single[name].double(), double[name]) for name in single)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    weights(TorchDefault(), mlp(), 0)
    weights(Orthogonal(), mlp(), 0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_parameters_still_want_gradients() -> None:
    model = mlp()
    VarianceScaling()(model, stream(0))
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VarianceScaling(c=0), "c=0: must be a finite number > 0"),
        (lambda: VarianceScaling(c="two"), "c=two: must be a finite number > 0"),  # type: ignore[arg-type]
        (lambda: VarianceScaling(c=math.inf), "c=inf: must be a finite number > 0"),
        (
            lambda: VarianceScaling(mode="fanin"),
            "mode=fanin: must be one of fan_in, fan_out, fan_avg; did you mean fan_in?",
        ),
        (
            lambda: VarianceScaling(distribution="gaussian"),
            "distribution=gaussian: must be one of normal, uniform, truncated_normal",
        ),
        (
            lambda: KaimingNormal(mode="fan_avg"),
            "mode=fan_avg: must be one of fan_in, fan_out; did you mean fan_in?",
        ),
        (lambda: KaimingNormal(slope=None), "slope=null: must be a finite number"),  # type: ignore[arg-type]
        (lambda: XavierNormal(gain=-1), "gain=-1: must be a finite number > 0, or auto"),
        (lambda: Orthogonal(gain=0), "gain=0: must be a finite number > 0, or auto"),
        (lambda: Normal(std=0), "std=0: must be a finite number > 0"),
        (lambda: Uniform(bound=-1), "bound=-1: must be a finite number > 0"),
        (lambda: TruncatedNormal(std=math.nan), "std=nan: must be a finite number > 0"),
        (lambda: Constant(value="one"), "value=one: must be a finite number"),  # type: ignore[arg-type]
        (lambda: XavierUniform(gain=0), "gain=0: must be a finite number > 0, or auto"),
        (lambda: KaimingUniform(mode="fan_avg"), "mode=fan_avg: must be one of fan_in, fan_out; did you mean fan_in?"),
        (lambda: Lsuv(tolerance=0), "tolerance=0: must be a finite number > 0"),
        (lambda: Lsuv(max_tries=0), "max_tries=0: must be an integer >= 1"),
    ],
)
def test_bad_values_give_one_line(make: Callable[[], Initializer], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(TypeError, match="cc"):
        VarianceScaling(cc=1)  # type: ignore[call-arg]
