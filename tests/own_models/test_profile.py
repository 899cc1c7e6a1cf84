"""fanin.profile: the numbers of a watch and of theory, advice that names what was planted, no trace in the model."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional, init

import fanin
from fanin import UserError
from fanin.own_models.fresh_draws import fresh_draws
from fanin.theory.bands import Band
from networks import one_line
from networks_in_runs import Judged
from other_networks import WORDS, Experts, Gpt, LstmModel


def chain(
    depth: int, width: int, variance: Callable[[int], float], act: Callable[[], nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Layers of one width whose weights have variance(layer) / width, without biases, and 4 outputs."""
    layers: list[nn.Module] = []
    for place in range(depth):
        layers += [nn.Linear(width, width, bias=False), act()]
        init.normal_(layers[-2].weight, std=math.sqrt(variance(place) / width))  # type: ignore[arg-type]
    return nn.Sequential(*layers, nn.Linear(width, 4, bias=False))


def batch(width: int, count: int = 20) -> tuple[Tensor, Tensor]:
    """Inputs and classes."""
    return torch.randn(count, width), torch.randint(4, (count,))


def of_layers(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """The rows of a quantity over the weight layers."""
    found = table[(table["axis"] == "weight") & (table["quantity"] == quantity)]
    return found.set_index("layer")


def test_the_table_is_that_of_a_watch(tmp_path: Path) -> None:
    inputs, targets = batch(12)
    model = nn.Sequential(
        nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(16, 4)
    )
    measures = {"kurtosis": lambda activation: activation.pow(4).mean() / activation.square().mean() ** 2}
    of: dict[str, Any] = {"inputs": inputs, "targets": targets, "loss": functional.cross_entropy, "measures": measures}
    fanin.watch(model, tmp_path / "own", every=0, config={"seed": 3}, **of).close()
    written = fanin.load(tmp_path / "own").profiles.drop(columns="run")
    found = fanin.profile(model, **of, seed=3, band="off")
    pd.testing.assert_frame_equal(found.table, written)
    with_band = fanin.profile(model, **of, seed=3, redraws=8)
    measured = with_band.table.dropna(subset="value")  # and not what only theory has
    pd.testing.assert_series_equal(measured["value"], written["value"], check_index=False)
    assert with_band.table["source"].notna().any()


def test_norms_are_those_of_plain_hooks() -> None:
    model, (inputs, targets) = chain(3, 10, lambda place: 2.0), batch(10)
    found = fanin.profile(model, inputs, targets, functional.cross_entropy, band="off").table
    x, expected = inputs, {}
    for name, module in model.named_children():
        x = module(x)
        expected[name] = float(x.detach().norm())
    functional.cross_entropy(x, targets).backward()
    modules = found[(found["axis"] == "module") & (found["quantity"] == "activation_norm")].set_index("layer")["value"]
    assert modules.drop("input").to_dict() == pytest.approx(expected, rel=1e-5)
    gradients = of_layers(found, "gradient_norm")["value"].to_dict()
    assert gradients == pytest.approx(
        {n: float(model.get_submodule(n).weight.grad.norm()) for n in gradients}, rel=1e-5
    )  # type: ignore[union-attr,operator]


def state(model: nn.Module) -> list[Any]:
    """All that a look could leave in a model or in a stream."""
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grads = [None if one.grad is None else one.grad.clone() for one in model.parameters()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for m in model.modules()]
    return [tensors, grads, hooks, torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()]  # type: ignore[index]


@pytest.mark.parametrize("how", ["law and redraws", "by a function", "a function that fails"])
def test_nothing_is_left_behind(how: str) -> None:
    hidden = [nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5)]
    model = nn.Sequential(nn.Linear(8, 8), *hidden, nn.Linear(8, 4))
    model[0].eval()
    inputs, targets = batch(8)
    functional.cross_entropy(model(inputs), targets).backward()

    def redraw(one: nn.Module) -> None:
        np.random.rand()
        random.random()
        if how == "a function that fails":
            raise ValueError("out of luck")
        for parameter in one.parameters():
            init.normal_(parameter.view(1, -1))

    before, kept = state(model), copy.deepcopy(inputs)
    way: dict[str, Any] = {"band": "both"} if how == "law and redraws" else {"redraw": redraw, "band": "redraw"}
    found = fanin.profile(model, inputs, targets, functional.cross_entropy, 8, **way)
    after = state(model)
    assert torch.equal(inputs, kept)
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(one, after[0][name]) for name, one in before[0].items())
    assert all(torch.equal(*pair) for pair in zip(before[1], after[1], strict=True))
    assert torch.equal(before[3], after[3])
    assert [before[2], *before[4:]] == [after[2], *after[4:]]
    assert found.no_redraw == ("a redraw failed: ValueError: out of luck" if "fails" in how else "")
    assert model[0].training is False


def test_advice_names_where_a_planted_variance_begins() -> None:
    """1/n where ReLU needs 2/n, from the seventh layer on: Var(W) = 2/n from there on, and not before."""
    width, first, depth = 80, 6, 26
    model, (inputs, targets) = chain(depth, width, lambda place: 2.0 if place < first else 1.0), batch(width)
    found = fanin.profile(model, inputs, targets, functional.cross_entropy, band="off")
    assert found.verdict == "vanishing"
    (advice,) = found.advice
    planted = tuple(str(2 * place) for place in range(first, depth))
    assert advice.layers == planted
    assert advice.variances == pytest.approx(dict.fromkeys(planted, 2 / width))
    # ln of a layer's change of the norm of one example has a standard deviation of sqrt(5 / n) / 2; examples share it.
    error = math.sqrt(5 / width / len(planted)) / 2 + 5 / 4 / width
    assert abs(math.log(advice.factor) - math.log(0.5) / 2) < 5 * error
    assert f"from {planted[0]} to {planted[-1]}" in str(advice)
    assert "2 / fan_in would hold" in str(advice)


@pytest.mark.parametrize(
    ("act", "variance", "word", "critical"),
    [(nn.ReLU, 6.0, "exploding", 2.0), (nn.Tanh, 0.3, "vanishing", 1.0), (nn.Identity, 3.0, "exploding", 1.0)],
)
def test_the_variance_is_the_critical_one_of_the_activation(
    act: Callable[[], nn.Module], variance: float, word: str, critical: float
) -> None:
    width = 40
    model, (inputs, _) = chain(16, width, lambda place: variance, act), batch(width)
    (advice,) = fanin.profile(model, inputs, band="off").advice
    assert (advice.word, advice.passes, len(advice.layers)) == (word, ("forward",), 16)
    assert advice.variances == pytest.approx(dict.fromkeys(advice.layers, critical / width))


def test_dropout_takes_its_share_of_the_critical_variance() -> None:
    width, keep = 40, 0.8
    made = chain(20, width, lambda place: 0.8, lambda: nn.Sequential(nn.ReLU(), nn.Dropout(1 - keep)))
    (advice,) = fanin.profile(made, batch(width)[0], band="off").advice
    assert advice.variances == pytest.approx(dict.fromkeys(advice.layers, 2 * keep / width))


def test_no_advice_where_all_is_well_and_none_that_is_not_known() -> None:
    inputs, targets = batch(60)
    good = fanin.profile(chain(20, 60, lambda place: 2.0), inputs, targets, functional.cross_entropy, band="off")
    assert good.advice == []

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(60, 60, bias=False) for _ in range(20))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = x + 2 * layer(x)
            return x

    found = fanin.profile(Branching(), inputs, band="off")
    (advice,) = found.advice
    assert (advice.word, advice.variances) == ("exploding", {})
    # The first layer alone shrinks what it gets by sqrt(3); from the second on the shortcut adds up.
    assert advice.layers == tuple(f"layers.{place}" for place in range(1, 19))
    assert "not known" in str(advice)


def test_what_is_written_between_modules_is_tried_on_a_copy() -> None:
    """torch.relu in the model's forward has no rule; that 2/n holds is found by trying, and the model is left alone."""
    width, depth, first = 100, 30, 8

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
            for place, layer in enumerate(self.layers):
                init.normal_(layer.weight, std=math.sqrt((2 if place < first else 0.5) / width))  # type: ignore[arg-type]

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = torch.relu(layer(x))
            return x

    model = Functional()
    before = copy.deepcopy(model.state_dict())
    (advice,) = fanin.profile(model, batch(width)[0], band="off").advice
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    assert (advice.word, advice.tried, advice.passes) == ("vanishing", True, ("forward",))
    # A layer's ln of the squared norm strays by sqrt(5/n) = 0.22, and falls by ln 4 = 1.39 where it was planted.
    planted = {f"layers.{place}" for place in range(first, depth - 1)}
    assert planted <= set(advice.layers)
    assert len(advice.layers) <= len(planted) + 1
    logs = [math.log(width * advice.variances[name]) for name in planted]
    error = math.sqrt(5 / width / len(logs))
    assert abs(sum(logs) / len(logs) - math.log(2)) < 5 * error + 5 / 2 / width
    assert "on a copy about" in str(advice)


@pytest.mark.parametrize("pool", [nn.AvgPool2d(16), nn.AdaptiveAvgPool2d(1)], ids=["windows", "adaptive"])
def test_in_place_activations_have_their_law_and_pooling_is_nobodys_fault(pool: nn.Module) -> None:
    """The whole network has a law; the norm of the maps falls by some 16, as there are 256 times fewer units."""
    relu = nn.ReLU(inplace=True)
    layers = [nn.Conv2d(3, 30, 3, padding=1), relu, nn.Conv2d(30, 30, 3, padding=1), relu, pool, nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(30, 4))
    for layer in (model[0], model[2], model[6]):
        init.kaiming_normal_(layer.weight)
        init.zeros_(layer.bias)
    inputs, targets = torch.randn(8, 3, 16, 16), torch.arange(8) % 4
    found = fanin.profile(model, inputs, targets, functional.cross_entropy, redraws=0)
    assert (found.drawn_by, found.no_law, found.advice) == ("kaiming_normal", "", [])
    norms = of_layers(found.table, "activation_norm")
    # E ||relu(W x)||^2 of unit normals with c = 2: as many as there are outputs, but for what padding cuts off.
    taps = (3 * 16 - 2) ** 2 / (3 * 16) ** 2
    assert norms["theory"]["0"] == pytest.approx(math.sqrt(8 * 30 * 256 * taps), rel=0.03)
    assert 10 < norms["value"]["0"] / norms["value"]["2"] < 40


def test_a_layer_of_zeros_blocks() -> None:
    model, (inputs, targets) = chain(4, 10, lambda place: 2.0), batch(10)
    init.zeros_(model[4].weight)
    found = fanin.profile(model, inputs, targets, functional.cross_entropy, band="off")
    assert ("backward",) in [one.passes for one in found.advice if one.word == "blocked" and one.layers == ("4",)]


def test_the_law_covers_fresh_draws_of_a_model_of_torchs_own() -> None:
    """It is found from the weights; half of all draws lie below its median, and 68 % within its 16 to 84 %."""
    width, count = 60, 150
    hidden = [one for _ in range(3) for one in (nn.Linear(width, width), nn.Tanh())]
    model, (inputs, targets) = nn.Sequential(*hidden, nn.Linear(width, 12)), batch(width, 12)
    found = fanin.profile(model, inputs, targets, functional.cross_entropy)
    assert (found.drawn_by, found.no_law, found.no_redraw) == ("torch_default", "", "")
    redraws = fresh_draws(model, inputs, targets, functional.cross_entropy, count=count).bands
    for quantity in ("activation_norm", "gradient_norm"):
        rows = of_layers(found.table, quantity)
        assert set(rows["source"]) <= {"exact law", "first order in 1/n"}
        for layer, row in rows.iterrows():
            norms = np.array(redraws["weight", str(layer), quantity].draws)
            inside = float(((norms >= row["band_low"]) & (norms <= row["band_high"])).mean())
            spread = np.log(norms).std()
            # The law is of first order in 1/n: its line is off by about 1/n, its spread by some tenths of itself, and a
            # spread that is off by three tenths has 51 or 81 % within.
            assert abs(inside - 0.68) < 4 * math.sqrt(0.68 * 0.32 / count) + 0.17, (quantity, layer)
            off = math.log(row["theory"]) - float(np.median(np.log(norms)))
            assert abs(off) < 4 * 1.25 * spread / math.sqrt(count) + 2 / width, (quantity, layer)


def test_the_law_is_that_of_the_batch_that_was_given() -> None:
    """Classes that are equally frequent cancel more than those of other batches would: half of all draws lie below."""
    width, targets = 60, torch.arange(12) % 4
    model = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 4))
    found = fanin.profile(model, torch.randn(12, width), targets, functional.cross_entropy, band="both")
    rows = of_layers(found.table, "gradient_norm")
    spread = (rows["redraw_high"] - rows["redraw_low"]) / 2 / rows["redraw_median"]
    # The median of 64 draws has an error of 1.25 / 8 of their spread; the law is of first order in 1/n.
    assert ((rows["theory"] / rows["redraw_median"] - 1).abs() < 4 * 1.25 / 8 * spread + 1 / width).all()


@pytest.mark.parametrize(
    "rule", ["kaiming_normal", "xavier_uniform", "orthogonal", {"*.weight": "std 0.2", "*": "zeros"}]
)
def test_rules_are_found_or_declared(rule: Any) -> None:
    model = nn.Sequential(nn.Linear(40, 80), nn.ReLU(), nn.Linear(80, 40), nn.ReLU(), nn.Linear(40, 4))
    for one in model.parameters():
        if one.ndim == 1:
            init.zeros_(one)
        elif isinstance(rule, str):
            getattr(init, f"{rule}_")(one)
        else:
            init.normal_(one, std=0.2)
    found = fanin.profile(model, batch(40)[0], rules=None if isinstance(rule, str) else rule, redraws=0)
    assert found.drawn_by == (rule if isinstance(rule, str) else "")
    assert not found.no_law
    norms = of_layers(found.table, "activation_norm")
    assert norms["source"].notna().all()
    if isinstance(rule, dict):  # of the first layer: E ||relu(W x)||^2 = 80 s^2 ||x||^2 / 2
        squares = found.table[found.table["quantity"] == "activation_norm_mean_square"].set_index(["axis", "layer"])
        start = float(
            found.table.set_index(["axis", "layer", "quantity"])["value"]["module", "input", "activation_norm"]
        )
        assert squares["theory"]["weight", "0"] == pytest.approx(0.2 * start * math.sqrt(80 / 2), rel=0.02)


def test_bands_of_redraws_are_quantiles_of_fresh_draws() -> None:
    """A function that makes the model is called with the streams of redraws: its draws are made again by hand."""
    from fanin.run.redraws import redraw_seed

    def make() -> nn.Module:
        return Experts(experts=2)

    inputs, targets = torch.eye(5)[[0, 1, 1, 0]], torch.tensor([0, 1, 2, 0])
    model = make()
    found = fanin.profile(model, inputs, targets, functional.cross_entropy, 9, redraw=make)
    again = []
    for place in range(9):
        torch.manual_seed(redraw_seed(place))
        again.append(fanin.profile(make(), inputs, targets, functional.cross_entropy, band="off").table)
    for quantity in ("activation_norm", "gradient_norm"):
        for layer, row in of_layers(found.table, quantity).iterrows():
            band = Band.of_draws([float(of_layers(one, quantity)["value"][layer]) for one in again], "")
            assert band is not None
            assert (row["theory"], row["band_low"], row["band_high"]) == pytest.approx(
                (band.median, band.low, band.high)
            )
            assert row["source"] == "redraw of 9"


def test_redraws_that_would_be_of_another_model_are_none() -> None:
    inputs = batch(30)[0]
    model = nn.Sequential(nn.Linear(30, 30), nn.Softmax(-1), nn.Linear(30, 4))
    init.normal_(model[0].weight)
    found = fanin.profile(model, inputs)
    assert "0.weight is not drawn as its module's reset_parameters draws it" in found.no_redraw
    assert found.sources == []
    fresh = fanin.profile(model, inputs, redraw=lambda one: [init.normal_(each.weight) for each in (one[0], one[2])])
    assert fresh.sources == ["redraw of 64"]
    bare = nn.Module()
    bare.weight = nn.Parameter(torch.randn(4, 30))
    bare.forward = lambda x: x @ bare.weight.T
    assert "no module of the model has a method reset_parameters" in fanin.profile(bare, inputs).no_redraw
    same = fanin.profile(model, inputs, redraw=lambda one: [torch.manual_seed(0), init.normal_(one[0].weight)])
    assert same.no_redraw == "every draw of its weights is the same"


def test_evaluation_mode_has_no_dropout_in_its_law() -> None:
    """E ||x||^2 of a linear chain in evaluation mode is the inputs', whatever the dropout in it."""
    width = 400
    model = nn.Sequential(nn.Linear(width, width, bias=False), nn.Dropout(0.9), nn.Linear(width, width, bias=False))
    for layer in (model[0], model[2]):
        init.normal_(layer.weight, std=width**-0.5)
    inputs = batch(width)[0]
    for mode, factor in ((False, 1.0), (True, math.sqrt(10))):
        found = fanin.profile(model.train(mode), inputs, redraws=0, rules="lecun_normal")
        theory = of_layers(found.table, "activation_norm")["theory"]
        assert theory["0"] == pytest.approx(factor * float(inputs.norm()), rel=0.03)


TOKENS = torch.randint(WORDS, (4, 6))


@pytest.mark.parametrize(
    ("make", "inputs", "names"),
    [
        (lambda: Gpt(layers=2), {"input_ids": TOKENS, "labels": TOKENS}, {"wte", "h.1.mlp.c_proj", "lm_head"}),
        (LstmModel, TOKENS, {"embedding", "head"}),
        (LstmModel, (TOKENS,), {"embedding", "head"}),
    ],
    ids=["gpt", "lstm", "tuple"],
)
def test_models_with_a_loss_of_their_own(make: Callable[[], nn.Module], inputs: Any, names: set[str]) -> None:
    model = make()
    found = fanin.profile(model, inputs, redraws=8)
    outputs = model(**inputs) if isinstance(inputs, dict) else model(TOKENS)
    (outputs["loss"] if isinstance(outputs, dict) else outputs).backward()
    gradients = of_layers(found.table, "gradient_norm")["value"]
    assert names <= set(gradients.index)
    for name in names:
        weight = model.get_submodule(name).weight
        assert gradients[name] == pytest.approx(float(weight.grad.norm()), rel=1e-5)  # type: ignore[operator,union-attr]
    assert found.sources == ["redraw of 8"]
    assert "one tensor of numbers" in found.no_law


def test_two_networks_one_of_them_called_generator() -> None:
    """Both are seen, the law passes through both, and a draw by `reset_parameters` draws both."""
    model, (inputs, targets) = Judged(), (torch.randn(40, 5), torch.randint(3, (40,)))
    found = fanin.profile(model, inputs, targets, functional.cross_entropy, band="both", redraws=16)
    functional.cross_entropy(model(inputs), targets).backward()
    gradients = of_layers(found.table, "gradient_norm")
    assert list(gradients.index) == ["generator.0", "generator.2", "discriminator.0", "discriminator.2"]
    for name, row in gradients.iterrows():
        weight = model.get_parameter(f"{name}.weight")
        assert row["value"] == pytest.approx(float(weight.grad.norm()), rel=1e-5)  # type: ignore[union-attr]
        assert row["redraw_low"] < row["redraw_median"] < row["redraw_high"]
    assert (found.no_law, found.no_redraw) == ("", "")
    assert gradients["theory"].notna().all()


def test_a_module_that_is_called_twice_and_an_expert_without_a_token() -> None:
    layer = nn.Linear(6, 6)
    twice = fanin.profile(nn.Sequential(layer, nn.Tanh(), layer), batch(6)[0], redraws=8)
    modules = twice.table[(twice.table["axis"] == "module") & (twice.table["quantity"] == "activation_norm")]
    assert list(modules["layer"]) == ["input", "0", "1", "0.2"] or list(modules["layer"]) == ["input", "0", "1", "2"]
    assert twice.sources
    model = Experts()
    found = fanin.profile(model, torch.eye(5)[[0, 0, 3]], redraws=8).table
    assert set(of_layers(found, "activation_norm").index) == {"experts.0", "experts.3", "head"}


def test_told_and_drawn() -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    model, (inputs, targets) = chain(5, 12, lambda place: 2.0), batch(12)
    found = fanin.profile(
        model, inputs, targets, functional.cross_entropy, 8, redraw=lambda: chain(5, 12, lambda p: 2.0)
    )
    axes = found.plot(quantity="gradient_norm")
    drawn = [line.get_ydata() for line in axes.get_lines()]
    values = of_layers(found.table, "gradient_norm")["value"].to_numpy()
    assert any(len(line) == len(values) and np.allclose(line, values) for line in drawn)
    html = found._repr_html_()
    assert "data:image/png;base64," in html
    assert f"<td>{values[0]:.4g}</td>" in html
    assert str(found).splitlines()[0].startswith(f"verdict: {found.verdict}")
    with pytest.raises(UserError, match="the table has no gradient_nrm of weight layers"):
        found.plot(quantity="gradient_nrm")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": 3}, "a model is a torch.nn.Module, not int"),
    "few redraws": ({"redraws": 3}, "redraws=3: must be 8 or more, or 0"),
    "redraws": ({"redraws": 8.0}, "redraws=8.0: must be an integer >= 0"),
    "band": ({"band": "laws"}, "band=laws: must be one of auto, .* did you mean law?"),
    "rule": ({"rules": "kaimin_normal"}, "rules: kaimin_normal is no law.* did you mean kaiming_normal?"),
    "pattern": ({"rules": {"layers.*": "zeros"}}, r"rules: no parameter matches layers\.\*"),
    "module": ({"modules": "layers.*"}, r"modules: no module matches layers\.\*"),
    "redraw": ({"redraw": 3, "band": "redraw"}, "redraw: a function of the model, .* not int"),
    "other model": ({"redraw": lambda: nn.Linear(4, 3), "band": "redraw"}, "redraw: gives a model of other parameters"),
    "no batch": ({"inputs": "x"}, "inputs: a batch is a tensor, a tuple or a mapping of tensors, not str"),
    "loss": ({"loss": lambda outputs: outputs}, r"loss: must give one number, not \[2, 4\]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_uses(name: str) -> None:
    given, said = WRONG[name]
    with pytest.raises(UserError, match=said) as raised:
        fanin.profile(**{"model": nn.Linear(3, 4), "inputs": torch.ones(2, 3)} | given)
    assert one_line(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_16"])
def test_torchvisions_models(name: str) -> None:
    """Gradients are those of a plain backward pass, and fresh models lie in the band of their own makers."""
    import torchvision

    large = name == "vit_b_16"

    def make() -> nn.Module:
        model: nn.Module = getattr(torchvision.models, name)(num_classes=5, **{"image_size": 32} if large else {})
        return model.eval() if name == "mobilenet_v3_small" else model  # its dropout draws

    model, inputs, targets = make(), torch.randn(3, 3, 32, 32), torch.tensor([0, 4, 2])
    found = fanin.profile(model, inputs, targets, functional.cross_entropy, 0 if large else 8, redraw=make)
    gradients = of_layers(found.table, "gradient_norm")["value"]
    functional.cross_entropy(model(inputs), targets).backward()
    known = {name: one.grad for name, one in model.named_parameters()}
    expected = {layer: float(known[f"{layer}.weight"].norm()) for layer in gradients.index}  # type: ignore[union-attr]
    assert gradients.to_dict() == pytest.approx(expected, rel=1e-3)
    assert found.sources == ([] if large else ["redraw of 8"])
