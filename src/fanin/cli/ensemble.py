"""The command `fanin-ensemble`: what trained networks answer together."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fanin.cli.ending import ended
from fanin.cli.of_a_run import check_least
from fanin.errors import UserError, counted
from fanin.process import run_command
from fanin.report.cli import Parser

if TYPE_CHECKING:
    from fanin.run.trained import Trained


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = Parser(
        prog="fanin-ensemble",
        description="The mean probabilities of trained networks: seeds, folds, or snapshots of one training; the error "
        "of 1, 2, ... members with its interval over examples.",
        epilog="examples: fanin-ensemble outputs/runs/*seed=*; fanin-ensemble outputs/runs; "
        "fanin-ensemble RUN --snapshots (of trainer.snapshots=5 schedule=warm_restarts)",
        allow_abbrev=False,
    )
    made.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders that hold some")
    made.add_argument("--part", choices=("test", "val"), default="test", help="of the data (test)")
    made.add_argument("--snapshots", action="store_true", help="members are the weights that trainer.snapshots kept")
    made.add_argument("--batch", type=int, default=1000, metavar="N", help="examples in one pass (1000)")
    made.add_argument("--most", type=int, default=200, metavar="N", help="ensembles of one size that are tried (200)")
    made.add_argument("--seed", type=int, default=0, help="of the ensembles that are drawn (0)")
    made.add_argument("--out", type=Path, metavar="DIR", help="where to write (ensemble/ in the runs' folder)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, or 1 for a mistake, told in one line."""
    arguments = parser().parse_args(argv)
    return ended("fanin-ensemble", lambda: _ensemble(arguments))


def command() -> NoReturn:
    """The entry point of the shell's command."""
    run_command(main)


def _ensemble(arguments: argparse.Namespace) -> None:
    check_least(arguments, batch=1, most=1, seed=0)
    from fanin.report.read.folders import grid_of

    grid, folders = grid_of(arguments.runs)
    from fanin.api.application import prepare_process

    prepare_process()
    import torch

    from fanin.record.columns import ENSEMBLE, names
    from fanin.record.csv_file import write_table
    from fanin.report.figures.ensemble import draw_ensemble
    from fanin.run.ensembles import of_members
    from fanin.run.predicting import outputs_of, part_of, probabilities

    members, labels, targets = [], [], None
    for label, trained in _members(folders, arguments.snapshots):
        if not trained.recipe.method.loss.classification:
            raise UserError(f"{trained.folder}: its targets are no classes, whose probabilities could be averaged")
        x, y = part_of(trained.data, arguments.part)
        if targets is not None and not torch.equal(y, targets):
            fix = "; the test part is the same over folds" if arguments.part == "val" else ""
            raise UserError(f"{trained.folder}: has another {arguments.part} part than {labels[0]}{fix}")
        targets = y
        members.append(probabilities(outputs_of(trained, x, arguments.batch)))
        labels.append(label)
    if targets is None or len(members) < 2:
        raise UserError(
            f"{counted(len(members), 'member')}: an ensemble has two or more; give more runs, or --snapshots"
        )
    if len({one.shape for one in members}) > 1:
        raise UserError("the runs tell different numbers of classes apart")
    found = of_members(torch.stack(members), targets, arguments.most, arguments.seed)
    out = arguments.out or grid / "ensemble"
    out.mkdir(parents=True, exist_ok=True)
    rows = [[getattr(one, name) for name in names(ENSEMBLE)] for one in found]
    write_table(out / "ensemble.csv", names(ENSEMBLE), rows)
    mean = torch.stack(members).mean(dim=0)
    columns = ["example", "true", "class", *(f"p_{place}" for place in range(mean.shape[1]))]
    answers = zip(targets.tolist(), mean.argmax(dim=1).tolist(), mean.tolist(), strict=True)
    write_table(out / "answers.csv", columns, [[i, true, answer, *p] for i, (true, answer, p) in enumerate(answers)])
    for one in (found[0], found[-1]):
        interval = f"[{100 * one.low:.3g}, {100 * one.high:.3g}]"
        of = "one member, the mean over them" if one.members == 1 else f"all {one.members}"
        print(f"{of}: {arguments.part} error {100 * one.error:.3g} % {interval}, loss {one.loss:.4g}")
    for path in (out / "ensemble.csv", out / "answers.csv", *draw_ensemble(found, out, arguments.part)):
        print(path)


def _members(folders: Sequence[Path], snapshots: bool) -> Iterator[tuple[str, Trained]]:
    """The networks, each with a name."""
    from fanin.record.columns import SNAPSHOT
    from fanin.run.trained import trained_run

    for folder in folders:
        if not snapshots:
            yield str(folder), trained_run(folder)
            continue
        kept = [path.stem for path in (folder / "checkpoints").glob("step_*.pt") if SNAPSHOT.fullmatch(path.name)]
        if not kept:
            raise UserError(f"{folder}: has kept no snapshots; trainer.snapshots=5 does, at the ends of five parts")
        for name in sorted(kept, key=lambda name: int(name.removeprefix("step_"))):
            yield f"{folder} {name}", trained_run(folder, checkpoint=name)


if __name__ == "__main__":
    command()
