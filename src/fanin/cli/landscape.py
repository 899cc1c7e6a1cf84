"""The command `fanin-landscape`: the loss over lines and planes through trained weights."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fanin.cli.ending import ended
from fanin.errors import UserError, counted
from fanin.process import run_command
from fanin.report.cli import Parser

if TYPE_CHECKING:
    from fanin.record.landscape_files import Floats

MOST = 1001
"""Points along an axis."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = Parser(
        prog="fanin-landscape",
        description="The loss over a line or a plane through trained weights: of one run around it, of two the line "
        "between them, of three the plane.",
        epilog="examples: fanin-landscape outputs/runs/RUN; fanin-landscape RUN --line --points 101; "
        "fanin-landscape RUN OTHER --match",
        allow_abbrev=False,
    )
    made.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="one to three run folders of one structure")
    made.add_argument("--line", action="store_true", help="of one run: a line in place of a plane")
    made.add_argument(
        "--directions", choices=("random", "eigenvectors"), default="random",
        help="of one run: random ones, or the top eigenvectors of the Hessian (random)",
    )  # fmt: skip
    made.add_argument("--points", type=int, metavar="N", help="along an axis (51 on a line, 25 on a plane)")
    made.add_argument(
        "--span", type=float, metavar="S",
        help="of one run from -S to S, in lengths of its filters (1) or, along eigenvectors, of all its weights (0.1); "
        "of several the share of the way beyond them (0.2)",
    )  # fmt: skip
    made.add_argument("--part", choices=("train", "test"), default="train", help="of the data (train)")
    made.add_argument("--examples", type=int, metavar="N", help="a share of it: so many, drawn once (all)")
    made.add_argument(
        "--match",
        action="store_true",
        help="of two: put the second one's hidden units into the first one's order",
    )
    made.add_argument(
        "--rescale", type=float, metavar="A",
        help="of one run with relu: its first hidden layer times A and the next divided by A, the same function",
    )  # fmt: skip
    made.add_argument(
        "--precision", choices=("float32", "float64"), help="(the run's own; float64 between two and rescaled)"
    )
    made.add_argument("--seed", type=int, default=0, help="of directions and of drawn examples (0)")
    made.add_argument("--threads", type=int, metavar="N", help="of torch (all cores)")
    made.add_argument("--out", type=Path, metavar="DIR", help="where to write (landscape/ in the runs' folder)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, or 1 for a mistake, told in one line."""
    arguments = parser().parse_args(argv)

    def work() -> None:
        _checked(arguments)
        _make(arguments)

    return ended("fanin-landscape", work)


def command() -> NoReturn:
    """The entry point of the shell's command."""
    run_command(main)


def _checked(arguments: argparse.Namespace) -> None:
    """Fill in what depends on the number of runs, and refuse what does not fit.

    Raises:
        UserError: so it is.
    """
    count = len(arguments.runs)
    if count > 3:
        raise UserError(f"{count} runs: must be one, two or three: a plane has room for three")
    for folder in arguments.runs:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        if not ((folder / "status.json").is_file() or (folder / "result.json").is_file()):
            raise UserError(f"{folder}: no run's folder: it has no status.json; give the folder of a single run")
    if len({folder.resolve() for folder in arguments.runs}) < count:
        raise UserError("the same run is given twice; a line or plane needs different ones")
    if arguments.line and count != 1:
        raise UserError(f"--line: of one run; {count} runs make a {'line' if count == 2 else 'plane'}")
    if arguments.directions != "random" and count != 1:
        raise UserError(f"--directions {arguments.directions}: of one run, and not of {count}")
    if arguments.match and count != 2:
        raise UserError(f"--match: of two runs, and not of {count}")
    if arguments.rescale is not None and count != 1:
        raise UserError(f"--rescale: of one run, and not of {count}")
    if arguments.rescale is not None and not (math.isfinite(arguments.rescale) and arguments.rescale > 0):
        raise UserError(f"--rescale {arguments.rescale:g}: must be a finite number > 0")
    line = arguments.line or count == 2
    arguments.points = (51 if line else 25) if arguments.points is None else arguments.points
    usual = 0.2 if count > 1 else 1.0 if arguments.directions == "random" else 0.1
    arguments.span = usual if arguments.span is None else arguments.span
    limits = {"points": (2, MOST), "examples": (1, math.inf), "threads": (1, 1024), "seed": (0, math.inf)}
    for name, (low, high) in limits.items():
        value = getattr(arguments, name)
        if value is not None and not low <= value <= high:
            allowed = f"at least {low}" if high == math.inf else f"{low} to {high}"
            raise UserError(f"--{name} {value}: must be {allowed}")
    if not (math.isfinite(arguments.span) and (arguments.span > 0 or (count > 1 and arguments.span == 0))):
        raise UserError(f"--span {arguments.span:g}: must be a finite number {'> 0' if count == 1 else '>= 0'}")


def _range(finite: Floats, count: int) -> str:
    """The losses that are numbers, and at how many points there is none."""
    missing = count - finite.size
    said = f"loss {finite.min():.4g} to {finite.max():.4g}" if finite.size else "no loss is a number"
    return said + (f"; at {counted(missing, 'point')} it is no number" if missing and finite.size else "")


def _make(arguments: argparse.Namespace) -> None:
    import numpy as np
    import torch

    from fanin.api.application import prepare_process
    from fanin.landscape.surfaces import landscape_of
    from fanin.record.landscape_files import FOLDER, Asked
    from fanin.report.figures.landscape import draw_landscape

    prepare_process()
    torch.set_num_threads(arguments.threads or os.cpu_count() or 1)
    keys = ("line", "directions", "points", "span", "part", "examples", "match", "rescale", "precision", "seed")
    asked = Asked(
        runs=tuple(str(folder.resolve()) for folder in arguments.runs), **{key: getattr(arguments, key) for key in keys}
    )
    out = arguments.out or Path(os.path.commonpath([folder.resolve().parent for folder in arguments.runs])) / FOLDER
    beyond = 2 * int(asked.span * (asked.points - 1) + 1e-9) if len(asked.runs) == 2 else 0
    with _bar(asked.points + beyond if asked.is_line else asked.points**2) as started:
        found = landscape_of(asked, started)
    files = [*found.write(out, asked.name), *draw_landscape(found, out, asked.name)]
    of = f"{found.loss.size} points, {found.about['examples']} examples"
    print(f"{found.about['kind']} of {of}: {_range(found.loss[np.isfinite(found.loss)], found.loss.size)}")
    if asked.rescale is not None:
        after, before = found.about["rescaled_loss"], found.about["unscaled_loss"]
        print(f"rescaled by {asked.rescale:g}: loss {after:.12g}, as it was {before:.12g}")
    if "eigenvalues" in found.about:
        print("largest eigenvalues " + ", ".join(f"{value:.4g}" for value in found.about["eigenvalues"]))
    if len(asked.runs) == 2:
        print(f"barrier {found.barrier:.4g}" + (", hidden units matched" if asked.match else ""))
    for file in files:
        print(os.path.relpath(file) if not os.path.relpath(file).startswith("..") else file)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda count: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("points", total=total)
        yield lambda count: bar.advance(task, count)


if __name__ == "__main__":
    command()
