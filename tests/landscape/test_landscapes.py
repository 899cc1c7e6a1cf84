"""Lines and planes through trained weights: against the loss worked out alone, and the files of the command."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fanin as of_python
from command_line import Said, end, fanin, read, runs, start, table
from fanin.landscape.directions import coordinates, filter_normalized, names_of, parts_of, vector_of
from fanin.landscape.matching import permute, weight_matching
from fanin.record.columns import names
from fanin.record.landscape_columns import LANDSCAPE, LANDSCAPE_PATHS
from fanin.run.build import load_data, options_of
from networks import normal

RECIPE = (
    "model.depth=3",
    "model.width=12",
    "activation=tanh",
    "data.image_size=8",
    "data.limit=300",
    "trainer.steps=40",
    "optimizer.lr=0.1",
    "probe=off",
)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of a small network, a wider one, and one with batch normalization."""
    folder = tmp_path_factory.mktemp("landscapes")
    assert fanin(folder, "-m", *RECIPE, "seed=0,1,2").code == 0
    assert fanin(folder, "-m", *RECIPE[:1], "model.width=14", *RECIPE[2:], "seed=8").code == 0
    assert fanin(folder, *RECIPE, "normalization=batch", "seed=9").code == 0
    return folder


def named(grid: Path, word: str) -> Path:
    """The first run whose name has a word in it."""
    return next(path for name, path in runs(grid / "outputs" / "runs").items() if word in name)


def landscape(folder: Path, *arguments: object) -> Said:
    """The command."""
    return end(start(folder, *map(str, arguments), module="fanin.cli.landscape", figures=True))


def train_part(run: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """What the run was trained on, in float64."""
    from omegaconf import OmegaConf

    cfg = OmegaConf.create({**read(run / "result.json")["config"], "force": False})
    data = load_data(options_of(cfg), torch.device("cpu"), torch.float64)
    return data.train_x, data.train_y


def loss_at(model: nn.Module, vector: torch.Tensor, data: tuple[torch.Tensor, torch.Tensor]) -> float:
    """The cross-entropy with other parameters, by torch alone."""
    model = model.double()
    parts = parts_of(vector.double(), names_of(model))
    with torch.no_grad():
        return F.cross_entropy(torch.func.functional_call(model, parts, (data[0],)), data[1]).item()


@pytest.mark.slow
def test_a_line_between_runs_is_the_loss_between_their_weights(grid: Path, tmp_path: Path) -> None:
    one, two = named(grid, "seed=0"), named(grid, "seed=1")
    said = landscape(grid, one, two, "--points", 5, "--span", 0.25, "--out", tmp_path)
    assert (said.code, said.err) == (0, [])
    (file,) = [path for path in tmp_path.glob("*.csv") if "paths" not in path.name]
    rows = table(file)
    assert tuple(rows[0]) == names(LANDSCAPE)
    assert [float(row["x"]) for row in rows] == [-0.25, 0, 0.25, 0.5, 0.75, 1, 1.25]
    models = [of_python.Run(path).model.double() for path in (one, two)]
    ends = [vector_of(model) for model in models]
    data = train_part(one)
    for row in rows:
        t = float(row["x"])
        wanted = loss_at(models[0], (1 - t) * ends[0] + t * ends[1], data)
        assert float(row["loss"]) == pytest.approx(wanted, rel=1e-12)
    for row, run in ((rows[1], one), (rows[-2], two)):  # float32 there
        assert float(row["loss"]) == pytest.approx(read(run / "result.json")["metrics"]["train_loss"], rel=1e-5)
        assert float(row["error"]) == read(run / "result.json")["metrics"]["train_error"]
    t, loss = np.array([[float(row["x"]), float(row["loss"])] for row in rows[1:-1]]).T
    assert f"barrier {(loss - (1 - t) * loss[0] - t * loss[-1]).max():.4g}" in said.out
    paths = table(tmp_path / f"{file.stem}-paths.csv")
    assert tuple(paths[0]) == names(LANDSCAPE_PATHS)
    assert [(row["run"], row["step"]) for row in paths] == [(r.name, step) for r in (one, two) for step in ("0", "40")]
    assert [float(paths[at]["x"]) for at in (1, 3)] == pytest.approx([0, 1], abs=1e-9)
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".json", ".png", ".svg"}


@pytest.mark.slow
def test_a_plane_of_three_and_a_random_one(grid: Path, tmp_path: Path) -> None:
    seeds = [named(grid, f"seed={seed}") for seed in range(3)]
    said = landscape(grid, *seeds, "--points", 4, "--examples", 60, "--out", tmp_path)
    assert (said.code, said.out[0].partition(":")[0]) == (0, "plane of 16 points, 60 examples")
    (about,) = [read(path) for path in tmp_path.glob("*.json")]
    marks = np.array([mark[1:] for mark in about["marks"]])
    reach = np.ptp(marks, axis=0).max()
    assert marks[:2] == pytest.approx(np.array([[0, 0], [1, 0]]), abs=1e-5)
    ends = [vector_of(of_python.Run(path).model) for path in seeds]
    lengths = [float((ends[a] - ends[b]).norm() / (ends[0] - ends[1]).norm()) for a, b in ((0, 2), (1, 2))]
    assert [math.hypot(*marks[2]), math.hypot(*(marks[2] - marks[1]))] == pytest.approx(lengths, rel=1e-4)
    from matplotlib.figure import Figure

    axes = of_python.plots.landscape(next(tmp_path.glob("*.png")), "error", Figure().subplots())
    assert [axes.get_xlabel(), axes.get_ylabel()] == about["axes"]
    low, high = axes.get_xlim()
    assert [low, high] == pytest.approx([marks[:, 0].min() - 0.2 * reach, marks[:, 0].max() + 0.2 * reach], rel=1e-3)
    said = landscape(grid, seeds[0], "--points", 3, "--span", 0.5, "--out", tmp_path / "one")
    middle = next(row for row in table(next((tmp_path / "one").glob("*[0-9a-f].csv"))) if row["x"] == row["y"] == "0")
    assert float(middle["loss"]) == pytest.approx(read(seeds[0] / "result.json")["metrics"]["train_loss"], rel=1e-5)


@pytest.mark.slow
def test_statistics_of_batch_normalization_are_those_of_the_point(grid: Path, tmp_path: Path) -> None:
    """With the statistics of the end a point far away would be another network."""
    run = named(grid, "normalization=batch")
    assert landscape(grid, run, "--line", "--points", 3, "--precision", "float64", "--out", tmp_path).code == 0
    (about,) = [read(path) for path in tmp_path.glob("*.json")]
    (rows,) = [table(path) for path in tmp_path.glob("line-??????????.csv")]
    assert "estimated anew" in about["statistics"]
    model = of_python.Run(run).model.double()
    inputs, targets = train_part(run)
    from fanin.streams import generator

    end_point = vector_of(model)
    way = filter_normalized(end_point, names_of(model), generator(0, "probe", "direction", 0))
    for row in rows:
        with torch.no_grad():
            for parameter, part in zip(
                model.parameters(), parts_of(end_point + float(row["x"]) * way, names_of(model)).values(), strict=True
            ):
                parameter.copy_(part)
        layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
        assert layers
        model.train()
        sums = [[torch.zeros(12, dtype=torch.float64), torch.zeros(12, dtype=torch.float64)] for _ in layers]
        chunks = inputs.tensor_split(math.ceil(len(inputs) / 250))
        for layer in layers:
            layer.momentum = 1.0
        for chunk in chunks:
            model(chunk)
            for layer, kept in zip(layers, sums, strict=True):
                kept[0] += layer.running_mean / len(chunks)  # type: ignore[operator]
                kept[1] += layer.running_var / len(chunks)  # type: ignore[operator]
        for layer, kept in zip(layers, sums, strict=True):
            layer.running_mean, layer.running_var = kept
        model.eval()
        with torch.no_grad():
            wanted = F.cross_entropy(model(inputs), targets).item()
        assert float(row["loss"]) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.slow
def test_matching_finds_a_permutation_and_leaves_the_loss(grid: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    chain = [nn.Linear(4, 9), nn.Linear(9, 8), nn.Linear(8, 3)]
    other = [nn.Linear(one.in_features, one.out_features) for one in chain]
    for one, two in zip(chain, other, strict=True):
        two.load_state_dict(one.state_dict())
    model = nn.Sequential(other[0], nn.Tanh(), other[1], nn.Tanh(), other[2])
    before = model(normal(3, 6, 4).float())
    order = [torch.randperm(layer.out_features).numpy() for layer in chain[:-1]]
    permute(other, order)
    assert torch.allclose(model(normal(3, 6, 4).float()), before, atol=1e-6)
    assert not torch.equal(other[0].weight, chain[0].weight)
    permute(other, weight_matching(chain, other, np.random.default_rng(0)))
    assert all(torch.equal(one.weight, two.weight) for one, two in zip(chain, other, strict=True))

    one, two = named(grid, "seed=0"), named(grid, "seed=1")
    barriers = []
    for match in ((), ("--match",)):
        said = landscape(grid, one, two, "--points", 11, *match, "--out", tmp_path)
        barriers.append(float(next(line for line in said.out if line.startswith("barrier")).split()[1].rstrip(",")))
    (about,) = [read(path) for path in tmp_path.glob("line-matched-*.json")]
    assert about["permuted_loss"] == pytest.approx(about["unpermuted_loss"], rel=1e-12)
    assert about["distances"][1] < about["distances"][0]
    assert max(about["moved"]) > 0.5


@pytest.mark.slow
def test_eigenvectors_are_those_of_the_dense_hessian(grid: Path, tmp_path: Path) -> None:
    """And the loss along them rises as their eigenvalues say."""
    run = named(grid, "seed=0")
    typed = ("--line", "--directions", "eigenvectors", "--points", 3, "--span", 1e-4, "--precision", "float64")
    assert landscape(grid, run, *typed, "--out", tmp_path).code == 0
    (about,) = [read(path) for path in tmp_path.glob("*.json")]
    told = float(about["axes"][0].split()[-1])
    model, (inputs, targets) = of_python.Run(run).model.double(), train_part(run)

    def loss(vector: torch.Tensor) -> torch.Tensor:
        parts = parts_of(vector, names_of(model))
        return F.cross_entropy(torch.func.functional_call(model, parts, (inputs,)), targets)

    theta = vector_of(model)
    largest = torch.linalg.eigvalsh(torch.func.hessian(loss)(theta))[-1].item()
    assert told == pytest.approx(largest, rel=1e-3)
    assert about["lengths"][0] == pytest.approx(float(theta.norm()), rel=1e-6)
    (rows,) = [table(path) for path in tmp_path.glob("line-??????????.csv")]
    low, middle, high = (float(row["loss"]) for row in rows)
    bend = (low - 2 * middle + high) / (1e-4 * about["lengths"][0]) ** 2
    assert bend == pytest.approx(largest, rel=1e-2)  # the eigenvector's error enters squared, rounding with 1e-16/h^2


def test_projection_is_least_squares() -> None:
    axes, points, origin = normal(1, 2, 7), normal(2, 5, 7), normal(3, 7)
    at, off = coordinates(points, origin, axes)
    wanted, *_ = np.linalg.lstsq(axes.T.numpy(), (points - origin).T.numpy(), rcond=None)
    assert at.numpy() == pytest.approx(wanted.T)
    assert off.numpy() == pytest.approx(np.linalg.norm((points - origin).numpy() - wanted.T @ axes.numpy(), axis=1))


WRONG = {
    ("nowhere",): "nowhere: no such folder",
    (".",): ".: no run's folder: it has no status.json; give the folder of a single run",
    ("A", "A"): "the same run is given twice; a line or plane needs different ones",
    ("A", "B", "C", "W"): "4 runs: must be one, two or three: a plane has room for three",
    ("A", "--match"): "--match: of two runs, and not of 1",
    ("A", "B", "--directions", "eigenvectors"): "--directions eigenvectors: of one run, and not of 2",
    ("A", "B", "--line"): "--line: of one run; 2 runs make a line",
    ("A", "--points", "1"): "--points 1: must be 2 to 1001",
    ("A", "--span", "nan"): "--span nan: must be a finite number > 0",
    ("A", "--examples", "9999"): "--examples 9999: must be at most the 300 examples there are",
    ("A", "W"): "linear_1.weight is (12, 64) and (14, 64); must be networks of one structure",
}


def test_wrong_input_is_one_line_and_writes_nothing(grid: Path, tmp_path: Path) -> None:
    names_there = {"A": "seed=0", "B": "seed=1", "C": "seed=2", "W": "width=14"}
    folders = {letter: named(grid, word) for letter, word in names_there.items()}
    for typed, wanted in WRONG.items():
        said = landscape(grid, *[folders.get(word, word) for word in typed], "--out", tmp_path / "out")
        assert (said.code, said.out, len(said.err)) == (1, [], 1), said
        assert wanted in said.err[0]
    (grid / "unfinished").mkdir()
    (grid / "unfinished" / "status.json").write_text("{}")
    said = landscape(grid, grid / "unfinished", "--out", tmp_path / "out")
    assert (said.code, said.out, len(said.err)) == (1, [], 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_where_there_is_no_direction_no_plane_or_no_number_a_line_says_so(tmp_path: Path) -> None:
    """All weights 0; a slope, which goes up and down and nowhere else; weights whose losses are not finite."""
    rows = [f"{at / 100},{at / 50}" for at in range(100)]
    (tmp_path / "slope.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    words = ("trainer.batch_size=8", "trainer.steps=3", "probe=off")
    cloud = (
        "data=gaussian",
        "data.examples=60",
        "data.val_size=6",
        "data.test_size=6",
        "model.depth=3",
        "model.width=3",
    )
    made = {
        "zeros": (*cloud, "initializer=zeros", "model.bias=false"),
        "single": (
            "data=csv",
            "data.path=slope.csv",
            "data.target=y",
            "model=linear",
            "model.bias=false",
            "loss=squared",
        ),
        "broken": (*cloud, "optimizer.lr=1e30"),
    }
    said = {}
    for name, more in made.items():
        assert fanin(tmp_path, *words, *more, f"hydra.run.dir={name}").code == 0
        said[name] = landscape(tmp_path, tmp_path / name, "--points", "3", "--out", tmp_path / "out")
    assert [(one.code, one.out) for one in (said["zeros"], said["single"])] == 2 * [(1, [])]
    assert "weight matrices are 0" in said["zeros"].err[0]
    assert "no plane; type --line" in said["single"].err[0]
    assert (said["broken"].code, said["broken"].err) == (0, [])
    assert said["broken"].out[0].endswith("no loss is a number")
