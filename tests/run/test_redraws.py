"""Fresh draws of a recipe: each is a run's first look, and together they make a band that covers further ones."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from scipy.stats import kstest, kstwo
from torch import Tensor, nn

from command_line import fanin, read, runs, table
from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.errors import OptionError
from fanin.parts.data import Dataset
from fanin.probes import Probe
from fanin.run import recipe_law, redraws
from fanin.run.build import load_data, recipe
from fanin.run.expected import Expecting
from fanin.run.networks import initialized
from fanin.run.recipe import Recipe
from fanin.run.redraws import Drawing, bands_of, redraw_seed, redrawn
from fanin.train.batches import probe_batch

SMALL = ("data.image_size=8", "data.limit=300", "probe.batch_size=20")
ARCHITECTURES = {
    "cnn": ("model=cnn", "model.channels=[4,4]", "model.width=16"),
    "resnet": ("model=resnet", "model.channels=[4,4]"),
    "lstm": ("model=lstm", "model.width=8"),
    "attention": ("model=attention", "model.width=8", "model.heads=2", "model.hidden=8"),
    "own": (),
    "dropout": ("regularizer=dropout", "model.depth=4", "model.width=16"),
    "lsuv": ("initializer=lsuv", "model.depth=4", "model.width=16"),
}


class Wide(nn.Module):
    """The model of docs/own_parts.md: a hidden layer and a road past it."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.hidden, self.bend = nn.Linear(math.prod(shape), 20), nn.ReLU()
        self.past, self.out = nn.Linear(math.prod(shape), outputs), nn.Linear(20, outputs)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        scores: Tensor = self.out(self.bend(self.hidden(x))) + self.past(x)
        return scores


def drawn_from(kind: str = "", *words: str) -> tuple[Recipe, Dataset]:
    """A recipe and its data."""
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg = compose("config", [*SMALL, *ARCHITECTURES.get(kind, ()), *words])
    made = recipe(cfg)
    if kind == "own":
        made = replace(made, make_model=Wide, drawn_of=None, stackable=False)
    return made, load_data(cfg, torch.device("cpu"), torch.float32)


def looks(made: Recipe, data: Dataset, places: Sequence[int], together: int = 16) -> tuple[list[Any], np.ndarray]:
    """The labels, and the norms [R, n] of redraws, so many in one program."""
    drawing = Drawing(made, data)
    found = [drawing.look(drawing.draw(places[at : at + together])) for at in range(0, len(places), together)]
    return drawing.labels, torch.cat(found).numpy()


@pytest.mark.parametrize("kind", ["cnn", "resnet", "lstm", "attention", "dropout", "lsuv"])
def test_redraws_in_one_program_are_those_made_one_by_one(kind: str) -> None:
    made, data = drawn_from(kind)
    assert made.stackable
    (labels, stacked), (same, alone) = (looks(made, data, range(6), together) for together in (6, 1))
    assert labels == same
    # Sums of squares in another order: float32's rounding, grown by some layers.
    np.testing.assert_allclose(stacked, alone, rtol=1e-4)
    assert len({*alone[:, -1].tolist()}) == 6, "every draw is another"


@pytest.mark.parametrize(
    "kind",
    [
        "cnn",
        "own",
        "dropout",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("resnet", "lstm", "attention")),
    ],
)
def test_a_band_covers_further_draws_at_its_nominal_rate(kind: str) -> None:
    """68 % of the runs of other seeds lie within it, over layers that all go together.

    The seeds are clusters: with S of them, and a band of R draws, whose own share of the law is a Beta variable of
    variance p (1 - p) / (R + 2), the share that is covered has at most the variance p (1 - p) (1/S + 1/(R + 2)).
    """
    band_of, further = 64, 40
    made, data = drawn_from(kind)
    count = 64 if made.stackable else 1
    labels, drawn = looks(made, data, range(band_of), count)
    bands = bands_of(labels, drawn)
    weights = {layer for axis, _, layer, quantity in labels if (axis, quantity) == ("weight", "gradient_norm")}
    assert weights
    assert {("weight", layer, name) for layer in weights for name in ("activation_norm", "gradient_norm")} <= set(bands)
    _, others = looks(made, data, range(1000, 1000 + further), count)
    inside = []
    for (axis, _, layer, quantity), column in zip(labels, others.T, strict=True):
        if (axis, layer, quantity) in bands:
            band = bands[axis, layer, quantity]
            inside.append((band.low <= column) & (column <= band.high))
    spread = math.sqrt(0.68 * 0.32 * (1 / further + 1 / (band_of + 2)))
    assert np.mean(inside) == pytest.approx(0.68, abs=4 * spread)


def test_the_quantiles_of_a_band_are_numpys() -> None:
    made, data = drawn_from("cnn", "probe.redraws=24")
    labels, norms = looks(made, data, range(24))
    found = redrawn(made, data, asked=True, steps=0).bands
    for (axis, _, layer, quantity), column in zip(labels, norms.T, strict=True):
        if layer == "input":
            assert (axis, layer, quantity) not in found, "the data's norm says nothing of the network"
            continue
        band = found[axis, layer, quantity]
        quantiles = np.quantile(column, [0.16, 0.5, 0.84], method="weibull")
        assert [band.low, band.median, band.high] == pytest.approx(quantiles.tolist(), rel=1e-5)
        logs = np.log(column**2)
        assert (band.log_mean, band.log_sd) == pytest.approx((logs.mean(), logs.std(ddof=1)), rel=1e-4, abs=1e-5)
        assert band.source == "redraw of 24"


@pytest.mark.parametrize(
    "words",
    [("initializer=zeros",), ("initializer=identity", "model.depth=3", "model.width=10"), ("initializer=constant",)],
)
def test_an_initializer_that_draws_nothing_has_no_band(words: tuple[str, ...]) -> None:
    found = redrawn(*drawn_from("", *words), asked=True, steps=0)
    assert (found.bands, found.why, found.failed) == ({}, "every draw of its weights is the same", False)


def test_a_norm_that_the_recipe_fixes_has_no_band() -> None:
    """The last layer of a branch under fixup is 0 in every draw: no gradient reaches what lies before it."""
    words = ("model=residual_mlp", "initializer=fixup", "model.depth=6", "model.width=10")
    made, data = drawn_from("", *words, "probe.redraws=8")
    labels, norms = looks(made, data, range(8))
    still = {
        (axis, layer, name) for (axis, _, layer, name), column in zip(labels, norms.T, strict=True) if not column.any()
    }
    found = redrawn(made, data, asked=True, steps=0).bands
    assert still
    assert found
    assert not still & set(found)


def test_redraws_leave_every_generator_as_it_was() -> None:
    """A model of one's own may draw from any of them, while it is made and as it runs."""

    class Noisy(Wide):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * random.random() + torch.rand(()) * np.random.rand()

    made, data = drawn_from("own", "probe.redraws=8")
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    found = redrawn(replace(made, make_model=Noisy), data, asked=True, steps=0)
    assert found.bands
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[union-attr]


def test_a_redraw_that_fails_says_so_in_one_line() -> None:
    class Fragile(Wide):
        made = 0

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            Fragile.made += 1
            if Fragile.made == 3:
                raise RuntimeError("no more\nof these")

    made, data = drawn_from("own", "probe.redraws=8")
    found = redrawn(replace(made, make_model=Fragile), data, asked=True, steps=0)
    assert (found.bands, found.failed) == ({}, True)
    assert found.why == "a redraw failed: RuntimeError: no more of these"


def test_the_seeds_of_a_recipe_share_their_redraws(monkeypatch: pytest.MonkeyPatch) -> None:
    drawings: list[Drawing] = []

    class Counted(Drawing):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            drawings.append(self)

    monkeypatch.setattr(redraws, "Drawing", Counted)
    tanh = ("activation=tanh", "model.depth=3", "model.width=9", "probe.redraws=8")
    found = [
        redrawn(*drawn_from("", *tanh, *words), asked=True, steps=0)
        for words in (
            ("seed=0",),
            ("seed=7", "optimizer=adam", "trainer.epochs=3", "regularizer=l2"),
            ("data.limit=299",),
            ("initializer=lecun_normal",),
            ("regularizer=dropout",),
            ("activation=elu",),
        )
    ]
    assert found[0] is found[1]
    assert len(drawings) == 5
    assert len({id(one) for one in found}) == 5


def test_a_redraw_is_the_run_of_its_seed() -> None:
    """What `fanin seed=...` with the seed of redraw 3 looks at is what redraw 3 was."""
    made, data = drawn_from("dropout")
    labels, norms = looks(made, data, [3])
    from fanin.run.execute import batches_of
    from fanin.run.networks import initialized, trained_model
    from fanin.train.batches import probe_batch
    from fanin.train.single_learner import SingleLearner

    run = replace(made, seed=redraw_seed(3))
    batch = probe_batch(data.train_x, data.train_y, 20, [run.seed])
    learner = SingleLearner(trained_model(run, initialized(run, data, batch[0][0]), batches_of([run], data)))
    seen = learner.observe(batch)
    first = next(at for at, label in enumerate(labels) if label[:2] == ("weight", 1) and label[3] == "gradient_norm")
    assert norms[0, first] == pytest.approx(seen.gradients[0].norm().item(), rel=1e-5)


def test_the_law_of_a_run_does_not_depend_on_the_runs_before_it() -> None:
    made, data = drawn_from("", "model.width=16", "activation=gelu")

    def law_of(seed: int) -> list[float]:
        one = replace(made, seed=seed)
        inputs, targets = (x[0] for x in probe_batch(data.train_x, data.train_y, 20, [seed]))
        expected = Expecting(one, initialized(one, data, inputs), (inputs, targets), data, 5)([])
        return [number for band in expected.bands.values() for number in (band.low, band.median, band.high)]

    recipe_law._laws.values.clear()
    after = [law_of(seed) for seed in (3, 4)][1]
    recipe_law._laws.values.clear()
    alone = law_of(4)
    assert alone
    assert alone == after


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("model.depth=6", "model.width=48", "model.bias=false"), 64),
        (("model.depth=5", "model.width=48", "activation=tanh", "model.bias=false"), 64),
        pytest.param(
            ("model.depth=50", "model.width=100", "model.bias=false", "data.image_size=28"), 256, marks=pytest.mark.slow
        ),
    ],
)
def test_redraws_of_a_recipe_with_a_law_follow_it(words: tuple[str, ...], count: int) -> None:
    """Of single examples, whose law is exact: Kolmogorov-Smirnov at every layer, one error in a thousand for them all.

    The law is of the norm that an example of such a length has; each redraw has an example of its own.
    """
    made, data = drawn_from("", *words, "probe.batch_size=1")
    drawing = Drawing(made, data)
    shares: dict[str, list[float]] = {}
    for start in range(0, count, 16):
        drawn = drawing.draw(range(start, start + 16))
        norms = drawing.look(drawn).numpy()
        for model, inputs, targets, row in zip(drawn.models, *drawn.batch, norms, strict=True):
            bands = recipe_law.recipe_law(made, model, inputs, targets, same=f"{words}").bands
            for (axis, _, layer, quantity), norm in zip(drawing.labels, row.tolist(), strict=True):
                if (axis, quantity) == ("weight", "activation_norm"):
                    shares.setdefault(layer, []).append(bands[axis, layer, quantity].quantile(norm))
    assert min(len(one) for one in shares.values()) == count
    for one in shares.values():
        assert kstest(one, "uniform").pvalue > 1e-3 / len(shares)


@pytest.mark.slow
@pytest.mark.parametrize("size", [20, 100])
@pytest.mark.parametrize(
    "words",
    [
        "model.depth=6 model.width=100",
        "model.depth=6 model.width=100 activation=tanh initializer.bias_variance=0.05",
        "model.depth=6 model.width=100 initializer=orthogonal",
        "model.depth=6 model.width=400 regularizer=dropout regularizer.dropout.p=0.1",
        "model.depth=6 model.width=100 normalization=layer",
        "model.depth=6 model.width=100 normalization=rms",
        "model=residual_mlp model.depth=6 model.width=100",
        "model=cnn",
        "model=cnn activation=tanh model.channels=[16,16]",
        "model=rnn",
        "model=lstm",
        "model=gru",
        "model=attention",
    ],
)
def test_redraws_of_a_batch_follow_their_law(words: str, size: int) -> None:
    """Of a batch, whose law is of first order or of infinite width: Kolmogorov-Smirnov at every layer and quantity.

    The law of each draw is a run's own: one for all seeds, moved to the length of each one's batch. It is right to a
    share of its band (docs/theory.md): a twentieth for activations, and a seventh for gradients.
    """
    made, data = drawn_from("", "data.limit=null", *words.split(), f"probe.batch_size={size}")
    drawing = Drawing(made, data)
    shares: dict[tuple[str, str, str], list[float]] = {}
    for start in range(0, 64, 16):
        drawn = drawing.draw(range(start, start + 16))
        for model, *batch, row in zip(drawn.models, *drawn.batch, drawing.look(drawn).numpy(), strict=True):
            one = Expecting(made, model, (batch[0], batch[1]), data, 0)
            bands = one._law().bands
            for (axis, _, layer, quantity), norm in zip(drawing.labels, row.tolist(), strict=True):
                band = bands.get((axis, layer, quantity))
                if band is not None and band.high > band.low * (1 + 1e-5):  # float32's rounding is no draw
                    shares.setdefault((axis, layer, quantity), []).append(band.quantile(norm))
    assert any(quantity == "gradient_norm" for _, _, quantity in shares) or "rnn" in words
    for key, one in shares.items():
        assert len(one) == 64
        allowed = kstwo.isf(1e-3 / len(shares), 64) + (0.05 if key[2] == "activation_norm" else 0.14)
        assert kstest(one, "uniform").statistic < allowed, key


@pytest.mark.slow
def test_a_band_is_what_real_runs_of_its_seeds_give(tmp_path: Path) -> None:
    """A grid over the seeds of 8 redraws: its measured norms, by hand, are the band that each of its runs draws."""
    seeds = ",".join(str(redraw_seed(place)) for place in range(8))
    words = ("model=cnn", "model.channels=[3,3]", "model.width=8", "trainer.steps=0", "probe.band=redraw")
    said = fanin(tmp_path, "-m", *SMALL, *words, "probe.redraws=8", f"seed={seeds}")
    assert said.code == 0, said.err
    folders = list(runs(next(tmp_path.glob("outputs/*"))).values())
    assert len(folders) == 8
    tables = [[row for row in table(one / "profiles.csv") if row["source"]] for one in folders]
    assert {row["source"] for row in tables[0]} == {"redraw of 8"}
    for rows in zip(*tables, strict=True):
        measured = [float(row["value"]) for row in rows]
        quantiles = np.quantile(measured, [0.5, 0.16, 0.84], method="weibull")
        for row in rows:
            found = [float(row[name]) for name in ("theory", "band_low", "band_high")]
            assert found == pytest.approx(quantiles.tolist(), rel=1e-4)
    rows = [row for row in tables[0] if (row["axis"], row["quantity"]) == ("weight", "activation_norm")]
    place = len(rows) - 2  # the last hidden layer
    logs = {
        one: 2 * math.log(float(of_run[tables[0].index(rows[place])]["value"]))
        for one, of_run in zip(folders, tables, strict=True)
    }
    for one, log in logs.items():
        init = read(one / "result.json")["init"]
        z = (log - np.mean(list(logs.values()))) / np.std(list(logs.values()), ddof=1)
        assert init["z"] == pytest.approx(z, abs=1e-3)
        below = sum(other < log for other in logs.values())  # a run is one of its own redraws, but for rounding
        assert (below + 0.5) / 9 <= init["quantile"] <= (below + 1.5) / 9
        assert (init["source"], init["no_law"]) == ("redraw of 8", None)


def test_a_redraw_that_fails_leaves_the_law_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    made, data = drawn_from("own", "probe.band=both", "probe.redraws=8")
    model = Wide(data.input_shape, 10)

    def fails(shape: tuple[int, ...], outputs: int) -> nn.Module:
        raise RuntimeError("no further one")

    expecting = Expecting(replace(made, make_model=fails), model, (data.train_x[:9], data.train_y[:9]), data, 5)
    with caplog.at_level("INFO"):
        found = expecting([("weight", "hidden", "activation_norm")])
    assert found.no_redraw == "a redraw failed: RuntimeError: no further one"
    (record,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert record.getMessage() == f"no redraws of the recipe: {found.no_redraw}"
    assert not any(band.source.startswith("redraw") for band in found.bands.values())


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"band": "redraws"}, "band=redraws: must be one of auto, law, redraw, both, off"),
        ({"redraws": 7}, "redraws=7: must be"),
        ({"redraws": "all"}, "redraws=all: must be"),
    ],
)
def test_wrong_values_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError) as refused:
        Probe(**keys)
    assert str(refused.value).startswith(said)
