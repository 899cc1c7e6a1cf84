"""Histograms: counts against NumPy's, in files and in TensorBoard's tab; fused, resumed and watched alike."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray
from torch import nn

import fanin
from command_line import fanin as typed
from fanin.probes.histograms import BINS, histograms
from fanin.report.read.histograms import read_histograms

SMALL = ("model.depth=3", "model.width=8", "data.limit=100", "trainer.batch_size=20")
WANTED = "probe.histograms=[activations,weights,gradients]"


def table(run: Path) -> list[dict[str, str]]:
    """The rows of its histograms.csv."""
    with (run / "histograms.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_counts_are_numpys() -> None:
    torch.manual_seed(4)
    values = torch.randn(5, 40, 6) ** 3
    values[1, :3] = torch.nan
    values[2, 0, :2] = torch.inf
    for row, one in zip(histograms(values).tolist(), values, strict=True):
        finite = one[one.isfinite()].double().numpy()
        counts, edges = np.histogram(finite, BINS)
        assert row[:3] == [edges[0], edges[-1], one.numel() - len(finite)]
        assert row[3:] == counts.tolist()


def test_values_without_a_range() -> None:
    same, lost = histograms(torch.tensor([[2.0, 2.0, 2.0], [torch.nan, torch.inf, -torch.inf]])).tolist()
    assert same[:3] == [1.5, 2.5, 0]
    assert same[3:] == np.histogram([2.0, 2.0, 2.0], BINS, (1.5, 2.5))[0].tolist()
    assert lost == [0, 1, 3, *[0] * BINS]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight steps with histograms at every fourth."""
    folder = tmp_path_factory.mktemp("histograms")
    said = typed(folder, *SMALL, WANTED, "trainer.steps=8", "probe.every=4", "trainer.checkpoint_every=2")
    assert said.code == 0, said.err
    (found,) = (path.parent for path in folder.glob("outputs/runs/*/status.json"))
    return found


def test_the_last_ones_are_of_the_weights_that_the_run_ends_with(run: Path) -> None:
    rows = table(run)
    assert sorted({int(row["step"]) for row in rows}) == [0, 4, 8]
    assert len(rows) == 3 * 3 * 3  # steps, kinds, layers
    state = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"]
    weights = [tensor for name, tensor in state.items() if name.endswith("weight")]
    last = [row for row in rows if (row["step"], row["of"]) == ("8", "weights")]
    for row, weight in zip(last, weights, strict=True):
        counts, edges = np.histogram(weight.double().numpy(), BINS)
        assert [float(row["low"]), float(row["high"])] == [edges[0], edges[-1]]
        assert [int(row[f"count_{number}"]) for number in range(1, BINS + 1)] == counts.tolist()


def test_tensorboard_has_them_in_its_own_tab(run: Path) -> None:
    found = {}
    for path in run.glob("events.out.tfevents.*"):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "histograms":
                    found[value.tag, event.step] = make_ndarray(value.tensor)
    kept = read_histograms(run, [])
    assert len(found) == sum(len(steps) for layers in kept.values() for steps in layers.values())
    for (index, layer), steps in kept["activations"].items():
        for one in steps:
            shown = found[f"histograms_activations/{index}_{layer}", one.step]
            np.testing.assert_allclose(shown[:, 0], one.edges[:-1])
            np.testing.assert_allclose(shown[:, 1], one.edges[1:])
            assert shown[:, 2].tolist() == one.counts.tolist()


def test_they_change_nothing_in_the_training(run: Path) -> None:
    without = typed(run.parents[2], *SMALL, "trainer.steps=8", "probe.every=4", "trainer.checkpoint_every=2")
    assert without.code == 0, without.err
    (other,) = (path.parent for path in run.parent.glob("*/status.json") if "histograms" not in path.parent.name)
    one, two = ((folder / "profiles.csv").read_text() for folder in (run, other))
    assert one == two
    assert not (other / "histograms.csv").exists()


@pytest.mark.slow
def test_fused_runs_have_the_same_ones(run: Path, tmp_path: Path) -> None:
    typed_words = (*SMALL, WANTED, "trainer.steps=8", "probe.every=4", "trainer.checkpoint_every=2")
    said = typed(tmp_path, "-m", "seed=0,1", *typed_words, "hydra/launcher=fused")
    assert said.code == 0, said.err
    (fused,) = (path.parent for path in tmp_path.glob("outputs/runs/*seed=0*/status.json"))
    for mine, theirs in zip(table(fused), table(run), strict=True):
        assert [mine[name] for name in ("step", "of", "index", "layer")] == [
            theirs[name] for name in ("step", "of", "index", "layer")
        ]
        one, two = (np.array([float(row[f"count_{k}"]) for k in range(1, BINS + 1)]) for row in (mine, theirs))
        assert np.abs(np.cumsum(one - two)).max() <= 2  # rounding may carry a value over the end of its bin


@pytest.mark.slow  # two commands more
def test_a_resumed_run_has_the_same_ones(run: Path, tmp_path: Path) -> None:
    """Paused between two looks, and gone on with by the same command: the same file, byte by byte."""
    words = (*SMALL, WANTED, "trainer.steps=8", "probe.every=4", "trainer.checkpoint_every=2")
    for more in ("pause_at=6",), ():
        said = typed(tmp_path, *words, *more)
        assert said.code == 0, said.err
        (resumed,) = (path.parent for path in tmp_path.glob("outputs/runs/*/status.json"))
        last = max(int(row["step"]) for row in table(resumed))
        assert last == (4 if more else 8)
    assert (resumed / "histograms.csv").read_bytes() == (run / "histograms.csv").read_bytes()


def test_a_watched_model_has_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with fanin.watch(
        model, tmp_path / "mine", every=2, inputs=x, histograms=["weights", "activations"], log_every=1
    ) as watch:
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            watch.step(optimizer, loss=loss)
    found = read_histograms(tmp_path / "mine", [])
    assert [one.step for one in found["weights"][1, "0"]] == [0, 2, 3]
    last = model.get_submodule("2").get_parameter("weight").detach().double().numpy()
    assert found["weights"][2, "2"][-1].counts.tolist() == np.histogram(last, BINS)[0].tolist()


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("probe.histograms=[bias]", "fanin: probe.histograms=bias: must be one of activations, weights, gradients"),
        ("probe.histograms=weights", "fanin: probe.histograms=weights: must be a list out of activations, weights, "),
    ],
)
def test_what_there_are_none_of(tmp_path: Path, word: str, line: str) -> None:
    said = typed(tmp_path, *SMALL, word)
    assert said.code == 1
    assert said.err[0].startswith(line), said.err
