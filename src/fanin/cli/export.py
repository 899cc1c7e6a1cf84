"""The command `fanin-export`: a trained network as a program that runs without fanin."""

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
        prog="fanin-export",
        description="Write a trained network as a program for any number of examples, checked against the network on "
        "the test part: pt2, which torch.export.load reads, or onnx. It takes inputs as preprocessing leaves them. "
        "in_use.csv compares both: error with its interval, bytes, latency.",
        epilog="examples: fanin-export outputs/runs/RUN; fanin-export RUN --format onnx --out model",
        allow_abbrev=False,
    )
    made.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    made.add_argument("--format", default="pt2", metavar="pt2|onnx", help="of the file (pt2)")
    made.add_argument("--repeats", type=int, default=30, metavar="N", help="timed answers (30), 0 for none")
    made.add_argument("--out", type=Path, metavar="DIR", help="where to write (in exported/ beside the run)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, or 1 for a mistake, told in one line."""
    arguments = parser().parse_args(argv)
    return ended("fanin-export", lambda: _export(arguments))


def command() -> NoReturn:
    """The entry point of the shell's command."""
    run_command(main)


def _export(arguments: argparse.Namespace) -> None:
    if arguments.repeats < 0:
        raise UserError(f"--repeats {arguments.repeats}: must be at least 0")
    try:
        kind = choice("format", arguments.format, ("pt2", "onnx"))
    except UserError as error:
        raise UserError(f"--{str(error).replace('=', ' ', 1)}") from None
    if not arguments.run.is_dir():
        raise UserError(f"{arguments.run}: no such folder")
    from fanin.api.application import prepare_process

    prepare_process()
    import torch

    from fanin.run.exporting import check_export, export
    from fanin.run.in_use import Form, compared, form_of, told, write_in_use, zeros_of
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
    for row in rows:
        print(told(row))
    print(f"outputs for {len(inputs)} test examples differ by {apart:.2g} at most")
    for file in (path, *([write_in_use(out, rows)] if rows else [])):
        print(file)


if __name__ == "__main__":
    command()
