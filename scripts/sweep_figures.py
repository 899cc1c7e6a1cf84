"""The reference pictures of sweeps in docs/figures/sweeps, from tiny real runs: `python scripts/sweep_figures.py`.

Each sweep is run (what is finished is not run again) and reported as a person would, and one figure of its report is
kept, small. The digits are within scikit-learn; all sweeps together take some minutes on two cores.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path

from PIL import Image

from fanin import run
from few_colours import few_colours

HERE = Path(__file__).parents[1] / "docs" / "figures" / "sweeps"
SMALL = ["data=digits", "model.depth=3", "model.width=16", "trainer.steps=20"]
FUSED = ["hydra/launcher=fused"]
RATES = "optimizer.lr=0.001,0.01,0.1,1,10"
GRIDS = {
    "optimizers": [*FUSED, "optimizer=sgd,momentum,adam,rmsprop", RATES, "seed=range(10)"],
    "activations": [
        *FUSED, "activation=relu,tanh,gelu,selu,sigmoid,identity", "initializer=variance_scaling",
        "initializer.c=0.5,2,8", "model.depth=10", "seed=0,1,2",
    ],
    "two_numbers": [
        *FUSED, "initializer=variance_scaling",
        f"optimizer.lr={','.join(f'{10 ** (-3 + 4 * i / 14):.2g}' for i in range(15))}",
        f"initializer.c={','.join(f'{10 ** (-1 + 2 * i / 14):.2g}' for i in range(15))}",
    ],
    "folds": [*FUSED, "data.folds=5", "data.fold=range(5)", "optimizer=sgd,adam"],
    "diverged": [*FUSED, "optimizer=gd,sgd", "optimizer.lr=0.1,1,1e3,1e20", "activation=relu,identity", "seed=0,1,2"],
}  # fmt: skip
SHOWN = {"optimizers": "curves", "two_numbers": "curves", "random": "curves", "folds": "curves", "diverged": "curves"}
"""The figure that is kept of each, else the study's."""


MOST = 60_000  # bytes of a picture


def main() -> None:
    """Run and draw all sweeps, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*GRIDS, "random", "one", "unfinished"]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument(
        "--runs", type=Path, default=Path("outputs/sweeps"), help="where the runs are (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=HERE, help="where the pictures go")
    typed = parser.parse_args()
    typed.out.mkdir(parents=True, exist_ok=True)
    for name in typed.names or names:
        folder = typed.runs / name
        make(name, folder)
        subprocess.run([Path(sys.executable).with_name("fanin-report"), folder], check=True, stdout=subprocess.DEVNULL)
        keep(folder / "report" / f"{SHOWN.get(name, 'study')}.png", typed.out / f"{name}.png")


def make(name: str, folder: Path) -> None:
    """Run a sweep; 300 random configurations one by one; of the unfinished, states are left as a kill leaves them."""
    if name == "random":
        drawn = random.Random(0)
        for i in range(300):
            lr, c, width = 10 ** drawn.uniform(-3, 1), 10 ** drawn.uniform(-1, 1), drawn.randint(8, 64)
            words: list[str] = [f"optimizer.lr={lr:.3g}", f"initializer.c={c:.3g}", f"model.width={width}"]
            words += [f"optimizer={drawn.choice(['sgd', 'adam'])}", "initializer=variance_scaling"]
            run([*SMALL[:2], *SMALL[3:], *words], folder=folder / f"{i:03}")
    elif name == "one":
        run([*SMALL, "trainer.steps=100"], folder=folder / "run")
    elif name == "unfinished":
        grid([*SMALL, "optimizer.lr=0.01,0.1", "seed=0,1"], folder)
        for status in folder.glob("*/status.json"):
            (status.parent / "result.json").unlink(missing_ok=True)
            status.write_text(status.read_text().replace('"done"', '"interrupted"'))
    else:
        grid([*SMALL, *GRIDS[name]], folder)


def grid(words: list[str], folder: Path) -> None:
    """Run a grid as the command does."""
    command = [str(Path(sys.executable).with_name("fanin")), "-m", *words, f"hydra.sweep.dir={folder}"]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)


def keep(source: Path, target: Path) -> None:
    """A smaller copy with few colours, of 60 kB at most: pictures in a repository should weigh little."""
    whole = Image.open(source).convert("RGB")
    for width, colours in ((1100, 64), (1100, 32), (900, 32), (700, 24), (560, 16), (420, 12)):
        height = round(whole.height * width / whole.width)
        small = whole.resize((width, height), Image.Resampling.LANCZOS) if whole.width > width else whole
        few_colours(small, colours).save(target, optimize=True)
        if target.stat().st_size < MOST:
            break


if __name__ == "__main__":
    main()
