"""Run folders that keep the contract of a run's files, made of the study's random walk instead of a network."""

from __future__ import annotations

import csv
import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import digamma, polygamma
from scipy.stats import binom

from command_line import fanin, start

PROFILE_HEADER = "snapshot,axis,index,layer,quantity,value,theory,band_low,band_high"
README_SIZE = ("model.depth=2", "model.width=8", "data.limit=100", "trainer.steps=2", "hydra.launcher.n_jobs=2")
METRICS_HEADER = (
    "step,epoch,lr,batch_loss,batch_error,train_loss,train_error,val_loss,val_error,test_loss,test_error,seconds"
)


def typed(folder: Path, *words: str) -> None:
    """Type a grid, but small."""
    said = fanin(folder, "-m", *words, *README_SIZE)
    assert said.code == 0, said.err


@pytest.fixture(scope="session")
def readme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the grids of docs/comparing.md were typed, but small; not to be changed."""
    folder = tmp_path_factory.mktemp("readme")
    typed(folder, "optimizer.lr=0.001,0.1", "normalization=none,batch", "seed=0,1")
    typed(folder, "optimizer=sgd,adam", "seed=0,1,2")
    typed(folder, "data.fold=0,1,2", "regularizer=none,[dropout]")
    return folder


@pytest.fixture(scope="session")
def five_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Run folders that the real command wrote, of one recipe at five seeds; not to be changed."""
    folder = tmp_path_factory.mktemp("five")
    typed(folder, "seed=0,1,2,3,4")
    found = sorted(path.parent for path in folder.glob("outputs/runs/*/status.json"))
    assert len(found) == 5
    return found


@pytest.fixture
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each figure the beginning of its file is written, in place of the second that drawing takes."""
    png = b"\x89PNG\r\n\x1a\n" + bytes(8) + (640).to_bytes(4) + (480).to_bytes(4)
    monkeypatch.setattr("fanin.report.figures.saving.print_figure", lambda figure, path: path.write_bytes(png))


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """make_run, for the tests: pytest's import mode has no place for helpers to import."""
    return make_run


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in a process of its own; `fresh` in an interpreter of its own too, as a shell would."""

    def run(*arguments: object, columns: int = 80, fresh: bool = False) -> subprocess.CompletedProcess[str]:
        typed = [str(one) for one in arguments]
        process = start(Path.cwd(), *typed, module="fanin.report.cli", fresh=fresh, figures=True, COLUMNS=str(columns))
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(typed, process.wait(), out, err)

    return run


def walk_moments(width: int, c: float) -> tuple[float, float]:
    """E ln r and Var ln r of the study's definition, summed over K."""
    k = np.arange(1, width + 1)
    weight = binom.pmf(k, width, 0.5)
    mean = digamma(k / 2) + math.log(2) + math.log(c / width)
    first = float(weight @ mean)
    return first, float(weight @ (polygamma(1, k / 2) + mean**2)) - first**2


def activation_walk(c: float, seed: int, depth: int, width: int) -> np.ndarray:
    """||x_l|| / ||x_0|| sqrt(n_0 / n), l = 1..depth: one draw a seed, rescaled by c."""
    random = np.random.default_rng(seed)
    kept = random.binomial(width, 0.5, depth).clip(1)
    return np.exp(np.cumsum(np.log(c / width * random.chisquare(kept))) / 2)


def profile_rows(
    c: float, seed: int, depth: int, width: int, snapshot: str = "init", input_norm: float = 100.0
) -> list[list[Any]]:
    """Rows of profiles.csv in the contract's order of columns."""
    scale = input_norm * math.sqrt(width / 784)
    after = scale * activation_walk(c, seed, depth, width)
    first, second = walk_moments(width, c)
    layers = np.arange(1, depth + 1)
    median = scale * np.exp(layers * first / 2)
    spread = np.exp(np.sqrt(layers * second) / 2)
    square = scale * (c / 2) ** (layers / 2)
    moved = 0.0 if snapshot == "init" else 0.05
    final = 1.0 if snapshot == "init" else 1.05
    rows: list[list[Any]] = [[snapshot, "module", 1, "input", "activation_norm", input_norm, input_norm, "", ""]]
    rows += [[snapshot, "module", 1, "input", "activation_norm_mean_square", "", input_norm, "", ""]]
    for i in range(depth):
        theory = median[i], median[i] / spread[i], median[i] * spread[i]
        for index, layer, factor in ((2 * i + 2, f"linear_{i + 1}", 2**0.5), (2 * i + 3, f"relu_{i + 1}", 1.0)):
            if index > 2 * depth:
                continue
            ends = [factor * value for value in theory] if snapshot == "init" else ["", "", ""]
            rows.append([snapshot, "module", index, layer, "activation_norm", final * factor * after[i], *ends])
            mean_square = factor * square[i] if snapshot == "init" else ""
            rows.append([snapshot, "module", index, layer, "activation_norm_mean_square", "", mean_square, "", ""])
            for quantity in ("activation_gradient_norm", "dead_units", "activation_cosine", "activation_nonfinite"):
                rows.append([snapshot, "module", index, layer, quantity, 0.0, "", "", ""])
    level = (c / 2) ** (depth / 2)
    random = np.random.default_rng(seed + 1)
    for i in range(depth):
        layer = f"linear_{i + 1}"
        ends = [median[i], median[i] / spread[i], median[i] * spread[i]] if snapshot == "init" else ["", "", ""]
        gradient = level * math.sqrt(784 / width if i == 0 else 1)
        noise = math.exp(random.normal(0, 0.2))
        rows.append([snapshot, "weight", i + 1, layer, "activation_norm", final * after[i], *ends])
        rows.append([snapshot, "weight", i + 1, layer, "gradient_norm", gradient * noise, gradient, "", ""])
        rows.append([snapshot, "weight", i + 1, layer, "activation_norm_mean_square", "", square[i], "", ""])
        for quantity in ("gradient_nonfinite", "activation_nonfinite", "activation_cosine", "update_ratio"):
            rows.append([snapshot, "weight", i + 1, layer, quantity, 0.0, "", "", ""])
        rows.append([snapshot, "weight", i + 1, layer, "weight_norm", math.sqrt(c * width), "", "", ""])
        variance = c * (1 + random.normal(0, 0.014)) * (1 + moved**2)
        rows.append([snapshot, "weight", i + 1, layer, "weight_variance", variance, c, "", ""])
        rows.append(
            [snapshot, "weight", i + 1, layer, "weight_movement", moved * math.exp(random.normal(0, 0.1)), "", "", ""]
        )
    return rows


def metric_rows(c: float, seed: int, count: int, last: int, *, val: bool = False) -> list[list[Any]]:
    """Rows of metrics.csv: c near 2 learns, a smaller one stays at ln 10, a larger one is nan from step 2 on."""
    random = np.random.default_rng(seed)
    rows: list[list[Any]] = []
    for step in np.linspace(0, last, count).astype(int).tolist():
        share = step / last
        loss = math.log(10) + random.normal(0, 0.002)
        if 1.5 < c < 2.5:
            loss = 0.2 + 2.1 * math.exp(-4 * share) + random.normal(0, 0.03)
        if c >= 2.5:
            loss = 800.0 if step == 0 else math.nan
        error = min(0.9, loss / math.log(10))
        held_out = [loss + 0.05, error + 0.01] if val else ["", ""]
        rows.append([step, round(share, 4), 0.003, loss, error, "", "", *held_out, "", "", step / 100])
        if math.isnan(loss):
            break
    return rows


def write_csv(path: Path, header: str, rows: list[list[Any]]) -> None:
    """A CSV file as the engine writes it: lines end in a newline, floats in their shortest form."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(rows)


def make_run(
    grid: Path,
    *,
    c: float = 2.0,
    seed: int = 0,
    depth: int = 50,
    width: int = 100,
    state: str = "done",
    count: int = 50,
    last: int = 1000,
    final: bool = False,
    val: bool = False,
    overrides: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    init: dict[str, Any] | None = None,
    error: str | None = None,
    experiment: str = "init_study",
) -> Path:
    """One run's folder; `state` done becomes diverged by itself where c is 2.5 or more."""
    chosen = {"initializer.c": c, "seed": seed} if overrides is None else {**overrides, "seed": seed}
    folder = grid / ",".join(f"{key}={value}" for key, value in chosen.items())
    (folder / ".hydra").mkdir(parents=True)
    diverges = c >= 2.5 and count > 0
    state = "diverged" if diverges and state == "done" else state
    (folder / ".hydra" / "config.yaml").write_text(config_yaml(c, seed, depth, width, last if count else 0))
    choices = {**CHOICES, **{group: option for group, option in chosen.items() if "." not in group and group != "seed"}}
    listed = "".join(f"      {group}: {option}\n" for group, option in choices.items())
    (folder / ".hydra" / "hydra.yaml").write_text(f"hydra:\n  runtime:\n    choices:\n{listed}")
    (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {key}={value}\n" for key, value in chosen.items()))
    status = {
        "state": state, "step": 2 if diverges else last, "steps": last, "epoch": 1.0, "seconds": 3.5, "error": error,
        "started": "2026-01-01T00:00:00+00:00", "updated": "2026-01-01T00:01:00+00:00", "pid": 1,
    }  # fmt: skip
    (folder / "status.json").write_text(json.dumps(status))
    if state == "failed":
        (folder / "run.log").write_text(f"Traceback (most recent call last):\n{error}\n")
        return folder
    rows = profile_rows(c, seed, depth, width)
    if final:
        rows += profile_rows(c, seed, depth, width, "final")
    write_csv(folder / "profiles.csv", PROFILE_HEADER, rows)
    if count:
        write_csv(folder / "metrics.csv", METRICS_HEADER, metric_rows(c, seed, count, last, val=val))
    if state not in ("done", "diverged", "pruned"):
        return folder
    walk = activation_walk(c, seed, depth, width)
    first, second = walk_moments(width, c)
    learns = 1.5 < c < 2.5
    outcome = "diverged" if diverges else "init only" if not count else "learns" if learns else "no progress"
    measured = {
        "factor_per_layer": (walk[-2] / walk[0]) ** (1 / max(1, depth - 2)),
        "theory_factor": math.sqrt(c / 2),
        "expected_factor": math.exp(first / 2),
        "z": (2 * math.log(walk[-2]) - (depth - 1) * first) / math.sqrt((depth - 1) * second),
        "verdict": "critical" if learns else "vanishing" if c < 2 else "exploding",
        "gradient_first": 2.8 * (c / 2) ** (depth / 2),
        "gradient_last": (c / 2) ** (depth / 2),
        "activation_first": walk[0],
        "activation_last": walk[-1],
    } | (init or {})
    loss = "nan" if diverges else 0.23 if learns else math.log(10)
    result = {
        "run": folder.name, "experiment": experiment, "state": state, "outcome": outcome,
        "steps": status["step"], "epochs": 1.0, "seconds": 3.5,
        "metrics": {
            "train_loss": loss, "train_error": 0.0625 if learns else 0.9, "val_loss": None, "val_error": None,
            "test_loss": None, "test_error": None,
        } | (metrics or {}),
        "init": measured,
        "diverged": {"step": 2, "layer": "linear_17", "what": "activation"} if diverges else None,
        "overrides": chosen, "config_hash": f"{seed:x}", "device": "cpu", "parameters": 1,
        "classes": 10, "chance_loss": math.log(10),
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def config_yaml(c: float, seed: int, depth: int, width: int, steps: int) -> str:
    """A composed configuration, as far as a report reads it."""
    return (
        f"seed: {seed}\ndata:\n  _target_: fanin.parts.data.Mnist\n  root: data\n"
        f"model:\n  _target_: fanin.parts.models.mlp.MLP\n  depth: {depth}\n  width: {width}\n  bias: false\n"
        f"activation:\n  _target_: fanin.parts.activations.relu\n"
        f"initializer:\n  _target_: fanin.parts.initializers.VarianceScaling\n  c: {c}\n"
        f"optimizer:\n  _target_: fanin.parts.optimizers.SGD\n  _partial_: true\n  lr: 0.003\n"
        f"trainer:\n  steps: {steps}\n  batch_size: 100\n"
    )


CHOICES = {
    "data": "mnist", "model": "mlp", "activation": "relu", "normalization": "none",
    "initializer": "variance_scaling", "optimizer": "sgd",
}  # fmt: skip
