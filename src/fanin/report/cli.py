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
        epilog="example: fanin-report outputs/init_study",
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="run folders, or folders that hold some"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: report/ in the runs' folder)")
    parser.add_argument(
        "--group-by", metavar="KEY,...",
        help="average over all but these keys, e.g. initializer.c (default: over seeds only)",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, or 1 for what the user can mend, said in one line."""
    arguments = parser().parse_args(argv)
    keys = [key.strip() for key in (arguments.group_by or "").split(",") if key.strip()]
    try:
        from rich.console import Console

        from fanin.report import print_study, write_report

        report = write_report(arguments.folders, arguments.out, keys or None)
        print_study(report, Console(highlight=False))
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:
        return 1
    except OSError as error:
        return _fail(f"{error.filename or 'report'}: cannot be written ({error.strerror or error})")
    return 0


def _fail(message: str) -> int:
    print(f"fanin-report: {' '.join(message.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
