"""The command `fanin-quantize`: a trained network with integers of 8 bits for weights and inputs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from fanin.cli.ending import ended
from fanin.errors import UserError, choice
from fanin.process import run_command
from fanin.report.cli import Parser


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = Parser(
        prog="fanin-quantize",
        description="The linear layers of a trained network in integers of 8 bits: inputs by the largest magnitude of "
        "each example (dynamic), or of what a layer was given in the training part (static). in_use.csv compares both "
        "with the trained network: error with its interval, bytes, zeros, latency.",
        epilog="examples: fanin-quantize outputs/runs/RUN; fanin-quantize RUN --mode static --examples 500",
        allow_abbrev=False,
    )
    made.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    made.add_argument("--mode", default="both", metavar="dynamic|static|both", help="how inputs are scaled (both)")
    made.add_argument(
        "--examples", type=int, default=1000, metavar="N", help="training examples to calibrate on (1000)"
    )
    made.add_argument("--repeats", type=int, default=30, metavar="N", help="timed answers (30), 0 for none")
    made.add_argument("--out", type=Path, metavar="DIR", help="where to write (in quantized/ beside the run)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, or 1 for a mistake, told in one line."""
    arguments = parser().parse_args(argv)
    return ended("fanin-quantize", lambda: _quantize(arguments))


def command() -> NoReturn:
    """The entry point of the shell's command."""
    run_command(main)


def _quantize(arguments: argparse.Namespace) -> None:
    for name, low in (("examples", 1), ("repeats", 0)):
        if getattr(arguments, name) < low:
            raise UserError(f"--{name} {getattr(arguments, name)}: must be at least {low}")
    try:
        choice("mode", arguments.mode, ("dynamic", "static", "both"))
    except UserError as error:
        raise UserError(f"--{str(error).replace('=', ' ', 1)}") from None
    if not arguments.run.is_dir():
        raise UserError(f"{arguments.run}: no such folder")
    from fanin.api.application import prepare_process

    prepare_process()
    import torch

    from fanin.run.in_use import Form, compared, form_of, told, write_in_use
    from fanin.run.predicting import part_of
    from fanin.run.quantizing import MODES, quantized, write_quantized
    from fanin.run.trained import trained_run

    run = arguments.run.resolve()
    trained = trained_run(run, "float32")
    if not trained.recipe.method.loss.classification:
        raise UserError(f"{arguments.run}: its targets are no classes, whose error could be compared")
    inputs, targets = part_of(trained.data, "test")
    modes = MODES if arguments.mode == "both" else (arguments.mode,)
    found = {mode: quantized(trained.model, mode, trained.data.train_x[: arguments.examples]) for mode in modes}
    torch.set_num_threads(1)
    masks = trained.recipe.mask.masks() if trained.recipe.mask is not None else None
    forms = [form_of("trained", trained, masks)]
    forms += [
        Form(f"int8 {mode}", torch.no_grad()(made.model), made.bytes, made.zeros, run) for mode, made in found.items()
    ]
    rows = compared(forms, inputs, targets, arguments.repeats)
    out = (arguments.out or run.parent / "quantized" / run.name).resolve()
    files = [write_quantized(out / f"int8_{mode}.pt", made) for mode, made in found.items()]
    for row in rows:
        print(told(row))
    for path in (*files, write_in_use(out, rows)):
        print(path)


if __name__ == "__main__":
    command()
