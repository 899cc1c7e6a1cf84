"""The command `fanin-report`: tables, figures and a page from finished and unfinished runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from fanin.errors import UserError, file_line
from fanin.output import LOST, forgive_output, lost


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and exit."""
        self.exit(1, f"{self.prog}: {message}; {self.prog} --help lists what there is\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="fanin-report",
        description="Write tables, figures and an HTML page from the folders of runs, finished or not.",
        epilog="examples: fanin-report outputs/init_study; "
        "fanin-report outputs/runs --compare optimizer=sgd optimizer=adam,optimizer.lr=0.001",
    )
    parser.add_argument(
        "folders", nargs="*", type=Path, metavar="FOLDER",
        help="run folders, or folders that hold some (default: outputs)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: report/ in the runs' folder)")
    parser.add_argument(
        "--group-by", metavar="KEY,...",
        help="average over all but these keys, e.g. initializer.c (default: over seeds and folds only)",
    )  # fmt: skip
    parser.add_argument(
        "--compare", nargs="+", metavar="SIDE",
        help="instead, compare runs that differ in nothing else, pair by pair; a side is key=value[,key=value...], "
        "and each is compared with the first; three or more are ranked, too",
    )  # fmt: skip
    parser.add_argument(
        "--reference", metavar="SIDE", help="the side that the others are compared with (default: the first)"
    )
    parser.add_argument(
        "--format", metavar="NAME,...",
        help="write the table in these formats too: latex, json, parquet (csv and markdown are always written)",
    )  # fmt: skip
    parser.add_argument(
        "--metric", metavar="NAME",
        help="what to compare, any number of result.json (default: test_error, over folds val_error)",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, or 1 for a mistake of the user, printed as one line."""
    forgive_output()
    arguments = parser().parse_args(argv)
    # Folders behind the sides are taken for sides.
    sides = [side for side in arguments.compare or () if not Path(side).is_dir()]
    folders = [*arguments.folders, *(Path(side) for side in arguments.compare or () if side not in sides)]
    keys = [key.strip() for key in (arguments.group_by or "").split(",") if key.strip()]
    try:
        if arguments.compare is None and arguments.metric is not None:
            raise UserError("--metric: what --compare compares; add --compare optimizer=sgd optimizer=adam")
        reference = arguments.reference
        if arguments.compare is None and reference is not None:
            raise UserError("--reference: a side of --compare; add --compare optimizer=sgd optimizer=adam")
        if arguments.compare is not None and keys:
            raise UserError("--group-by: not together with --compare, which pairs by all that its sides leave out")
        from rich.console import Console

        from fanin.report.write.formats import ENDINGS, formats_of
        from fanin.report.write.terminal import line, near, print_study

        console, folders, formats = Console(highlight=False), folders or [Path("outputs")], formats_of(arguments.format)
        if arguments.compare is None:
            from fanin.report.make import write_report

            report = write_report(folders, arguments.out, keys, formats=formats)
            print_study(report, console)
            out, stem = report.out, "table"
        else:
            from fanin.report.compare.comparison import compare, print_compared

            compared = compare(folders, sides, arguments.metric, arguments.out, reference=reference, formats=formats)
            print_compared(compared, console)
            out, stem = compared.out, "compare"
        for name in formats:
            line(console, f"{name:<12}{near(out / f'{stem}.{ENDINGS[name]}')}")
    except (UserError, OSError) as error:
        message = file_line(error) if isinstance(error, OSError) else str(error)
        print(f"fanin-report: {' '.join(message.split())}", file=sys.stderr)
        return 1
    return LOST if lost() else 0


if __name__ == "__main__":
    sys.exit(main())
