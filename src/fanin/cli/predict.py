"""The command `fanin-predict`: what a trained network answers to examples from a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from fanin.cli.ending import ended
from fanin.cli.of_a_run import add_run, check_folder, check_least
from fanin.errors import UserError, counted
from fanin.process import run_command
from fanin.report.cli import Parser


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = Parser(
        prog="fanin-predict",
        description="What a trained network answers to examples from a file: a line of CSV for each, with its class, "
        "the probability of that and the scores of all classes.",
        epilog="examples: fanin-predict outputs/runs/RUN images/; fanin-predict RUN table.csv --out answers.csv; "
        "fanin-predict RUN arrays.npz --out - | head",
        allow_abbrev=False,
    )
    add_run(made)
    made.add_argument(
        "file", type=Path, metavar="FILE",
        help="inputs before preprocessing: .npy, .npz (its array x, or its first), .csv (a line for each example), or "
        "a folder of images (pixels from 0 to 1)",
    )  # fmt: skip
    made.add_argument("--batch", type=int, default=1000, metavar="N", help="examples in one pass (1000)")
    made.add_argument("--out", metavar="CSV", help="where to write, - for standard output (FILE-answers.csv)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, or 1 for a mistake, told in one line."""
    arguments = parser().parse_args(argv)
    return ended("fanin-predict", lambda: _predict(arguments))


def command() -> NoReturn:
    """The entry point of the shell's command."""
    run_command(main)


def _predict(arguments: argparse.Namespace) -> None:
    check_least(arguments, batch=1)
    check_folder(arguments.run)
    if not arguments.file.exists():
        raise UserError(f"{arguments.file}: no such file or folder")
    from fanin.api.application import prepare_process

    prepare_process()
    from fanin.record.csv_file import lines_of, write_table
    from fanin.run.predicting import outputs_of, prepared, probabilities, read_examples
    from fanin.run.trained import trained_run

    trained = trained_run(arguments.run)
    examples = read_examples(arguments.file, trained.data.input_shape)
    outputs = outputs_of(trained, prepared(trained, examples), arguments.batch).flatten(1)
    if trained.recipe.method.loss.classification:
        sure, answers = probabilities(outputs).max(dim=1)
        columns = ["example", "class", "probability", *(f"score_{place}" for place in range(outputs.shape[1]))]
        heads = [[int(answer), float(p)] for answer, p in zip(answers, sure, strict=True)]
    else:  # no classes: what the network puts out, a number to be estimated in its own unit
        mean, std = trained.data.target_scale
        outputs = outputs * std + mean
        columns = ["example", *(f"output_{place}" for place in range(outputs.shape[1]))]
        heads = [[] for _ in outputs]
    rows = [
        [name, *head, *numbers] for name, head, numbers in zip(examples.names, heads, outputs.tolist(), strict=True)
    ]
    if arguments.out == "-":
        sys.stdout.write(lines_of([columns, *rows]))
        return
    out = Path(arguments.out or arguments.file.with_name(f"{arguments.file.stem}-answers.csv"))
    write_table(out, columns, rows)
    print(f"{counted(len(rows), 'example')}: {out}")


if __name__ == "__main__":
    command()
