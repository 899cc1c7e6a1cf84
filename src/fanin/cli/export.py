"""The command `fanin-export`: a trained network as a program that runs without fanin."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from fanin.cli.ending import ended
from fanin.cli.of_a_run import add_run, add_use, check_folder, check_least, tell, typed
from fanin.errors import UserError, choice
from fanin.process import run_command
from fanin.report.cli import Parser


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = Parser(
        prog="fanin-export",
        description="Write a trained network as a program for any number of examples, checked against the network on "
        "the test part: pt2, which torch.export.load reads, or onnx. It takes inputs as preprocessing leaves them. "
        "in_use.csv compares both: error with its interval, bytes, latency.",
        epilog="examples: fanin-export outputs/runs/RUN; fanin-export RUN --format onnx --out model",
        allow_abbrev=False,
    )
    add_run(made)
    made.add_argument("--format", default="pt2", metavar="pt2|onnx", help="of the file (pt2)")
    add_use(made, "exported")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, or 1 for a mistake, told in one line."""
    arguments = parser().parse_args(argv)
    return ended("fanin-export", lambda: _export(arguments))


def command() -> NoReturn:
    """The entry point of the shell's command."""
    run_command(main)


def _export(arguments: argparse.Namespace) -> None:
    check_least(arguments, repeats=0)
    with typed():
        kind = choice("format", arguments.format, ("pt2", "onnx"))
    check_folder(arguments.run)
    from fanin.api.application import prepare_process

    prepare_process()
    import torch

    from fanin.run.exporting import check_export, export
    from fanin.run.in_use import Form, compared, form_of, zeros_of
    from fanin.run.predicting import part_of
    from fanin.run.trained import trained_run

    run = arguments.run.resolve()
    trained = trained_run(run)
    inputs, targets = part_of(trained.data, "test")
    torch.set_num_threads(1)
    out = (arguments.out or run.parent / "exported" / f"{run.name[:170]}-{kind}").resolve()
    path = out / f"model.{kind}"
    answer = export(trained.model, inputs, kind, path)
    try:
        apart = check_export(answer, trained.model, inputs)
    except UserError:
        path.unlink()
        raise
    rows = []
    if trained.recipe.method.loss.classification:
        program = Form(kind, answer, path.stat().st_size, zeros_of(trained.model), run)
        rows = compared([form_of("trained", trained), program], inputs, targets, arguments.repeats)
    print(f"outputs for {len(inputs)} test examples differ by {apart:.2g} at most")
    tell(out, rows, [path])


if __name__ == "__main__":
    command()
