"""Theory laid over a measured profile: which rows get it, and which numbers."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

import engine
from command_line import fanin, read, table
from fanin.parts import activations
from fanin.parts.initializers import KaimingNormal, Orthogonal, TorchDefault, VarianceScaling, XavierNormal, Zeros
from fanin.parts.normalization import LayerNorm
from fanin.parts.regularizers import Dropout
from fanin.probes import Probe
from fanin.probes.probe import QUANTITIES, measure_profile
from fanin.record.recorder import ProfileRow
from fanin.run.theory_overlay import Overlay
from fanin.theory.bands import SIGMA

DEPTH, WIDTH, FEATURES = 6, 16, 12
BAND = ("theory", "band_low", "band_high", "source")
REDRAWN = ("redraw_median", "redraw_low", "redraw_high")


def annotated(folder: Path, snapshot: str = "init", **changes: Any) -> tuple[list[ProfileRow], Overlay]:
    model = {"depth": DEPTH, "width": WIDTH, **changes.pop("model", {})}
    changes.setdefault("probe", Probe(batch_size=1, every=0, curves=(), band="law"))
    loop, overlay = engine.loop(folder, engine.recipe(model=model, **changes))
    labels, values = measure_profile(loop.learner.observe(loop.probe_data))
    return overlay.annotate(snapshot, labels, values[0].tolist()), overlay


def pick(rows: list[ProfileRow], axis: str, quantity: str) -> dict[int, ProfileRow]:
    return {row.index: row for row in rows if (row.axis, row.quantity) == (axis, quantity)}


@pytest.mark.parametrize("c", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("width", [32, 100])
def test_lines_and_band_of_the_study(tmp_path: Path, c: float, width: int) -> None:
    """The study's constants give the band of one example at every hidden layer, relative to the first."""
    mean, variance = {32: (-0.082540, 0.177498), 100: (-0.025421, 0.051940)}[width]
    model = {"width": width}
    rows, overlay = annotated(tmp_path, initializer=VarianceScaling(c=c), model=model)
    norms = pick(rows, "weight", "activation_norm")
    squares = pick(rows, "weight", "activation_norm_mean_square")
    modules = pick(rows, "module", "activation_norm")
    first = norms[1]
    assert first.theory is not None
    for layer in range(1, DEPTH):
        line = norms[layer]
        assert line.theory is not None
        assert line.band_low is not None
        assert line.band_high is not None
        # constants of 6 digits, over at most 5 layers
        slope = (mean + math.log(c / 2)) / 2
        assert math.log(line.theory / first.theory) == pytest.approx((layer - 1) * slope, abs=5e-6)
        widths = [math.log(x.band_high / x.band_low) ** 2 for x in (first, line)]  # type: ignore[operator]
        assert widths[1] - widths[0] == pytest.approx((layer - 1) * variance * SIGMA**2, abs=5e-6)
        assert math.sqrt(line.band_low * line.band_high) == pytest.approx(line.theory, rel=1e-10)
        # E||x_l||^2 = ||x_0||^2 (n_l/n_0) (c/2)^l
        square = modules[1].value * math.sqrt(width / FEATURES * (c / 2) ** layer)  # type: ignore[operator]
        assert squares[layer].theory == pytest.approx(square, rel=1e-12)
        assert squares[layer].value is None
    assert overlay.analysis is not None
    assert overlay.analysis.theory_factor == pytest.approx(math.sqrt(c / 2))
    assert overlay.analysis.expected_factor == pytest.approx(math.exp((mean + math.log(c / 2)) / 2), rel=1e-5)
    expected = (norms[DEPTH - 1].value / norms[1].value) ** (1 / (DEPTH - 2))  # type: ignore[operator]
    assert overlay.analysis.factor_per_layer == pytest.approx(expected, rel=1e-12)


def test_both_axes_tell_the_same_of_the_same_place(tmp_path: Path) -> None:
    """Module 2l + 1 is the activation of weight layer l; the last layer has none, its module is 2L."""
    rows, _ = annotated(tmp_path)
    for quantity in ("activation_norm", "activation_norm_mean_square"):
        weight, module = (pick(rows, axis, quantity) for axis in ("weight", "module"))
        for layer in range(1, DEPTH + 1):
            there, here = weight[layer], module[2 * layer + (layer < DEPTH)]
            assert (there.value, there.theory) == (here.value, here.theory)
            assert (there.band_low, there.band_high) == (here.band_low, here.band_high)
    assert pick(rows, "module", "activation_norm")[1].theory is None, "the input is given, not predicted"


def test_gradients_and_variances_have_their_lines(tmp_path: Path) -> None:
    rows, overlay = annotated(tmp_path, initializer=VarianceScaling(c=1.7))
    gradients = pick(rows, "weight", "gradient_norm")
    assert all(row.band_low < row.theory < row.band_high and row.source for row in gradients.values())  # type: ignore[operator]
    variances = pick(rows, "weight", "weight_variance")
    for layer, row in variances.items():
        entries = (FEATURES if layer == 1 else WIDTH) * (4 if layer == DEPTH else WIDTH)
        error = 1.7 * math.sqrt(2 / (entries - 1))
        assert (row.theory, row.band_low, row.band_high) == pytest.approx((1.7, 1.7 - error, 1.7 + error))
    ends = {"gradient_first": gradients[1].value, "gradient_last": gradients[DEPTH].value}
    norms = pick(rows, "weight", "activation_norm")
    ends |= {"activation_first": norms[1].value, "activation_last": norms[DEPTH].value}
    assert overlay.ends == ends
    found = overlay.analysis
    assert found is not None
    assert found.gradient_smallest == min(row.value for row in gradients.values())  # type: ignore[type-var]
    flows = [row.value for row in pick(rows, "module", "activation_gradient_norm").values() if "linear" in row.layer]
    assert len(flows) == DEPTH
    assert found.backward_factor_per_layer == pytest.approx((flows[0] / flows[-1]) ** (1 / (DEPTH - 1)))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # sigmoid' <= 1/4: sqrt(2 * .0448) = .3 a layer at q = 1, and the less the larger the scores
        ({"model": {"depth": 20, "activation": activations.sigmoid}}, ("stable", "vanishing")),
        # layer normalization after relu: pi/(pi - 1) a layer in the square, 1.21 a layer in the norm
        (
            {"model": {"depth": 50, "width": 64, "normalization": LayerNorm(placement="post_activation")}},
            ("stable", "exploding"),
        ),
        # E ln r = -.307 a layer for width 10: a norm of e^-15 after 100 layers, from either side, is usual there
        pytest.param({"model": {"depth": 200, "width": 10}}, ("critical", "vanishing"), marks=pytest.mark.slow),
        ({"model": {"depth": 40, "width": 100}}, ("critical", "critical")),
        ({"initializer": Zeros()}, ("vanishing", "blocked")),
    ],
    ids=["sigmoid", "layer norm after", "narrow", "study", "zeros"],
)
def test_both_passes_have_a_verdict(tmp_path: Path, changes: dict[str, Any], words: tuple[str, str]) -> None:
    _, overlay = annotated(tmp_path, **changes)
    assert overlay.analysis is not None
    assert (overlay.analysis.forward, overlay.analysis.backward) == words
    assert overlay.analysis.verdict == (words[1] if words[0] in ("stable", "critical") else words[0])


def test_layers_that_are_not_trained_have_no_gradient_to_judge(tmp_path: Path) -> None:
    probe = Probe(batch_size=1, every=0, curves=(), band="law")
    loop, overlay = engine.loop(tmp_path, engine.recipe(model={"depth": 3}, probe=probe))
    labels, values = measure_profile(loop.learner.observe(loop.probe_data))
    frozen = [0.0 if label[1:] == (1, "linear_1", "gradient_norm") else value
              for label, value in zip(labels, values[0].tolist(), strict=True)]  # fmt: skip
    overlay.annotate("init", labels, frozen)
    assert overlay.analysis is not None
    assert overlay.analysis.layers_without_gradient == 1
    overlay.frozen = ["linear_1"]
    overlay.annotate("init", labels, frozen)
    assert overlay.analysis.layers_without_gradient == 0
    assert overlay.analysis.backward == "critical"


def test_theory_speaks_of_init_only(tmp_path: Path) -> None:
    rows, overlay = annotated(tmp_path, snapshot="final")
    assert overlay.analysis is None
    assert all((row.theory, row.band_low, row.band_high) == (None, None, None) for row in rows)
    assert "activation_norm_mean_square" not in {row.quantity for row in rows}


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"activation": activations.tanh}},
        {"model": {"normalization": LayerNorm()}},
        {"dropout": Dropout(p=0.5)},
        {"initializer": Orthogonal()},
        {"initializer": Zeros()},
    ],
    ids=["tanh", "layer norm", "dropout", "orthogonal", "zeros"],
)
def test_nothing_is_expected_where_no_band_is_wanted(tmp_path: Path, changes: dict[str, Any]) -> None:
    """The profile and its verdict are there all the same."""
    rows, overlay = annotated(tmp_path, probe=Probe(batch_size=1, every=0, curves=(), band="off"), **changes)
    assert all((row.theory, row.band_low, row.source) == (None, None, "") for row in rows)
    assert len(pick(rows, "weight", "activation_norm")) == DEPTH
    assert overlay.analysis is not None
    assert (overlay.analysis.theory_factor, overlay.analysis.z) == (None, None)
    assert overlay.analysis.verdict in ("vanishing", "stable", "exploding")


@pytest.mark.parametrize(
    ("initializer", "c"),
    [
        (KaimingNormal(), [2.0] * DEPTH),
        (TorchDefault(), [1 / 3] * DEPTH),
        (XavierNormal(), [2 * FEATURES / (FEATURES + WIDTH), *[1.0] * (DEPTH - 2), 2 * WIDTH / (WIDTH + 4)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_independent_law_has_its_c(tmp_path: Path, initializer: Any, c: list[float]) -> None:
    """Whatever the activation; the sample variance of N uniform weights strays by sqrt(2 / (N - 1) - 1.2 / N)."""
    rows, _ = annotated(tmp_path, initializer=initializer, model={"activation": activations.tanh})
    found = pick(rows, "weight", "weight_variance")
    assert [row.theory for row in found.values()] == pytest.approx(c)
    entries, low = WIDTH * WIDTH, found[2].band_low
    fourth = -1.2 if isinstance(initializer, TorchDefault) else 0.0
    assert low == pytest.approx(c[1] * (1 - math.sqrt(2 / (entries - 1) + fourth / entries)))


@pytest.mark.parametrize(
    ("activation", "c", "words"),
    [(activations.relu, 2.0, ("critical", "critical")), (activations.relu, 1.0, ("vanishing", "vanishing")),
     (activations.leaky_relu, 2.0, ("critical", "critical")), (activations.tanh, 1.0, ("stable", "stable"))],
)  # fmt: skip
def test_a_verdict_needs_no_band(tmp_path: Path, activation: Any, c: float, words: tuple[str, str]) -> None:
    """20 layers at c = 1 are 18 ln 2 = 12.5 off in ln norm^2, at a standard deviation of sqrt(18 * .177) = 1.8."""
    probe = Probe(batch_size=20, every=0, curves=(), band="off")
    model = {"depth": 20, "width": 32, "activation": activation}
    _, overlay = annotated(tmp_path, probe=probe, initializer=VarianceScaling(c=c), model=model)
    assert overlay.analysis is not None
    assert (overlay.analysis.forward, overlay.analysis.backward) == words
    assert overlay.analysis.z is None


def test_a_chain_is_what_runs_as_one(tmp_path: Path) -> None:
    """A model of one's own that runs one layer after the other is as much a chain as the mlp: widths are divided out.

    Its activation is known by what it computes.
    """

    class Rectifier(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z.clamp(min=0)

    def make(shape: Any, outputs: int) -> nn.Module:
        widths = [FEATURES, 8, 32, 128]
        pairs = [[nn.Linear(*pair, bias=False), Rectifier()] for pair in pairwise(widths)]
        return nn.Sequential(*(part for pair in pairs for part in pair), nn.Linear(128, outputs, bias=False))

    rows, overlay = annotated(tmp_path, make_model=make)
    assert overlay.analysis is not None
    assert overlay.expected is not None
    chain = overlay.expected.layout.chain
    assert chain is not None
    assert chain.critical is not None
    assert chain.critical.law == "relu"
    assert overlay.analysis.verdict == "critical"
    norms = pick(rows, "weight", "activation_norm")
    per_unit = norms[3].value / math.sqrt(128) / (norms[1].value / math.sqrt(8))  # type: ignore[operator]
    assert overlay.analysis.factor_per_layer == pytest.approx(math.sqrt(per_unit))


def test_rows_are_sorted_by_axis_quantity_and_index(tmp_path: Path) -> None:
    rows, _ = annotated(tmp_path)
    order = [*QUANTITIES, "activation_norm_mean_square"]
    keys = [(row.axis, order.index(row.quantity), row.index) for row in rows]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


def test_parameters_without_a_row_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those of nn.LSTM, and the projections of nn.MultiheadAttention, are used by functions, not by layers."""

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.MultiheadAttention(FEATURES, 2, batch_first=True)
            self.lstm, self.head = nn.LSTM(FEATURES, 3, batch_first=True), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = x.unsqueeze(1)
            logits: Tensor = self.head(self.lstm(self.attend(x, x, x)[0])[0][:, -1])
            return logits

    unseen = ["attend.in_proj_weight", "attend.out_proj.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0"]
    with caplog.at_level("INFO", logger="fanin.run.theory_overlay"):
        rows, overlay = annotated(tmp_path, make_model=lambda shape, outputs: Reader())
    assert overlay.unseen == unseen
    assert [record.getMessage() for record in caplog.records] == [
        f"no profile shows {', '.join(unseen)}: these are used by no layer of their own"
    ]
    assert [row.layer for row in pick(rows, "module", "activation_norm").values()] == [
        "input",
        "attend",
        "lstm",
        "head",
    ]
    assert overlay.expected is not None
    assert overlay.expected.layout.chain is None


@pytest.mark.parametrize(
    ("typed", "law"),
    [
        ((), "relu"),
        pytest.param(("activation=identity",), "identity", marks=pytest.mark.slow),
        (("activation=tanh",), None),
        pytest.param(("normalization=layer",), None, marks=pytest.mark.slow),
        pytest.param(("regularizer=dropout",), None, marks=pytest.mark.slow),
        pytest.param(("initializer=orthogonal",), None, marks=pytest.mark.slow),
        pytest.param(("model=residual_mlp",), None, marks=pytest.mark.slow),
        (("model=lstm", "model.width=6"), None),
    ],
)
def test_every_recipe_has_a_band_and_says_what_it_goes_by(
    tmp_path: Path, typed: tuple[str, ...], law: str | None
) -> None:
    """A law that reaches every norm, or redraws with the reason why it does not: words and rows agree."""
    said = fanin(tmp_path, "trainer.steps=0", "data.limit=300", "data.image_size=8", *typed)
    assert said.code == 0, said.err
    (path,) = tmp_path.glob("outputs/*/*/result.json")
    init = read(path)["init"]
    rows = [row for row in table(path.with_name("profiles.csv")) if row["axis"] == "weight"]
    sources = {row["source"] for row in rows if row["quantity"] in ("activation_norm", "gradient_norm")}
    assert "" not in sources
    redrawn = "redraw of 64" in sources
    assert (init["law"], init["no_law"] is not None, init["unseen"]) == (law, redrawn, [])
    assert bool(init["stopped_at"]) == redrawn
    assert init["no_redraw"] is None
    last = [row for row in rows if row["quantity"] == "activation_norm"][-2]
    assert init["source"] == last["source"]
    assert 0 < init["quantile"] < 1
    inside = float(last["band_low"]) <= float(last["value"]) <= float(last["band_high"])
    if redrawn:
        assert (0.16 <= init["quantile"] <= 0.84) == inside
    (row,) = table(path.parents[1] / "summary.csv")
    assert (row["forward"], row["backward"], row["source"]) == (init["forward"], init["backward"], init["source"])
    assert float(row["z"]) == pytest.approx(init["z"])


@pytest.mark.slow
def test_both_bands_stand_side_by_side(tmp_path: Path) -> None:
    """The law in theory's columns, the redraws in their own; probe.band=redraw has the same ones in theory's."""
    common = ("trainer.steps=0", "data.limit=300", "data.image_size=8", "model.depth=4", "model.width=12")
    tables = {}
    for band in ("law", "both", "redraw"):
        said = fanin(tmp_path, *common, f"probe.band={band}", "probe.redraws=12", f"hydra.sweep.dir={band}")
        assert said.code == 0, said.err
        (path,) = tmp_path.glob(f"{band}/*/profiles.csv")
        tables[band] = {(row["axis"], row["layer"], row["quantity"]): row for row in table(path)}
    norms = [key for key in tables["both"] if key[2] in ("activation_norm", "gradient_norm") and key[1] != "input"]
    for key in norms:
        law, both, redraw = (tables[band][key] for band in ("law", "both", "redraw"))
        assert [law[name] for name in BAND] == [both[name] for name in BAND]
        assert [both[name] for name in REDRAWN] == [redraw[name] for name in ("theory", "band_low", "band_high")]
        assert (redraw["source"], law["source"] == redraw["source"]) == ("redraw of 12", False)
        assert {law[name] for name in REDRAWN} | {redraw[name] for name in REDRAWN} == {""}
