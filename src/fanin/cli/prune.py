"""The command `fanin-prune`: a trained network with most of its weights 0, trained again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from fanin.cli.ending import ended
from fanin.cli.of_a_run import add_run, add_use, check_folder, check_least, classifier, tell, typed
from fanin.process import run_command
from fanin.report.cli import Parser


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = Parser(
        prog="fanin-prune",
        description="Prune a trained network, in one shot or round by round, and train what is left from where it is "
        "rewound to. Each round is a run's folder, which reports, predicts and resumes as any other; in_use.csv "
        "compares them: error with its interval, bytes, zeros, latency.",
        epilog="examples: fanin-prune RUN --share 0.8; fanin-prune RUN --share 0.97 --rounds 10; "
        "fanin-prune RUN --share 0.8 --rewind redraw (the control); "
        "fanin-prune RUN --share 0.5 --rewind none --steps 0",
        allow_abbrev=False,
    )
    add_run(made)
    made.add_argument("--share", type=float, default=0.8, help="of the weights that are 0 in the end (0.8)")
    made.add_argument("--rounds", type=int, default=1, metavar="N", help="in which they go, equal shares each (1)")
    made.add_argument("--scope", default="global", metavar="global|layer", help="what is compared (global)")
    made.add_argument(
        "--criterion",
        default="magnitude",
        metavar="magnitude|random",
        help="which go: the smallest (magnitude), or any",
    )
    made.add_argument(
        "--rewind", default="init", metavar="init|step_N|none|redraw",
        help="where a round starts: the initial weights (init), those after N steps, which trainer.snapshots keeps, "
        "the trained ones (none), or another draw of the initial ones",
    )  # fmt: skip
    made.add_argument(
        "--masks", type=Path, metavar="DIR",
        help="take the masks of each round from this folder of another pruning, for a control",
    )  # fmt: skip
    made.add_argument("--steps", type=int, metavar="N", help="of each round (as the run's own), 0 for none")
    add_use(made, "pruned")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, 1 for a mistake, told in one line, or 130 where it was stopped."""
    arguments = parser().parse_args(argv)
    try:
        return ended("fanin-prune", lambda: _prune(arguments))
    except KeyboardInterrupt:
        return 130


def command() -> NoReturn:
    """The entry point of the shell's command."""
    run_command(main)


def _prune(arguments: argparse.Namespace) -> None:
    check_least(arguments, repeats=0)
    check_folder(arguments.run)
    from fanin.api.application import prepare_process
    from fanin.run.pruning import Pruning

    keys = ("share", "rounds", "scope", "criterion", "rewind", "steps")
    with typed():
        asked = Pruning(**{key: getattr(arguments, key) for key in keys})
    prepare_process()
    import torch

    from fanin.run.identity import folder_name
    from fanin.run.in_use import compared, form_of
    from fanin.run.predicting import part_of
    from fanin.sweep.pruned_runs import prune, trained_with_masks
    from fanin.sweep.run_view import Display
    from fanin.sweep.signals import stop_on_signal

    run = arguments.run.resolve()
    name = folder_name(
        {"run": run.name} | {key: getattr(asked, key) for key in keys if getattr(asked, key) is not None}
    )
    name += "-masks" if arguments.masks is not None else ""
    out = (arguments.out or run.parent / "pruned" / name).resolve()
    trained = classifier(arguments.run)
    part_of(trained.data, "test")
    with stop_on_signal() as stop:
        folders = list(prune(run, asked, out, lambda folder: Display(folder, enabled=False), stop, arguments.masks))
    torch.set_num_threads(1)
    forms = [form_of("trained", trained)]
    forms += [form_of(folder.name, *trained_with_masks(folder)) for folder in folders]
    rows = compared(forms, trained.data.test_x, trained.data.test_y, arguments.repeats)
    tell(out, rows)


if __name__ == "__main__":
    command()
