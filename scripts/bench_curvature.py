"""What the curvature and the landscape cost, as ratios within one run; the second part of `make bench`.

On the study's network (559,400 parameters) and batches of 100. CPU seconds, one thread but for the plane; each ratio is
the median over rounds of two works done one after the other in a round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bench import STUDY, load_digits, ratio
from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.landscape.directions import filter_normalized, names_of, vector_of
from fanin.landscape.evaluation import EXAMPLES, Losses
from fanin.probes.curvature.ends import warm_start
from fanin.probes.curvature.lanczos import lanczos
from fanin.probes.curvature.operators import unit
from fanin.probes.curvature.settings import Curvature
from fanin.process import keep_freed_memory
from fanin.record.recorder import Recorder
from fanin.record.run_folder import RunFolder
from fanin.run.build import recipe
from fanin.run.execute import Begun, assemble, batches_of
from fanin.run.identity import Identity
from fanin.run.networks import initialized, trained_model
from fanin.run.request import Request
from fanin.run.trained import Trained
from fanin.train.curvature_look import CurvatureLook
from fanin.train.curvature_state import CurvatureState
from fanin.train.trained_model import TrainedModel

GOALS = {
    "product with the Hessian / gradient": "at most 3.5",
    "the same, of data in two pieces": "at most 3.5",
    "products of a cold lambda_max, to 1 %": "at most 25",
    "products of a warm one, 50 steps later": "at most 5",
    "run with sharpness every 50 steps / without": "at most 1.25",
    "run with critical sharpness every 50 steps / without": "at most 1.06",
    "sharpness of 16 stacked runs / 16 times that of one": "at most 0.8",
    "point of a plane / its matrix products": "at most 1.5",
    "cores at work on a plane, of an idle machine": "all",
}
EVERY, RUNS = 50, 16


def main() -> None:
    """Print the ratios beside their goals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as a worker does, in which runs are stacked
    register_resolvers()
    with tempfile.TemporaryDirectory() as scratch, initialize_config_dir(str(config_folder()), version_base="1.3"):
        works: list[Callable[[], list[float]]] = [
            lambda: product_ratios(options.rounds), products_needed, lambda: run_ratios(options.rounds, Path(scratch)),
            lambda: stacked_ratio(options.rounds), lambda: plane(options.rounds),
        ]  # fmt: skip
        goals = iter(GOALS.items())
        for value in (value for work in works for value in work()):
            name, goal = next(goals)
            print(f"{value:6.2f}  {name}" + (f" ({goal})" if goal else ""), flush=True)


def member(seed: int = 0) -> tuple[TrainedModel, Any]:
    """The study's network in training, and its recipe."""
    made = recipe(compose("config", [*STUDY, f"seed={seed}"]))
    data = load_digits()
    return trained_model(made, initialized(made, data, data.train_x[:8]), batches_of([made], data)), made


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def product_ratios(rounds: int) -> list[float]:
    """A product with the Hessian over a gradient of the same data, whole and in two pieces."""
    own, _ = member()
    data, found = load_digits(), []
    look = CurvatureLook([own], Curvature(), [0])
    for examples in (100, 1500):
        losses = look.losses.at(data.train_x[:examples], data.train_y[:examples])
        if examples > 100:
            halves = [look.losses.at(x, y).pieces[0] for x, y in zip(
                data.train_x[:examples].chunk(2), data.train_y[:examples].chunk(2), strict=True)]  # fmt: skip
            losses.pieces = halves
        hessian, v = losses.hessian(), torch.randn_like(losses.theta)
        pairs = [
            (seconds(lambda h=hessian, v=v: h.matvec(v)), seconds(losses.gradient))  # type: ignore[misc]
            for _ in range(rounds + 1)
        ]
        found.append(ratio(*zip(*pairs[1:], strict=True)))  # type: ignore[arg-type]
    return found


def products_needed(looks: int = 8) -> list[float]:
    """The most that a cold start took, and the median of the warm ones; the looks are those of a run."""
    own, made = member()
    data = load_digits()
    batches = batches_of([made], data)
    look = CurvatureLook([own], Curvature(), [0])
    cold: list[int] = []
    warm: list[int] = []
    vectors: torch.Tensor | None = None
    for place in range(looks):
        losses = look.losses.at(data.train_x[:100], data.train_y[:100])
        start = unit(torch.randn(1, look.losses.size, generator=torch.Generator().manual_seed(place)))
        found = lanczos(losses.hessian(), start, tolerance=0.01)
        if vectors is not None:
            warm += lanczos(losses.hessian(), warm_start(vectors, start), tolerance=0.01).products
        cold, vectors = [*cold, *found.products], found.vectors[:, 0]
        for step in range(EVERY * place, EVERY * (place + 1)):
            x, y = batches(step)
            own.optimizer.zero_grad()
            torch.autograd.backward(own.method.minimized(own.model(x[0]), y[0], x[0]))
            own.optimizer.step()
    return [max(cold), statistics.median(warm)]


def run_ratios(rounds: int, folder: Path) -> list[float]:
    """Two times 50 steps of a whole run with one look each over the same without."""
    kinds: dict[str, list[str]] = {"off": []}
    for quantity in ("sharpness", "critical_sharpness"):
        kinds[quantity] = [f"probe.curvature.quantities=[{quantity}]", f"probe.curvature.every={EVERY}"]
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, words in kinds.items():
            found[name].append(two_periods([*STUDY, "probe=off", *words], folder))
    return [ratio(found[name], found["off"]) for name in ("sharpness", "critical_sharpness")]


def two_periods(words: Sequence[str], folder: Path) -> float:
    """CPU seconds from the start of step 50, with its look if there is one, to that of step 150."""
    made = recipe(compose("config", [*words, f"trainer.steps={3 * EVERY + 1}"]))
    data = load_digits()
    run_folder = RunFolder(folder)
    recorder = Recorder(run_folder)
    request = Request(OmegaConf.create(), Identity("runs", folder.name, {}, "", {}), run_folder)
    loop = assemble([Begun(request, made, recorder)], data, batches_of([made], data))
    starts: list[float] = []

    def asked() -> bool:
        """Whether to stop, which the loop asks before each step."""
        starts.append(time.process_time())
        return False

    loop.stop_requested = asked
    loop.train()
    recorder.close("done")
    return starts[3 * EVERY] - starts[EVERY]


def stacked_ratio(rounds: int) -> list[float]:
    """A look at 16 runs together over 16 times a look at one of them."""
    members = [member(seed)[0] for seed in range(RUNS)]
    data = load_digits()
    batch = data.train_x[:100], data.train_y[:100]
    settings = Curvature(quantities=["sharpness"])
    together = CurvatureLook(members, settings, range(RUNS))
    alone = [CurvatureLook([one], settings, [seed]) for seed, one in enumerate(members)]
    pairs = []
    for _ in range(max(1, rounds // 2) + 1):
        above = seconds(lambda: together(0, batch, [CurvatureState() for _ in members]))
        below = seconds(lambda: [one(0, batch, [CurvatureState()]) for one in alone])
        pairs.append((above, below))
    return [ratio(*zip(*pairs[1:], strict=True))]  # type: ignore[arg-type]


def plane(rounds: int, points: int = 16) -> list[float]:
    """Some of the 2,601 points of a plane against their matrix products; on all cores CPU over wall seconds."""
    own, made = member()
    data = load_digits()
    trained = Trained(Path(), OmegaConf.create(), made, data, own.model, {}, "")
    losses = Losses(trained, data.train_x, data.train_y)
    theta = vector_of(own.model)
    way = filter_normalized(theta, names_of(own.model), torch.Generator().manual_seed(0))
    there = theta + torch.linspace(-1, 1, points).unsqueeze(1) * way
    pairs = [
        (seconds(lambda: losses(there)), points * seconds(lambda: forward_products(len(data.train_x))))
        for _ in range(rounds + 1)
    ]
    torch.set_num_threads(max(1, os.cpu_count() or 1))
    wall = time.perf_counter()
    taken = seconds(lambda: losses(there))
    wall = time.perf_counter() - wall
    torch.set_num_threads(1)
    return [ratio(*zip(*pairs[1:], strict=True)), taken / wall]  # type: ignore[arg-type]


def forward_products(examples: int) -> None:
    """The matrix products of one evaluation and nothing else."""
    for fan_in, fan_out in pairwise([784, *[100] * 49, 10]):
        weight = torch.ones(fan_out, fan_in)
        for rows in torch.split(torch.ones(examples, fan_in), EXAMPLES):
            torch.mm(rows, weight.T)


if __name__ == "__main__":
    main()
