"""The command `fanin-quantize`: a trained network with integers of 8 bits for weights and inputs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from fanin.cli.ending import ended
from fanin.cli.of_a_run import add_run, add_use, check_folder, check_least, classifier, tell, typed
from fanin.errors import choice
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
    add_run(made)
    made.add_argument("--mode", default="both", metavar="dynamic|static|both", help="how inputs are scaled (both)")
    made.add_argument(
        "--examples", type=int, default=1000, metavar="N", help="training examples to calibrate on (1000)"
    )
    add_use(made, "quantized")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, or 1 for a mistake, told in one line."""
    arguments = parser().parse_args(argv)
    return ended("fanin-quantize", lambda: _quantize(arguments))


def command() -> NoReturn:
    """The entry point of the shell's command."""
    run_command(main)


def _quantize(arguments: argparse.Namespace) -> None:
    check_least(arguments, examples=1, repeats=0)
    with typed():
        choice("mode", arguments.mode, ("dynamic", "static", "both"))
    check_folder(arguments.run)
    from fanin.api.application import prepare_process

    prepare_process()
    import torch

    from fanin.run.in_use import Form, compared, form_of
    from fanin.run.predicting import part_of
    from fanin.run.quantizing import MODES, quantized, write_quantized

    run = arguments.run.resolve()
    trained = classifier(arguments.run, "float32")
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
    tell(out, rows, [write_quantized(out / f"int8_{mode}.pt", made) for mode, made in found.items()])


if __name__ == "__main__":
    command()
