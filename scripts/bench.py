"""Speed of the study's step, as ratios within one run: `make bench`.

Every round times all variants one after the other on one torch thread, each for the same number of steps of the same
network (784 -> 100 x 49 -> 10, batch 100, plain SGD); a ratio is the median over rounds of the ratios within a
round, which a machine that speeds up or slows down between rounds does not disturb. Loops under `fanin.watch` are
timed beside a bare loop of their own, of that network and of resnet18 on batches of 8 images of 32 x 32: looks at each
step in a few steps, looks at each 50th in 50, one of which has one. Steps under `trainer.compile=true` are timed
beside eager ones, without the loop around them and after the first, which compiles.
"""

from __future__ import annotations

import argparse
import os
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.models import resnet18
from torchvision.transforms import v2

from fanin import Watch
from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.errors import OptionError
from fanin.parts.data import Dataset, Digits
from fanin.record.recorder import Recorder
from fanin.record.run_folder import RunFolder
from fanin.run.build import recipe
from fanin.run.execute import Begun, assemble, batches_of
from fanin.run.identity import Identity
from fanin.run.redraws import redrawn
from fanin.run.request import Request
from fanin.train.learner import Batch, Learner

STUDY = [
    "initializer=variance_scaling", "model.depth=50", "model.width=100", "model.bias=false", "optimizer.lr=0.003",
    "data.val_size=0", "trainer.checkpoint_every=0", "trainer.threads=1", "trainer.progress=false",
]  # fmt: skip
VARIANTS = {
    "fanin, probes off": ["probe=off"],
    "fanin, default cadence": ["probe.every=50"],  # of long runs
    "fanin, curves at every step": ["probe.every=1"],
}
TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "ToTensor": transforms.ToTensor(),
    "transforms.v2": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]),
}
BANDS = {"variance_scaling": [], "orthogonal": ["initializer=orthogonal"]}
GOALS = {
    "default cadence / probes off": "at most 1.03",
    "every step / probes off": "at most 1.25",
    "DataLoader loop, ToTensor / default cadence": "at least 2.5",
    "DataLoader loop, transforms.v2 / default cadence": "",
    "plain tensor loop / probes off": "",
    "probes off / matrix products alone": "",
}
WATCHES = {
    "watch every 50th step": (50, False, "at most 1.03"),
    "watch every step": (1, False, "at most 1.3"),
    "watch every step, update ratios too": (1, True, ""),
}
"""Steps between two looks, whether they come after the update, and the goal."""


def main() -> None:
    """Print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=100, help="steps of one variant in one round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    register_resolvers()
    with tempfile.TemporaryDirectory() as scratch, initialize_config_dir(str(config_folder()), version_base="1.3"):
        variants: dict[str, Callable[[int], float]] = {
            name: fanin_variant(overrides, Path(scratch) / name) for name, overrides in VARIANTS.items()
        }
        data = load_digits()
        write_idx(Path(scratch) / "MNIST" / "raw", data)
        for name, transform in TRANSFORMS.items():
            variants[f"plain loop, DataLoader, {name}"] = dataloader_loop(Path(scratch), transform)
        variants["plain loop on tensors"] = tensor_loop(data)
        variants["matrix products alone"] = matrix_products
        seconds = timed(variants, options.rounds, options.steps)
        # Rounds of a second or less each: more of them, or a slow moment of the machine decides.
        of_net = watch_ratios(partial(tensor_loop, data), Path(scratch) / "net", 3 * options.rounds, 25)
        of_images = watch_ratios(resnet_loop, Path(scratch) / "resnet18", 3 * options.rounds, 6)
        bands = {name: band_seconds(words) for name, words in BANDS.items()}
        compiled = compiled_line(Path(scratch) / "compiled", options.rounds, options.steps)
    show(seconds)
    print(compiled)
    show_bands(bands, statistics.median(seconds["fanin, default cadence"]))
    ratios = Table(title="loops under fanin.watch / the bare loop, median over rounds")
    for column in ("loop", "study's network", "resnet18", "goal"):
        ratios.add_column(column)
    for name, (_, _, goal) in WATCHES.items():
        ratios.add_row(name, f"{of_net[name]:.3f}", f"{of_images[name]:.3f}", goal)
    Console().print(ratios)


def watch_ratios(
    loop: Callable[..., Callable[[int], float]], folder: Path, rounds: int, steps: int
) -> dict[str, float]:
    """Seconds of a step under each kind of watch, over those of a bare step just before it; medians over rounds."""
    bare = loop()
    watched = {name: loop(folder / name, every, after=after) for name, (every, after, _) in WATCHES.items()}
    found: dict[str, list[float]] = {name: [] for name in WATCHES}
    for place in range(rounds + 1):
        for name, run in watched.items():
            below = bare(steps) / steps
            taken = max(steps, 50)  # the look at init, which every watch begins with, is one of many
            above = run(taken) / taken
            if place:  # the first is a warm-up
                found[name].append(above / below)
    return {name: statistics.median(values) for name, values in found.items()}


def timed(variants: dict[str, Callable[[int], float]], rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds a step of each variant in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for run in variants.values():  # a warm-up that does not count
        run(20)
    for _ in range(rounds):
        for name, run in variants.items():
            seconds[name].append(run(steps) / steps)
    return seconds


def ratio(above: list[float], below: list[float]) -> float:
    """The median over rounds."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def compiled_line(folder: Path, rounds: int, steps: int) -> str:
    """What a compiled step takes of an eager one just before it, the median over rounds; or why that is not known."""
    words = {"eager": [*STUDY, "probe=off"], "compiled": [*STUDY, "probe=off", "trainer.compile=true"]}
    try:
        recipes = {name: recipe(compose("config", typed)) for name, typed in words.items()}
    except OptionError as error:
        return f"compiled step / eager step: not measured; {error}"
    data = load_digits()
    batch = data.train_x[None, :100], data.train_y[None, :100]
    runs: dict[str, Callable[[int], float]] = {}
    first: dict[str, float] = {}
    for name, made in recipes.items():
        (folder / name).mkdir(parents=True)
        run_folder = RunFolder(folder / name)
        request = Request(OmegaConf.create(), Identity("runs", name, {}, "", {}), run_folder)
        begun = Begun(request, made, Recorder(run_folder))
        runs[name] = steps_of(assemble([begun], data, batches_of([made], data)).learner, batch)
        first[name] = runs[name](1)
    seconds = timed(runs, rounds, steps)
    share = ratio(seconds["compiled"], seconds["eager"])
    return f"compiled step / eager step: {share:.3f}; the first, which compiles, takes {first['compiled']:.1f} s"


def steps_of(learner: Learner, batch: Batch) -> Callable[[int], float]:
    """Seconds of so many steps on one batch, which is handed over as the loop does it."""

    def run(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            learner.step(batch, [0.003])
        return time.perf_counter() - start

    return run


def band_seconds(overrides: list[str]) -> float:
    """What 64 redraws of the study's network take, on as many threads as a run has by itself."""
    made = recipe(compose("config", [*STUDY, *overrides, "probe.redraws=64"]))
    data = load_digits()
    torch.set_num_threads(max(1, os.cpu_count() or 1))
    tic = time.perf_counter()
    found = redrawn(made, data, asked=True, steps=0)
    taken = time.perf_counter() - tic
    torch.set_num_threads(1)
    assert found.bands, found.why
    return taken


def show_bands(seconds: dict[str, float], step: float) -> None:
    """A table: seconds of the redraws of one recipe, and their share of a default init_study.

    That is three recipes of three seeds, 1,500 steps each, with `probe.band=redraw`: it pays once a recipe.
    """
    table = Table(
        title=f"64 redraws of the study's network, {os.cpu_count()} threads; at most 3 s, 15 % of an init_study"
    )
    for column in ("initializer", "seconds", "share of init_study"):
        table.add_column(column)
    for name, taken in seconds.items():
        table.add_row(name, f"{taken:.2f}", f"{100 * 3 * taken / (9 * 1500 * step):.0f} %")
    Console().print(table)


def show(seconds: dict[str, list[float]]) -> None:
    """Two tables: milliseconds a step, and the ratios beside their goals."""
    console = Console()
    times = Table(title=f"50-layer step, batch 100, one thread, torch {torch.__version__}")
    for column in ("variant", "ms a step (median)", "min", "max"):
        times.add_column(column, justify="left" if column == "variant" else "right")
    for name, values in seconds.items():
        times.add_row(name, *(f"{1e3 * value:.2f}" for value in (statistics.median(values), min(values), max(values))))
    console.print(times)
    off, default, every, loader, loader_v2, plain, products = seconds.values()
    pairs = (
        (default, off), (every, off), (loader, default), (loader_v2, default), (plain, off), (off, products),
    )  # fmt: skip
    ratios = Table(title="ratios, median over rounds")
    for column in ("ratio", "value", "goal"):
        ratios.add_column(column)
    for (name, goal), (above, below) in zip(GOALS.items(), pairs, strict=True):
        ratios.add_row(name, f"{ratio(above, below):.3f}", goal)
    console.print(ratios)


def load_digits() -> Dataset:
    """The training set of the benchmarks."""
    return Digits(val_size=0).load()


def fanin_variant(overrides: list[str], folder: Path) -> Callable[[int], float]:
    """The whole loop of fanin with its files; the clock is the run's own, which stands still for profiles."""

    def run(steps: int) -> float:
        made = recipe(compose("config", [*STUDY, *overrides, f"trainer.steps={steps}"]))
        data = load_digits()
        run_folder = RunFolder(folder)
        recorder = Recorder(run_folder)
        request = Request(OmegaConf.create(), Identity("runs", folder.name, {}, "", {}), run_folder)
        loop = assemble([Begun(request, made, recorder)], data, batches_of([made], data))
        loop.train()
        recorder.close("done")
        return loop.runs[0].seconds

    folder.mkdir(parents=True)
    return run


def network() -> nn.Sequential:
    """The study's network as a PyTorch user writes it."""
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(784, 100, bias=False), nn.ReLU()]
    for _ in range(48):
        layers += [nn.Linear(100, 100, bias=False), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(100, 10, bias=False))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return model


def dataloader_loop(root: Path, transform: Callable[[Any], Any]) -> Callable[[int], float]:
    """torchvision's MNIST class, a shuffling DataLoader and torch.optim.SGD, as tutorials have it.

    The files under `root` are the bundled digits in MNIST's format, so that no download is needed.
    """
    loader = DataLoader(datasets.MNIST(root, transform=transform), batch_size=100, shuffle=True)
    return timed_loop(lambda: iter(loader))


def matrix_products(steps: int) -> float:
    """The matrix products of a step and nothing else: what no eager loop can be faster than."""
    sizes = [784, *[100] * 49, 10]
    pairs = [(torch.randn(100, fan_in), torch.randn(fan_out, fan_in)) for fan_in, fan_out in pairwise(sizes)]
    deltas = [torch.randn(100, fan_out) for fan_out in sizes[1:]]
    start = time.perf_counter()
    for _ in range(steps):
        for layer, ((x, weight), delta) in enumerate(zip(pairs, deltas, strict=True)):
            torch.mm(x, weight.T)
            torch.mm(delta.T, x)
            if layer:  # nothing flows back into the images
                torch.mm(delta, weight)
    return time.perf_counter() - start


def tensor_loop(
    data: Dataset, folder: Path | None = None, every: int = 50, *, after: bool = False
) -> Callable[[int], float]:
    """The same loop on batches indexed out of a tensor; under a watch where there is a folder for it."""

    def batches():  # type: ignore[no-untyped-def]
        for chosen in torch.split(torch.randperm(len(data.train_x)), 100):
            yield data.train_x[chosen], data.train_y[chosen]

    return timed_loop(batches, folder=folder, every=every, after=after)


def resnet_loop(folder: Path | None = None, every: int = 50, *, after: bool = False) -> Callable[[int], float]:
    """The plain loop on torchvision's resnet18 and batches of 8 images of 32 x 32."""
    images, labels = torch.randn(8, 3, 32, 32), torch.randint(10, (8,))
    return timed_loop(lambda: [(images, labels)] * 50, resnet18(num_classes=10), folder, every, after=after)


def timed_loop(  # type: ignore[no-untyped-def]
    epoch, model: nn.Module | None = None, folder: Path | None = None, every: int = 50, *, after: bool = False
) -> Callable[[int], float]:
    """The plain training loop over batches from `epoch()`, of the study's network; under a watch in a folder."""
    model = network() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003)
    loss_of = nn.CrossEntropyLoss()

    def run(steps: int) -> float:
        watch = None if folder is None else Watch(model, folder, every=every, overwrite=True)
        done, start = 0, time.perf_counter()
        while True:
            for inputs, targets in epoch():
                optimizer.zero_grad()
                loss = loss_of(model(inputs), targets)
                loss.backward()
                if watch is not None and not after:
                    watch.step(loss=loss)
                optimizer.step()
                if watch is not None and after:
                    watch.step(optimizer, loss=loss)
                done += 1
                if done == steps:
                    seconds = time.perf_counter() - start
                    if watch is not None:
                        watch.close()
                    return seconds

    return run


def write_idx(folder: Path, data: Dataset) -> None:
    """The training part in MNIST's idx format, both as its training and as its test files."""
    folder.mkdir(parents=True)
    images = (data.train_x.flatten(1) * 255).round().to(torch.uint8)
    labels = data.train_y.to(torch.uint8)
    for part in ("train", "t10k"):
        header = struct.pack(">IIII", 0x803, len(images), 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.numpy().tobytes())
        header = struct.pack(">II", 0x801, len(labels))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.numpy().tobytes())


if __name__ == "__main__":
    main()
