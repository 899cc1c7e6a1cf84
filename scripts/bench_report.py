"""Speed of the report at many runs: `make bench-report`, or with other sizes `ARGS='--runs 200 5000'`.

The folders are copies of one run that the real command writes, of 20 rows of metrics and about 100 of profiles each,
with other optimizers, learning rates and seeds and with other numbers: grids of 4 optimizers x 25 rates x seeds.
Seconds are those of the processor, for others may share the machine, and of the clock; memory is the most that one
process has taken. A further run is what `fanin-report --watch` takes until page and tables have it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

GOALS = {1000: "6 s, 2 GB; 1 s", 10000: "30 s, 2 GB; 1 s"}
RECIPE = ("data=digits", "model.depth=3", "model.width=16", "trainer.steps=95", "trainer.log_every=5")
OPTIMIZERS = ("sgd", "adam", "rmsprop", "lion")
RATES = [float(f"{10 ** (-4 + 3 * i / 24):.2g}") for i in range(25)]
HYDRA = (".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml")
KEPT = ("metrics.csv", "profiles.csv", "status.json", *HYDRA)


def main() -> None:
    """Print what the report takes at each number of runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the folders and the reports here")
    options = parser.parse_args()
    table = Table(title="fanin-report, every figure drawn")
    for column in ("runs", "processor s", "clock s", "memory, GB", "page, MB", "a further run, processor s", "goal"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as scratch:
        place = options.keep or Path(scratch)
        template = run_of(place / "template")
        for count in options.runs:
            grid = place / f"runs_{count}"
            if not grid.is_dir():
                write_grid(template, grid, count)
            processor, clock, memory = measured("fanin-report", str(grid))
            size = (grid / "report" / "index.html").stat().st_size / 1e6
            numbers = [f"{processor:.1f}", f"{clock:.1f}", f"{memory:.2f}", f"{size:.1f}", f"{further_run(grid):.1f}"]
            table.add_row(str(count), *numbers, GOALS.get(count, "-"))
    Console().print(table)


def run_of(folder: Path) -> Path:
    """The folder of one run that the command writes."""
    if not (folder / "result.json").is_file():
        command = [str(Path(sys.executable).with_name("fanin")), *RECIPE, f"hydra.run.dir={folder}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def write_grid(template: Path, grid: Path, count: int) -> None:
    """So many copies of a run."""
    texts = {name: (template / name).read_text() for name in KEPT}
    result = json.loads((template / "result.json").read_text())
    for number in range(count):
        rate, optimizer = RATES[number % 25], OPTIMIZERS[number // 25 % 4]
        write_copy(texts, result, grid, rate, optimizer, number // 100)


def write_copy(
    texts: dict[str, str], result: dict[str, Any], grid: Path, rate: float, optimizer: str, seed: int
) -> None:
    """One copy: numbers are scaled by what depends on the rate, the optimizer and, a little, on the seed."""
    chosen = {"optimizer": optimizer, "optimizer.lr": rate, "seed": seed}
    folder = grid / ",".join(f"{key}={value}" for key, value in chosen.items())
    (folder / ".hydra").mkdir(parents=True)
    noise = random.Random(f"{rate} {optimizer} {seed}")
    best = -2.5 + 0.4 * OPTIMIZERS.index(optimizer)
    error = min(0.9, 0.1 + 0.2 * (math.log10(rate) - best) ** 2 + abs(noise.gauss(0, 0.01)))
    config = {**result["config"], "seed": seed, "optimizer": {**result["config"]["optimizer"], "lr": rate}}
    metrics = {name: value * error for name, value in result["metrics"].items()}
    metrics |= {f"{part}_error": error + noise.gauss(0, 0.003) for part in ("train", "val", "test")}
    told = {"run": folder.name, "config": config, "overrides": chosen, "metrics": metrics}
    told["choices"] = {**result["choices"], "optimizer": optimizer}
    (folder / "result.json").write_text(json.dumps(result | told, indent=1))
    for name, text in texts.items():
        column = {"metrics.csv": 3, "profiles.csv": 5}.get(name)
        (folder / name).write_text(text if column is None else scaled(text, column, error * noise.uniform(0.97, 1.03)))


def scaled(text: str, column: int, factor: float) -> str:
    """A CSV file with one column of numbers multiplied."""
    header, *lines = text.splitlines()
    cells = [line.split(",") for line in lines]
    for row in cells:
        row[column] = repr(float(row[column]) * factor) if row[column] else ""
    return "\n".join([header, *map(",".join, cells), ""])


def further_run(grid: Path) -> float:
    """Seconds of the processor from a run that has come until the page and the tables have it, as `--watch` does it."""
    from fanin.report.make import write_report
    from fanin.report.read.kept import KeepingReader

    reader = KeepingReader()
    write_report([grid], redraw=False, reader=reader)  # the figures are there
    one, further = next(grid.glob("*,seed=0")), grid / "further,seed=1000000"
    shutil.copytree(one, further)
    start = time.process_time()
    write_report([grid], redraw=False, reader=reader, numbers_only=True)
    taken = time.process_time() - start
    shutil.rmtree(further)
    return taken


def measured(program: str, *words: str) -> tuple[float, float, float]:
    """Seconds of the processor and of the clock, and the most memory in GB, of a command in a process of its own."""
    start = time.perf_counter()
    command = [str(Path(sys.executable).with_name(program)), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{program} ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - start, used.ru_maxrss / 1e6


if __name__ == "__main__":
    main()
