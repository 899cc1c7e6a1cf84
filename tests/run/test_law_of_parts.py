"""Each rule of theory against networks that are drawn: fanin's own and torch's parts, a user's too.

Norms of 60 draws of a recipe's model on one batch. Their mean logarithm has to lie within 4 standard errors of the
law's and a tolerance for what the law leaves out, of the next order: 3 % of the squared norm for rules of first order
and of infinite width at these widths, and what the test says for others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import engine
from fanin.parts import activations
from fanin.parts.data import Digits
from fanin.parts.initializers import Fixup, Initializer, Lsuv, Orthogonal, TorchDefault, VarianceScaling
from fanin.parts.models import Attention, Cnn, Gru, Lstm, Mlp, ResidualMlp, Rnn
from fanin.parts.normalization import BatchNorm, LayerNorm, NoNorm, RMSNorm, WeightNorm
from fanin.parts.regularizers import Dropout
from fanin.run.recipe import Recipe
from fanin.run.recipe_law import RecipeLaw, recipe_law
from fanin.streams import generator
from fanin.theory.gaussian_maps import Activation
from fanin.theory.signals import Noises
from fanin.theory.stages import Attended, Data, Dropped, Gated, Linear, Place, Stage
from fanin.theory.stages.gated import UNITS, gru
from fanin.theory.weights import Weights
from fanin.train.batches import probe_batch

FEATURES, CLASSES, EXAMPLES, DRAWS = 40, 4, 24, 60
Key = tuple[str, str, str]
NAMES = itertools.count()


def drawn(made: Recipe, make: Callable[[], nn.Module], inputs: Tensor, targets: Tensor, seed: int) -> dict[Key, float]:
    """ln of the squared norms of one draw."""
    torch.manual_seed(seed)
    model = make()
    made.initializer(model, lambda name: generator(seed, "init", name))
    made.initializer.calibrate(model, inputs)
    outputs: dict[str, Tensor] = {}

    def record(name: str, output: Tensor) -> None:
        calls = sum(one == name or (one.startswith(f"{name}.") and one[len(name) + 1 :].isdigit()) for one in outputs)
        outputs[f"{name}.{calls + 1}" if calls else name] = output

    handles = [
        module.register_forward_hook(lambda module, given, output, name=name: record(name, output))
        for name, module in model.named_modules()
        if name and not isinstance(module, (nn.ModuleDict, nn.ModuleList))
    ]
    loss = made.method.loss(model(inputs), targets, inputs)
    loss.backward()
    for handle in handles:
        handle.remove()
    norms = {
        ("module", name, "activation_norm"): float(output.detach().double().norm()) for name, output in outputs.items()
    }
    for name, parameter in model.named_parameters():
        if name.endswith(".weight") and parameter.grad is not None:
            norms["weight", name.removesuffix(".weight"), "gradient_norm"] = float(parameter.grad.double().norm())
    return {key: 2 * math.log(max(norm, 1e-150)) for key, norm in norms.items()}


def assert_holds(
    make: Callable[[], nn.Module],
    *,
    initializer: Initializer | None = None,
    shape: Sequence[int] = (FEATURES,),
    apart: float = 0.03,
    gradients: float = 0.2,
    spreads: bool = True,
    spreads_of: str = "",
    quantities: Sequence[str] = ("activation_norm", "gradient_norm"),
    ends: str = "",
) -> RecipeLaw:
    made = engine.recipe(initializer=initializer or VarianceScaling(c=2.0))
    name = str(next(NAMES))
    torch.manual_seed(11)
    common = torch.randn(*shape) / 2
    law, found = None, []
    for seed in range(DRAWS):  # as runs of other seeds have other batches, too
        inputs, targets = torch.randn(EXAMPLES, *shape) + common, torch.randint(CLASSES, (EXAMPLES,))
        own = recipe_law(made, make(), inputs, targets, same=name)
        logs = drawn(made, make, inputs, targets, seed)
        found.append({key: logs[key] - band.log_mean for key, band in own.bands.items() if key in logs})
        law = law or own
    assert law is not None
    assert law.no_law == ends
    for quantity in quantities:
        keys = [key for key in law.bands if key in found[0] and key[2] == quantity]
        assert keys
        for key in keys:
            band = law.bands[key]
            logs = torch.tensor([one[key] for one in found])
            error = float(logs.std()) / math.sqrt(DRAWS)
            allowed = 4 * error + (apart if quantity == "activation_norm" else gradients)
            assert abs(float(logs.mean())) < allowed, (key, float(logs.mean()), error)
            if spreads and spreads_of in key[1] and band.log_sd > 0.02 and quantity == "activation_norm":
                # 4 standard errors of a variance, of a kurtosis of 4 at most, and the next order
                ratio = float(logs.var()) / band.log_sd**2
                assert abs(ratio - 1) < 4 * math.sqrt(3 / DRAWS), (key, ratio)
    return law


def mlp(depth: int = 5, width: int = 64, **changes: Any) -> Callable[[], nn.Module]:
    settings = {"activation": activations.relu, "normalization": NoNorm(), **changes}
    return lambda: Mlp(in_features=FEATURES, out_features=CLASSES, depth=depth, width=width, **settings)


def residual(**changes: Any) -> Callable[[], nn.Module]:
    settings = {"activation": activations.relu, "normalization": NoNorm(), "depth": 8, "width": 64, **changes}
    return lambda: ResidualMlp(in_features=FEATURES, out_features=CLASSES, **settings)


@pytest.mark.parametrize("activation", [activations.tanh, activations.elu], ids=lambda one: one.__name__)
def test_a_chain_with_biases(activation: Callable[[], nn.Module]) -> None:
    assert_holds(mlp(activation=activation, bias=True), initializer=VarianceScaling(c=1.5, bias_variance=0.05))


@pytest.mark.parametrize("activation", [activations.relu, activations.tanh], ids=lambda one: one.__name__)
def test_orthogonal_weights(activation: Callable[[], nn.Module]) -> None:
    law = assert_holds(mlp(activation=activation), initializer=Orthogonal(gain=1.3))
    normal = assert_holds(mlp(activation=activation), initializer=VarianceScaling(c=1.69))
    key = ("weight", "linear_4", "activation_norm")
    assert law.bands[key].log_sd < 0.85 * normal.bands[key].log_sd


def test_uniform_weights_and_biases_of_torch() -> None:
    assert_holds(mlp(bias=True, activation=activations.tanh), initializer=TorchDefault())


def test_lsuv_sets_every_output_to_variance_one() -> None:
    law = assert_holds(
        mlp(),
        initializer=Lsuv(),
        spreads=False,
        apart=0.11,  # of its tolerance of 0.1
        quantities=["activation_norm"],
        ends="the law ends at linear_5: gradients: its weights are set by the batch's own outputs",
    )
    band = law.bands["module", "linear_3", "activation_norm"]
    assert band.median == pytest.approx(math.sqrt(EXAMPLES * 64), rel=1e-6)


def test_dropout() -> None:
    assert_holds(mlp(dropout=Dropout(p=0.2, input_p=0.1)))


@pytest.mark.parametrize("normalization", [LayerNorm(), RMSNorm()], ids=["layer", "rms"])
@pytest.mark.parametrize("placement", ["pre_activation", "post_activation"])
def test_normalization_of_examples(normalization: Any, placement: str) -> None:
    normalization = type(normalization)(placement=placement)
    law = assert_holds(mlp(normalization=normalization))
    name = f"{type(normalization).__name__.lower()}_3"
    assert law.bands["module", name, "activation_norm"].median == pytest.approx(math.sqrt(EXAMPLES * 64), rel=1e-4)


def test_batch_normalization() -> None:
    assert_holds(mlp(normalization=BatchNorm(), width=100), spreads=False, gradients=0.5)  # B/n of it


def test_weight_normalization() -> None:
    assert_holds(mlp(normalization=WeightNorm()))


@pytest.mark.parametrize("scale", [1.0, "depth"])
def test_residual_branches(scale: float | str) -> None:
    assert_holds(residual(scale=scale))


def test_residual_branches_behind_a_normalization() -> None:
    """Branches of variance 2 E relu(g)^2 = 1 behind a normalization: q_l = q_0 + l."""
    law = assert_holds(residual(normalization=RMSNorm()))
    squares = [law.bands["module", f"block_{block}.add", "activation_norm"].mean_square or 0.0 for block in (1, 2, 3)]
    first, second, third = (square**2 / EXAMPLES / 64 for square in squares)
    assert (second - first, third - second) == (pytest.approx(1, rel=1e-3), pytest.approx(1, rel=1e-3))


def test_fixup_is_the_identity_at_start() -> None:
    law = assert_holds(residual(), initializer=Fixup(), quantities=["activation_norm"], spreads=False)
    norms = [law.bands["module", name, "activation_norm"].median for name in ("linear_1", "block_1.add", "block_3.add")]
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-9)


def test_convolution_with_pooling() -> None:
    def make() -> nn.Module:
        return Cnn(
            input_shape=(2, 8, 8), out_features=CLASSES, channels=(24, 24), width=64, activation=activations.relu,
            normalization=NoNorm(),
        )  # fmt: skip

    law = assert_holds(make, shape=(2, 8, 8), apart=0.1)
    assert ("weight", "conv_1", "gradient_norm") in law.bands


def test_convolutions_with_strides_and_other_ends() -> None:
    """Gradients of weights that all places share, below the mean of a map, whose places all have one gradient."""

    def make() -> nn.Module:
        layers: list[nn.Module] = [nn.Conv2d(2, 32, 3, padding=1, stride=2, bias=False), nn.Tanh()]
        layers += [nn.Conv2d(32, 32, 3, padding=1, padding_mode="circular", bias=False), nn.ReLU(), nn.AvgPool2d(4)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, CLASSES, bias=False))

    law = assert_holds(make, shape=(2, 8, 8), apart=0.1, gradients=0.3, spreads=False)
    assert [key[1] for key in law.bands if key[2] == "gradient_norm"] == ["0", "2", "6"]


def rnn(**changes: Any) -> Callable[[], nn.Module]:
    settings = {"activation": activations.tanh, "normalization": NoNorm(), "width": 64, **changes}
    return lambda: Rnn(input_shape=(1, 6, 10), out_features=CLASSES, **settings)


@pytest.mark.parametrize(("activation", "layers"), [(activations.tanh, 2), (activations.relu, 1)])
def test_a_recurrent_network(activation: Callable[[], nn.Module], layers: int) -> None:
    """Each layer with one matrix for all times: states of every time, and the gradients of both matrices."""
    make, start = rnn(activation=activation, layers=layers, width=160), VarianceScaling(c=1.0)
    # Of single times the batches' own lengths stray, too, which the law of another batch does not know.
    law = assert_holds(make, shape=(1, 6, 10), initializer=start, apart=0.05, gradients=0.5, spreads_of="states")
    assert ("module", f"layers.{layers}.activation.6", "activation_norm") in law.bands
    matrices = {f"layers.{layer}.{name}" for layer in range(1, layers + 1) for name in ("input", "hidden")}
    assert {key[1] for key in law.bands if key[2] == "gradient_norm"} == {*matrices, "classifier"}


def test_a_sequence_of_one_vector_is_a_network_of_two_layers() -> None:
    made = engine.recipe(initializer=VarianceScaling(c=1.3, bias_variance=0.1))
    inputs, targets = torch.randn(12, 1, 1, 10), torch.arange(12) % CLASSES
    settings: dict[str, Any] = {"activation": activations.tanh, "normalization": NoNorm(), "bias": True, "width": 64}
    once = Rnn(input_shape=(1, 1, 10), out_features=CLASSES, **settings)
    chain = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, CLASSES))
    laws = [
        recipe_law(made, model, inputs.reshape(shape), targets)
        for model, shape in ((once, (12, 1, 1, 10)), (chain, (12, 10)))
    ]
    for name, layer in (("last", "1"), ("classifier", "2")):
        mine, plain = (
            law.bands["module", one, "activation_norm"] for law, one in zip(laws, (name, layer), strict=True)
        )
        assert mine.mean_square == pytest.approx(plain.mean_square, rel=1e-6)
    assert laws[0].bands["module", "last", "activation_norm"].log_sd == pytest.approx(
        laws[1].bands["module", "1", "activation_norm"].log_sd, rel=0.02
    )


@pytest.mark.parametrize("kind", [Lstm, Gru], ids=lambda one: one.__name__)
def test_gated_recurrent_networks(kind: type[Lstm | Gru]) -> None:
    def make() -> nn.Module:
        settings: dict[str, Any] = {"activation": activations.tanh, "normalization": NoNorm(), "width": 64}
        return kind(input_shape=(1, 6, 10), out_features=CLASSES, **settings)

    ends = "the law ends at layers.1.states: gradients: theory has no law for the gradients of gated cells"
    law = assert_holds(make, shape=(1, 6, 10), apart=0.05, ends=ends, spreads_of="states")
    assert ("module", "layers.1.states", "activation_norm") in law.bands


def test_the_first_state_of_a_gated_unit_is_a_product_of_two_independent_entries() -> None:
    """h = (1 - s(z)) tanh(a): E h^2 = E s(-z)^2 E tanh(a)^2, by quadrature."""
    q = 1.8
    signal = Data(np.full((1, 1, 1), q), 30, np.ones(1)).forward([], Place(0, Noises(2, 1)))
    stage = Gated(64, 3, 1, Weights(1.0), Weights(1.0), gru(np.tanh))
    found = float(stage.forward([signal], Place(1, Noises(2, 1))).gram[0, 0, 0])
    gate = Activation(lambda z: 1 / (1 + np.exp(z)), lambda z: -1 / (2 + 2 * np.cosh(z)))
    tanh = Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2)
    mean = gate.mean_square(q) * tanh.mean_square(q)
    square = gate.fourth_moment(q) * tanh.fourth_moment(q)
    assert abs(found - mean) < 4 * math.sqrt((square - mean**2) / UNITS)


def test_a_recurrent_law_ends_where_one_matrix_is_met_too_often() -> None:
    made = engine.recipe(initializer=VarianceScaling(c=2.0))
    model = Rnn(input_shape=(1, 40, 10), out_features=CLASSES, activation=activations.relu, normalization=NoNorm())
    law = recipe_law(made, model, torch.rand(12, 1, 40, 10), torch.arange(12) % CLASSES)
    assert law.no_law.startswith("the law ends at layers.1.states: one matrix for all times")
    assert ("module", "last", "activation_norm") not in law.bands


@pytest.mark.parametrize("normalization", [NoNorm(), LayerNorm()], ids=["none", "layer"])
def test_attention(normalization: Any) -> None:
    """Positions, heads whose scores are of order 1, both branches of two blocks, the mean over tokens."""

    def make() -> nn.Module:
        return Attention(
            input_shape=(1, 6, 10), out_features=CLASSES, width=64, hidden=64, activation=activations.relu,
            normalization=normalization,
        )  # fmt: skip

    ends = "the law ends at mean: gradients: the gradients of the places that it averages are one"
    law = assert_holds(make, shape=(1, 6, 10), apart=0.05, ends=ends, spreads_of="branch.out")
    assert ("module", "blocks.attention_2.branch.attend", "activation_norm") in law.bands


def test_attention_of_equal_tokens_hands_them_on() -> None:
    """Whatever the scores, the mean of equal values is that value: an entry of y has the square v of x's."""
    tokens, width, v = 5, 32, 1.7
    x = np.random.default_rng(3).standard_normal((4, 1, width)).repeat(tokens, axis=1)
    field = x.reshape(-1, width) @ x.reshape(-1, width).T / width
    gram = np.einsum("apbp->pab", field.reshape(4, tokens, 4, tokens))
    noises = Noises(2, 4)
    at = Place(1, noises)
    stage = Attended(width, 4, Weights(3.0), Weights(3.0), Weights(v))
    given = Data(gram, width, np.ones(4), field=field).forward([], Place(0, noises))
    assert stage.forward([given], at).gram == pytest.approx(v * gram, rel=1e-5)


@pytest.mark.slow
def test_the_gradients_of_the_convolutional_network_on_digits() -> None:
    """The line within a factor 1.3 of the geometric mean, the band with the share of draws that it is to have."""
    data, made = Digits().load(), engine.recipe()
    inputs, targets = probe_batch(data.train_x, data.train_y, 100, range(DRAWS))

    def make() -> nn.Module:
        return Cnn(input_shape=data.input_shape, out_features=10, activation=activations.relu, normalization=NoNorm())

    inside: dict[str, list[bool]] = {}
    off: dict[str, list[float]] = {}
    for seed in range(DRAWS):
        law = recipe_law(made, make(), inputs[seed], targets[seed], same=f"digits {seed % 4}")
        for key, log in drawn(made, make, inputs[seed], targets[seed], seed).items():
            if key[2] == "gradient_norm":
                band = law.bands[key]
                off.setdefault(key[1], []).append((log - band.log_mean) / 2)
                inside.setdefault(key[1], []).append(band.low < math.exp(log / 2) < band.high)
    for name in ("conv_1", "conv_2"):
        logs = torch.tensor(off[name])
        assert abs(float(logs.mean())) < math.log(1.3) + 2 * float(logs.std()) / math.sqrt(DRAWS)
        share = sum(inside[name]) / DRAWS
        assert abs(share - 0.68) < 4 * math.sqrt(0.68 * 0.32 / DRAWS)


@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), nn.MaxPool2d(2)], ids=["average", "largest"])
def test_pooling(pool: nn.Module) -> None:
    """Windows of an activation of neighbouring places, which have much in common."""

    def make() -> nn.Module:
        layers = [nn.Conv2d(2, 64, 3, padding=1, bias=False), nn.ReLU(), pool, nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(64 * 16, CLASSES, bias=False))

    law = assert_holds(make, shape=(2, 8, 8), apart=0.05, spreads=False)
    assert ("module", "2", "activation_norm") in law.bands
    assert ("weight", "0", "gradient_norm") in law.bands


def test_the_average_of_a_window_has_the_mean_of_its_pairs() -> None:
    """Of ones, which circular padding keeps alike at all places, it is what it averages; of data without, a part."""
    energies = {}
    for kind in ("alike", "independent"):
        torch.manual_seed(2)
        inputs = torch.ones(2, 400, 4, 4) if kind == "alike" else torch.randn(2, 400, 4, 4)
        layers = [nn.Conv2d(400, 16, 1, bias=False), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, CLASSES)]
        law = recipe_law(engine.recipe(), nn.Sequential(*layers), inputs, torch.tensor([0, 1]))
        before, after = (law.bands["module", name, "activation_norm"].mean_square or 0.0 for name in ("0", "1"))
        energies[kind] = after**2 / before**2 * 4  # of an entry
    assert energies["alike"] == pytest.approx(1, rel=1e-6)
    assert energies["independent"] == pytest.approx(1 / 4, rel=4 / math.sqrt(2 * 4 * 400))


def test_zero_padding_keeps_its_share() -> None:
    """3 x 3 with zeros around an s x s map keeps ((3 s - 2)/(3 s))^2 of its energy, circular padding all."""
    energies = {}
    for mode in ("zeros", "circular"):
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, padding_mode=mode, bias=False), nn.Flatten(), nn.Linear(16 * 49, 4)
        )
        made = engine.recipe(initializer=VarianceScaling(c=1.0))
        inputs = torch.ones(2, 3, 7, 7)
        law = recipe_law(made, model, inputs, torch.tensor([0, 1]))
        energies[mode] = (law.bands["module", "0", "activation_norm"].mean_square or 0.0) ** 2 / (2 * 16 * 49)
    assert energies["circular"] == pytest.approx(1, rel=1e-6)
    assert energies["zeros"] == pytest.approx(((3 * 7 - 2) / (3 * 7)) ** 2, rel=1e-6)


class Halved(nn.Module):
    """A part of a user's own: its own weights, then half of the units."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        z = x @ self.inner.weight.T
        return z * (torch.rand_like(z) < 0.5) * 2

    def signal_rule(self) -> list[Stage]:
        width = self.inner.in_features
        return [Linear(width, width, Weights(2.0)), Dropped(0.5)]


def test_a_part_of_ones_own_brings_its_rule() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), Halved(64), nn.Linear(64, CLASSES))

    law = assert_holds(make)
    assert ("module", "3", "activation_norm") in law.bands


def test_a_chain_of_a_subclass_keeps_its_law() -> None:
    class Mine(Mlp):
        """Nothing new."""

    settings: dict[str, Any] = {"in_features": FEATURES, "out_features": CLASSES, "depth": 4, "width": 20}
    settings |= {"activation": activations.relu, "normalization": NoNorm()}
    made = engine.recipe()
    inputs, targets = torch.ones(3, FEATURES), torch.tensor([0, 1, 2])
    mine, plain = (recipe_law(made, kind(**settings), inputs, targets) for kind in (Mine, Mlp))
    assert mine.bands
    assert mine == plain
