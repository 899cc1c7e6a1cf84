"""The command `fanin-report`: tables, figures and a page from finished and unfinished runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fanin.errors import UserError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="fanin-report",
        description="Write tables, figures and an HTML page from the folders of runs, finished or not.",
        epilog="examples: fanin-report outputs/init_study; "
        "fanin-report outputs/runs --compare optimizer=sgd optimizer=adam,optimizer.lr=0.001",
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="run folders, or folders that hold some"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: report/ in the runs' folder)")
    parser.add_argument(
        "--group-by", metavar="KEY,...",
        help="average over all but these keys, e.g. initializer.c (default: over seeds only)",
    )  # fmt: skip
    parser.add_argument(
        "--compare", nargs="+", metavar="SIDE",
        help="instead, compare runs that differ in nothing else, pair by pair; a side is key=value[,key=value...], "
        "and each is compared with the first",
    )  # fmt: skip
    parser.add_argument(
        "--metric", metavar="NAME",
        help="what to compare, any number of result.json (default: test_error, over folds val_error)",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, or 1 for what the user can mend, said in one line."""
    arguments = parser().parse_args(argv)
    keys = [key.strip() for key in (arguments.group_by or "").split(",") if key.strip()]
    try:
        if arguments.compare is None:
            if arguments.metric is not None:
                raise UserError("--metric: what --compare compares; add --compare optimizer=sgd optimizer=adam")
            _report(arguments.folders, arguments.out, keys)
        else:
            if keys:
                raise UserError("--group-by: not together with --compare, which pairs by all that its sides leave out")
            _compare(arguments.folders, arguments.out, arguments.compare, arguments.metric)
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:
        return 1
    except OSError as error:
        return _fail(f"{error.filename or 'report'}: cannot be written ({error.strerror or error})")
    return 0


def _report(folders: Sequence[Path], out: Path | None, keys: Sequence[str]) -> None:
    from rich.console import Console

    from fanin.report import print_study, write_report

    print_study(write_report(folders, out, keys or None), Console(highlight=False))


def _compare(folders: Sequence[Path], out: Path | None, sides: Sequence[str], metric: str | None) -> None:
    from rich.console import Console

    from fanin.report.compare import compare
    from fanin.report.compare_text import print_compared

    print_compared(compare(folders, sides, metric, out), Console(highlight=False))


def _fail(message: str) -> int:
    print(f"fanin-report: {' '.join(message.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
