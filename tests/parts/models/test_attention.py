"""The encoder: its attention against torch's and explicit matrices, its pieces against their formulas."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from command_line import fanin, read
from fanin import streams
from fanin.errors import OptionError, UserError
from fanin.parts import activations
from fanin.parts.models import Attention, weight_layers
from fanin.parts.models.attend import (
    LinearAttention,
    LowRankAttention,
    MultiHead,
    RandomFeatureAttention,
    SoftmaxAttention,
    orthogonal_rows,
)
from fanin.parts.models.attention import Positions
from fanin.parts.models.blocks import Add
from fanin.parts.normalization import BatchNorm, GroupNorm, LayerNorm, NoNorm, RMSNorm
from fanin.parts.per_run import is_stackable
from fanin.parts.regularizers import Dropout, DropoutModule
from networks import drawn
from stacking import assert_stacked_equals_single

hypothesized = settings(max_examples=15, deadline=None)
sizes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(0, 999))


def network(seed: int = 0, **changes: Any) -> Attention:
    made = {
        "input_shape": (1, 5, 3),
        "out_features": 2,
        "width": 6,
        "heads": 2,
        "hidden": 7,
        "rank": 2,
        "activation": activations.tanh,
        "normalization": NoNorm(),
        **changes,
    }
    model = drawn(Attention(**made).double(), seed)
    assert isinstance(model, Attention)
    return model


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=streams.generator(seed, "normal"), dtype=torch.float64)


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    # float64: a few dozen roundings of 2e-16 on numbers up to 10; quotients of sums of as many
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@hypothesized
@given(sizes)
def test_softmax_is_torchs(size: tuple[int, int, int, int, int]) -> None:
    q, k, v = normal(3, *size[:4], seed=size[4])
    assert_close(SoftmaxAttention()(q, k, v), F.scaled_dot_product_attention(q, k, v))


def features_of(x: Tensor, directions: Tensor) -> Tensor:
    """The paper's equation (6) with h(x) = exp(-|x|^2/2), written out."""
    scaled = x / x.shape[-1] ** 0.25
    return torch.exp(scaled @ directions.T) * torch.exp(-(scaled**2).sum(-1, keepdim=True) / 2) / len(directions) ** 0.5


def test_random_features_are_their_n_by_n_matrix() -> None:
    query, key, value = (normal(2, 3, 5, 4, seed=seed) for seed in range(3))
    layer = RandomFeatureAttention(4, 6).double()
    matrix = features_of(query, layer.directions) @ features_of(key, layer.directions).mT
    assert_close(layer(query, key, value), matrix / matrix.sum(-1, keepdim=True) @ value)
    far = RandomFeatureAttention(4, 6)(50 * query.float(), 50 * key.float(), value.float())
    assert torch.isfinite(far).all()  # the largest of exponents beyond float32 is taken out


def test_random_features_are_unbiased() -> None:
    """The mean of 4000 independent products is the kernel within five of its standard errors."""
    query, key = normal(1, 3, seed=4), normal(1, 3, seed=5)
    stream = streams.generator(1, "unbiased")
    products = torch.stack(
        [
            (features_of(query, w) @ features_of(key, w).mT).squeeze()
            for w in (orthogonal_rows(6, 3, stream) for _ in range(4000))
        ]
    )
    wanted = torch.exp((query * key).sum() / 3**0.5)
    assert abs(products.mean() - wanted) < 5 * products.std() / 4000**0.5


def test_rows_of_a_block_are_orthogonal_and_as_long_as_normal_ones() -> None:
    drawn = orthogonal_rows(4000, 4, streams.generator(2, "rows"))
    block = drawn[8:12] / drawn[8:12].norm(dim=1, keepdim=True)
    assert_close(block @ block.T, torch.eye(4, dtype=torch.float64))
    # squared lengths are chi^2 of 4: mean 4, variance 8
    assert abs(drawn.square().sum(1).mean() - 4) < 5 * (8 / 4000) ** 0.5


def test_random_features_go_to_softmax() -> None:
    """Errors of order m^(-1/2): 256 times the features leave a sixteenth; a factor of two for chance."""
    query, key, value = (normal(1, 4, 6, 4, seed=seed) / 2 for seed in range(3))  # longer ones have a variance like exp
    exact = SoftmaxAttention()(query, key, value)
    few, many = (
        (RandomFeatureAttention(4, m).double()(query, key, value) - exact).square().mean().sqrt() for m in (64, 16384)
    )
    assert many < few / 8


@hypothesized
@given(sizes)
def test_linear_is_its_n_by_n_matrix(size: tuple[int, int, int, int, int]) -> None:
    q, k, v = normal(3, *size[:4], seed=size[4])
    scores = (F.elu(q) + 1) @ (F.elu(k) + 1).mT
    assert_close(LinearAttention()(q, k, v), scores / scores.sum(-1, keepdim=True) @ v)


def test_linear_attends_to_far_negative_keys() -> None:
    q, k = torch.full((1, 1, 1, 2), -30.0), torch.tensor([[-40.0, -40.0], [-40.0, -40.0]]).expand(1, 1, 2, 2)
    v = torch.tensor([[1.0, 3.0], [2.0, 5.0]]).expand(1, 1, 2, 2)
    torch.testing.assert_close(LinearAttention()(q, k, v), torch.tensor([[[[1.5, 4.0]]]]))


def test_linear_has_a_slope_of_one_at_zero() -> None:
    q = torch.zeros(1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    k = torch.tensor([[[[0.0], [1.0]]]], dtype=torch.float64, requires_grad=True)
    v = torch.tensor([[[[0.0], [1.0]]]], dtype=torch.float64)
    # phi(k) = (1, 2): the second token's share is p2 / (p1 + p2) = 2/3, its derivatives -2/9 and 1/9 where phi' = 1
    (to_keys,) = torch.autograd.grad(LinearAttention()(q, k, v).sum(), k)
    assert_close(to_keys.flatten(), torch.tensor([-2 / 9, 1 / 9], dtype=torch.float64))


@hypothesized
@given(sizes, st.integers(1, 4))
def test_low_rank_is_its_explicit_product(size: tuple[int, int, int, int, int], rank: int) -> None:
    batch, heads, n, d, seed = size
    attend = LowRankAttention(n, rank).double()
    drawn(attend, seed)
    q, k, v = normal(3, batch, heads, n, d, seed=seed)
    e, f = attend.keys.weight, attend.values.weight
    assert e.shape == f.shape == (rank, n)
    for b in range(batch):
        for h in range(heads):
            weights = torch.softmax(q[b, h] @ (e @ k[b, h]).T / math.sqrt(d), dim=-1)
            assert_close(attend(q, k, v)[b, h], weights @ (f @ v[b, h]))


def test_low_rank_of_the_identity_is_softmax() -> None:
    attend = LowRankAttention(4, 4).double()
    with torch.no_grad():
        attend.keys.weight.copy_(torch.eye(4))
        attend.values.weight.copy_(torch.eye(4))
    q, k, v = normal(3, 2, 3, 4, 5)
    assert_close(attend(q, k, v), SoftmaxAttention()(q, k, v))


@pytest.mark.parametrize("bias", [False, True])
def test_multi_head_is_torchs(bias: bool) -> None:
    ours = drawn(MultiHead(6, 3, bias=bias, attend=SoftmaxAttention()).double(), 1)
    theirs = nn.MultiheadAttention(6, 3, bias=bias, batch_first=True).double()
    layers = [ours.get_submodule(name) for name in ("query", "key", "value")]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([layer.get_parameter("weight") for layer in layers]))
        theirs.out_proj.weight.copy_(ours.get_parameter("out.weight"))
        if bias:
            theirs.in_proj_bias.copy_(torch.cat([layer.get_parameter("bias") for layer in layers]))
            theirs.out_proj.bias.copy_(ours.get_parameter("out.bias"))
    x = normal(4, 5, 6)
    assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


@pytest.mark.parametrize("placement", ["pre_activation", "post_activation"])
def test_a_block_is_torchs_encoder_layer(placement: str) -> None:
    model = network(scale=1.0, layers=1, normalization=LayerNorm(placement=placement))
    theirs = nn.TransformerEncoderLayer(
        6, 2, 7, dropout=0.0, activation=torch.tanh, batch_first=True, norm_first=placement == "pre_activation"
    ).double()
    attention, forward = model.blocks
    before = "before" if placement == "pre_activation" else "after"
    copies = {
        "self_attn.out_proj": attention.get_submodule("branch.out"),
        "linear1": forward.get_submodule("branch.up"),
        "linear2": forward.get_submodule("branch.down"),
        "norm1": attention.get_submodule(before),
        "norm2": forward.get_submodule(before),
    }
    layers = [attention.get_submodule(f"branch.{name}") for name in ("query", "key", "value")]
    with torch.no_grad():
        for kind in ("weight", "bias"):
            for name, ours in copies.items():
                theirs.get_submodule(name).get_parameter(kind).copy_(ours.get_parameter(kind))
            stacked = torch.cat([layer.get_parameter(kind) for layer in layers])
            theirs.self_attn.get_parameter(f"in_proj_{kind}").copy_(stacked)
    x = normal(4, 5, 6)
    assert_close(model.blocks(x), theirs(x))


def test_outputs_are_those_of_the_pieces() -> None:
    model = network(input_shape=(2, 5, 3), normalization=LayerNorm())
    x = normal(4, 2, 5, 3)
    tokens = torch.cat([x[:, 0], x[:, 1]], dim=-1)  # [4, 5, 6]: a row of the first channel, then of the second
    embedded = model.embedding(tokens) + model.positions.table
    norm = model.norm
    assert norm is not None
    assert_close(model(x), model.classifier(norm(model.blocks(embedded)).mean(1)))


@hypothesized
@given(st.integers(1, 30), st.integers(1, 9))
def test_positions_are_waves(tokens: int, width: int) -> None:
    table = Positions(tokens, width)(torch.zeros(1, tokens, width))[0]
    for t in range(tokens):
        for k in range(width):
            wave = math.sin if k % 2 == 0 else math.cos
            # float32: half a unit in the last place of a number up to 1
            assert table[t, k].item() == pytest.approx(wave(t / 10000 ** ((k - k % 2) / width)), abs=6e-8)


def test_without_positions_the_order_of_rows_would_not_matter() -> None:
    model, x = network(), normal(4, 1, 5, 3)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert not torch.allclose(model(x), model(x[:, :, order]), atol=1e-6)
    model.positions.table.zero_()
    assert_close(model(x), model(x[:, :, order]))


@pytest.mark.parametrize("kind", ["softmax", "low_rank", "linear", "random_features"])
@pytest.mark.parametrize("normalization", [NoNorm(), LayerNorm(), RMSNorm(placement="post_activation")])
def test_stackable(kind: str, normalization: Any) -> None:
    assert is_stackable(Attention)
    models = [network(seed, kind=kind, normalization=normalization) for seed in range(3)]
    assert_stacked_equals_single(models, normal(3, 4, 1, 5, 3))


def test_dropout_is_on_the_rows_and_every_branch() -> None:
    x = normal(4, 1, 5, 3)
    model = network(dropout=Dropout(p=0.5, input_p=0.2))
    found = {name: module for name, module in model.named_modules() if isinstance(module, DropoutModule)}
    blocks = [f"blocks.{name}_{index}.drop" for index in (1, 2) for name in ("attention", "forward")]
    assert {name: module.p for name, module in found.items()} == {"dropout": 0.2, **dict.fromkeys(blocks, 0.5)}
    assert torch.equal(model.eval()(x), network()(x))
    model.train()
    # With every branch dropped, tokens are embedded and averaged, no more.
    model.get_submodule("dropout").masks = iter([torch.ones(())])  # type: ignore[assignment]
    for name in blocks:
        found[name].masks = iter([torch.zeros(())])
    embedded = model.embedding(x[:, 0]) + model.positions.table
    assert_close(model(x), model.classifier(embedded.mean(1)))


def test_residual_branches_end_in_their_last_layers() -> None:
    model, x = network(layers=2), normal(4, 1, 5, 3)
    branches = model.residual_branches()
    assert [len(branch) for branch in branches] == [2, 2, 2, 2]
    names = {id(layer): name for name, layer in weight_layers(model)}
    assert [names[id(layer)] for layer in branches[0]] == [
        "blocks.attention_1.branch.value",
        "blocks.attention_1.branch.out",
    ]
    with torch.no_grad():
        for *_, last in branches:
            last.get_parameter("weight").zero_()
            last.get_parameter("bias").zero_()
    embedded = model.embedding(x[:, 0]) + model.positions.table
    assert_close(model.blocks(embedded), embedded)
    assert sum(isinstance(module, Add) for module in model.modules()) == 4


@pytest.mark.parametrize("kind", ["softmax", "low_rank", "random_features"])
def test_builds_without_memory_on_the_meta_device(kind: str) -> None:
    with torch.device("meta"):
        model = Attention(
            input_shape=(1, 5, 3), out_features=3, kind=kind, width=10**6, hidden=10**7,
            activation=activations.relu, normalization=LayerNorm(),
        )  # fmt: skip
    assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"meta"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": (20,)}, "model=attention: needs images [C, H, W], and an example has shape [20]"),
        ({"normalization": BatchNorm()}, "model=attention: normalizes each vector by itself, not by BatchNorm"),
        ({"normalization": GroupNorm(groups=2)}, "model=attention: normalizes each vector by itself, not by GroupNorm"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        network(**changes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 4}, "heads=4: must be a divisor of the width 6"),
        (
            {"kind": "softmx"},
            "kind=softmx: must be one of softmax, low_rank, linear, random_features; did you mean softmax?",
        ),
        ({"kind": "low_rank", "rank": 6}, "rank=6: must be an integer >= 1 and <= 5"),
        ({"hidden": 0}, "hidden=0: must be an integer >= 1"),
    ],
)
def test_bad_values_give_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        network(**changes)
    assert str(caught.value) == message


def test_rank_is_free_where_it_is_not_used() -> None:
    assert network(rank=50)(normal(2, 1, 5, 3)).shape == (2, 2)


@pytest.mark.parametrize(("scale", "factor"), [("depth", 1 / math.sqrt(6)), (0.3, 0.3), (1, 1.0)])
def test_branches_are_scaled(scale: float | str, factor: float) -> None:
    """A block with a branch twice as large and half the scale is the same; three blocks have six branches."""
    model = network(layers=3, scale=scale)
    sums = [module for module in model.modules() if isinstance(module, Add)]
    assert [one.scale for one in sums] == [pytest.approx(factor)] * 6
    x, y = normal(2, 5, 6), normal(2, 5, 6, seed=1)
    assert_close(sums[0](x, y), x + factor * y)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["softmax", "low_rank", "linear", "random_features"])
def test_the_defaults_train(tmp_path: Path, kind: str) -> None:
    """With branches that are not scaled the loss leaves the finite numbers at step 6 to 13 of these."""
    few = ("data.limit=400", "trainer.batch_size=25", "trainer.steps=14", "trainer.eval_every=100", "probe=off")
    said = fanin(tmp_path, "model=attention", f"model.kind={kind}", *few)
    assert said.code == 0, said.err
    (path,) = tmp_path.glob("outputs/*/*/result.json")
    result = read(path)
    assert result["state"] == "done"
    assert result["metrics"]["test_loss"] < result["first_loss"]
