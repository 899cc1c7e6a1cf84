"""Speed of grids, as ratios within one run: `make bench-grid`.

64 runs of the study's network (784 -> 100 x 49 -> 10, batch 100, plain SGD, default probes), by fanin's launchers as
whole commands from return to summary, against the same training by a Lightning + DataLoader script, one run after the
other. Lightning's time counts from its first `fit`, its imports left out; of its runs a few are timed and scaled up.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench import STUDY, load_digits, matrix_products, network, write_idx
from fanin import process
from fanin.parts.data import Digits
from fanin.record.search_files import FOLDER
from fanin.search.methods import proposer_of
from fanin.search.random_proposals import TrialResult
from fanin.search.settings import DEFAULTS, Settings
from fanin.search.space import Axis, Space

GOALS = {
    "fused, run-steps a second / Lightning": "at least 6",
    "matrix products of both cores / Lightning: the most with torch's products": "-",
    "fused / pool": "at least 1.0",
    "fused, time a further run-step / matrix products of both cores": "at most 1.6",
    "the same, of the whole command with its start and report": "-",
    "ms a job, 1,000 one-step runs, auto": "at most 30",
    "s for the same command again": "at most 5",
    "s for 3 x 64 profiles at init, auto, from return to report": "at most 10",
    "s for fanin-report on the 1,000 runs, every figure drawn": "at most 10",
    "halving search of 81 configurations: basic / auto": "at least 2",
    "the same, auto / as many run-steps of 81 runs, fused": "at most 1.5",
    "ms to propose and write down a trial, tpe over four axes, the last 80 of 1,000": "at most 30",
    "s for fanin --help": "at most 0.6",
    "ms to load the bundled digits": "at most 100",
}
SEARCHED = 81 * 10 + 27 * 20 + 9 * 60 + 3 * 180 + 1 * 540
"""Run-steps of the search, on all of its rungs."""

GRID = [part for part in STUDY if not part.startswith(("trainer.checkpoint", "trainer.progress"))]


def main() -> None:
    """Print run-steps a second, and the figures beside their goals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--lightning-runs", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1000, help="of the grid of one-step runs")
    options = parser.parse_args()
    cores = process.cores()
    run_steps = options.runs * options.steps
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        taken = {}
        for launcher, steps in (("pool", options.steps), ("fused", options.steps), ("fused", options.steps // 4)):
            words = [f"seed=range(0,{options.runs})", f"trainer.steps={steps}", f"hydra/launcher={launcher}"]
            taken[launcher, steps] = command([*GRID, *words], Path(scratch) / f"{launcher}_{steps}")
        rates |= {launcher: run_steps / taken[launcher, options.steps] for launcher in ("pool", "fused")}
        further = taken["fused", options.steps] - taken["fused", options.steps // 4]
        further /= options.runs * (options.steps - options.steps // 4)
        seconds = lightning_seconds(options.lightning_runs, options.steps, Path(scratch))
        rates["Lightning, one after the other"] = options.lightning_runs * options.steps / seconds
        torch.set_num_threads(1)
        bound = statistics.median(matrix_products(50) / 50 for _ in range(9)) / cores
        words = [f"seed=range(0,{options.jobs})", "trainer.steps=1", "hydra/launcher=auto"]
        first = command(words, Path(scratch) / "jobs")
        second = command(words, Path(scratch) / "jobs")
        words = ["experiment=init_study", "trainer.steps=0", "seed=range(0,64)", "hydra/launcher=auto"]
        profiles = command(words, Path(scratch) / "profiles")
        report = timed("fanin-report", str(Path(scratch) / "jobs"))
        searches = {one: search_seconds(one, Path(scratch)) for one in ("auto", "basic")}
        words = ["seed=range(0,81)", f"trainer.steps={SEARCHED // 81}", "hydra/launcher=fused"]
        together = command([*GRID, *words], Path(scratch) / "together")
        proposing = proposing_ms(Path(scratch) / "proposals")
        start = min(timed("fanin", "--help") for _ in range(3))
    fused, lightning = rates["fused"], rates["Lightning, one after the other"]
    figures = [
        f"{fused / lightning:.2f}",
        f"{1 / bound / lightning:.2f}",
        f"{fused / rates['pool']:.2f}",
        f"{further / bound:.2f}",
        f"{1 / fused / bound:.2f}",
        f"{1e3 * first / options.jobs:.1f}",
        f"{second:.1f}",
        f"{profiles:.1f}",
        f"{report:.1f}",
        f"{searches['basic'] / searches['auto']:.2f}",
        f"{searches['auto'] / together:.2f}",
        f"{proposing:.1f}",
        f"{start:.2f}",
        f"{1e3 * min(loading() for _ in range(5)):.0f}",
    ]
    console = Console()
    table = Table(title=f"{options.runs} runs of {options.steps} steps, {cores} cores, torch {torch.__version__}")
    table.add_column("way")
    table.add_column("run-steps a second", justify="right")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:.0f}")
    console.print(table)
    table = Table(title="figures")
    for column in ("figure", "value", "goal"):
        table.add_column(column)
    for (name, goal), value in zip(GOALS.items(), figures, strict=True):
        table.add_row(name, value, goal)
    console.print(table)


def command(words: list[str], folder: Path) -> float:
    """Seconds that `fanin -m ...` takes, from return to summary."""
    return timed("fanin", "-m", *words, f"hydra.sweep.dir={folder}")


def search_seconds(launcher: str, scratch: Path) -> float:
    """Seconds that successive halving of 81 configurations takes: rungs of 10, 30, 90, 270 and 810 steps."""
    rates = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
    typed = [part for part in GRID if not part.startswith(("optimizer.lr", "data.val_size"))]
    words = ["hydra/sweeper=search", "hydra.sweeper.budget=halving", "trainer.steps=810", rates]
    return command([*typed, *words, f"hydra/launcher={launcher}"], scratch / f"search_{launcher}")


def proposing_ms(grid: Path, trials: int = 1000, last: int = 80) -> float:
    """Milliseconds a trial of the last of so many: proposed by tpe in batches of 8, told its value, written down."""
    axes = [
        Axis("optimizer.lr", "float", 1e-4, 1.0, log=True),
        Axis("regularizer.l2.strength", "float", 1e-6, 1e-2, log=True),
        Axis("model.depth", "int", 2, 19),
        Axis("activation", "choice", choices=("relu", "tanh", "gelu")),
    ]
    settings = Settings.of(DEFAULTS | {"method": "tpe"})
    (grid / FOLDER).mkdir(parents=True)
    proposer = proposer_of(settings, Space(axes, [], [], []), grid, fresh=False)
    values = random.Random(0)
    start = 0.0
    for first in range(0, trials, settings.batch):
        if first == trials - last:
            start = time.perf_counter()
        jobs = proposer.propose(settings.batch)
        proposer.record()
        proposer.tell([TrialResult(trial, (values.random(),), "done", {9: 0.0}, ("",)) for trial in jobs])
    return 1e3 * (time.perf_counter() - start) / last


def timed(program: str, *words: str) -> float:
    """Seconds that a command takes."""
    start = time.perf_counter()
    typed = [str(Path(sys.executable).with_name(program)), *words]
    subprocess.run(typed, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def loading() -> float:
    """Seconds that the bundled digits take to load."""
    start = time.perf_counter()
    Digits().load()
    return time.perf_counter() - start


def lightning_seconds(runs: int, steps: int, scratch: Path) -> float:
    """Seconds of so many runs by Lightning, on torch's own choice of threads."""
    import logging
    import warnings

    import lightning
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    write_idx(scratch / "MNIST" / "raw", load_digits())

    class Study(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = network()

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
            loss = nn.functional.cross_entropy(self.model(batch[0]), batch[1])
            self.log("train/loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.003)

    start = time.perf_counter()
    for seed in range(runs):
        lightning.seed_everything(seed, verbose=False)
        loader = DataLoader(datasets.MNIST(scratch, transform=transforms.ToTensor()), batch_size=100, shuffle=True)
        trainer = lightning.Trainer(
            max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=scratch,
        )  # fmt: skip
        trainer.fit(Study(), loader)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
