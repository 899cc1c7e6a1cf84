"""The command `fanin-report`: tables, figures and a page from finished and unfinished runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fanin.errors import UserError, file_line
from fanin.process import cores, run_command

if TYPE_CHECKING:
    from rich.console import Console

    from fanin.report.figures.roles import Asked
    from fanin.report.write.page import Report

STYLES = ("screen", "paper")
"""How figures can be drawn; see figures.paper."""

OVER = ("step", "epoch", "examples", "gradients", "flops", "seconds")
"""What curves can go over; see figures.steps."""


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
        help="what to compare, and what decides which axes figures go by: any number of result.json "
        "(default: test_error, over folds val_error)",
    )  # fmt: skip
    parser.add_argument(
        "--where", nargs="+", default=[], metavar="KEY=VALUE,...",
        help="take only runs that have these values, e.g. optimizer=sgd,adam optimizer.lr=0.1",
    )  # fmt: skip
    parser.add_argument(
        "--by", metavar="KEY,...",
        help="what figures go by: of one key the colours, of two the panels and the colours, the third has the dashes",
    )  # fmt: skip
    parser.add_argument("--colour", "--color", metavar="KEY", help="the key that has the colours")
    parser.add_argument("--facet", metavar="KEY", help="the key that has a panel for each value; none for one panel")
    parser.add_argument(
        "--x", metavar="NAME", default="step",
        help="what curves go over: step, epoch, examples, gradients (of an example), flops or seconds (default: step)",
    )  # fmt: skip
    parser.add_argument(
        "--style", metavar="NAME", default="screen",
        help="of the figures: screen, or paper (a column of 3.25 inches, 8 points, PDF and SVG with text)",
    )  # fmt: skip
    parser.add_argument("--run-pages", action="store_true", help="write a page for every run, too, in its folder")
    parser.add_argument("--open", action="store_true", help="show the page in the browser")
    parser.add_argument(
        "--watch", action="store_true", help="go on, and write the report again as runs change; Ctrl-C stops"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, or 1 for a mistake of the user, printed as one line."""
    arguments = parser().parse_args(argv)
    # Folders behind the sides are taken for sides.
    sides = [side for side in arguments.compare or () if not Path(side).is_dir()]
    folders = [*arguments.folders, *(Path(side) for side in arguments.compare or () if side not in sides)]
    keys = [key.strip() for key in (arguments.group_by or "").split(",") if key.strip()]
    try:
        reference = arguments.reference
        if arguments.compare is None and reference is not None:
            raise UserError("--reference: a side of --compare; add --compare optimizer=sgd optimizer=adam")
        if arguments.compare is not None and keys:
            raise UserError("--group-by: not together with --compare, which pairs by all that its sides leave out")
        _check_flags(arguments)
        from rich.console import Console

        from fanin.report.write.formats import ENDINGS, formats_of
        from fanin.report.write.terminal import print_files, print_study

        console, folders, formats = Console(highlight=False), folders or [Path("outputs")], formats_of(arguments.format)
        told: dict[str, Any] = {"formats": formats, "style": arguments.style}
        if arguments.compare is None:
            from fanin.report.make import write_report

            write = partial(
                write_report, folders, arguments.out, keys, by=_asked(arguments), where=arguments.where, **told
            )
            if arguments.watch:
                words = [word for word in (sys.argv[1:] if argv is None else argv) if word not in ("--watch", "--open")]
                return _watch(folders, write, words, console, opened=arguments.open)
            report = write(run_pages=arguments.run_pages, processes=cores())
            print_study(report, console)
            out, stem = report.out, "table"
            if arguments.open:
                _open(report.run_page or report.index)
        else:
            from fanin.report.compare.written import compare, print_compared

            compared = compare(folders, sides, arguments.metric, arguments.out, reference=reference, **told)
            print_compared(compared, console)
            out, stem = compared.out, "compare"
        print_files(console, {name: out / f"{stem}.{ENDINGS[name]}" for name in formats})
    except (UserError, OSError) as error:
        message = file_line(error) if isinstance(error, OSError) else str(error)
        print(f"fanin-report: {' '.join(message.split())}", file=sys.stderr)
        return 1
    return 0


def command() -> NoReturn:
    """The entry point of the shell's command."""
    run_command(main)


def _check_flags(arguments: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        UserError: so it is.
    """
    for flag, known in (("style", STYLES), ("x", OVER)):
        if (value := getattr(arguments, flag)) not in known:
            raise UserError(f"--{flag} {value}: must be one of {', '.join(known)}")
    if arguments.compare is not None and arguments.x != OVER[0]:
        raise UserError(f"--x {arguments.x}: not together with --compare, which draws no curves")
    panels = {"facet": arguments.facet not in (None, "none"), "by": "," in (arguments.by or "")}
    for flag, typed in panels.items():
        if arguments.style == "paper" and typed:
            value = getattr(arguments, flag)
            raise UserError(
                f"--{flag} {value}: not together with --style paper, whose column has no room for panels side by side; "
                "--colour and --where take what one panel shows"
            )
    reasons = dict.fromkeys(("open", "watch", "run_pages"), "which writes no page")
    reasons |= dict.fromkeys(("where", "by", "colour", "facet"), "whose sides choose the runs")
    for flag, why in reasons.items() if arguments.compare is not None else ():
        if getattr(arguments, flag):
            raise UserError(f"--{flag.replace('_', '-')}: not together with --compare, {why}")
    if arguments.watch and arguments.run_pages:
        raise UserError("--run-pages: not together with --watch; type it when the runs have ended")


def _asked(arguments: argparse.Namespace) -> Asked:
    """What figures go by."""
    from fanin.report.figures.roles import Asked

    by = tuple(key.strip() for key in (arguments.by or "").split(",") if key.strip())
    return Asked(by, arguments.colour, arguments.facet, arguments.metric, arguments.x)


def _watch(
    folders: Sequence[Path], write: Callable[..., Report], words: Sequence[str], console: Console, *, opened: bool
) -> int:
    """Keep the report current until Ctrl-C; returns the exit code."""
    from fanin.report.watch import watch
    from fanin.report.write.terminal import line, print_study

    def first(report: Report) -> None:
        print_study(report, console)
        line(console, "watching: the page follows as runs change; Ctrl-C stops")
        if opened:
            _open(report.index)

    if missing := [folder for folder in folders if folder.exists() and not folder.is_dir()]:
        raise UserError(f"{missing[0]}: not a folder")
    try:
        watch(folders, write, words=words, first=first, tell=lambda text: line(console, text))
    except KeyboardInterrupt:
        line(console, "stopped watching; the report stays as it is")
    return 0


def _open(page: Path) -> None:
    """Show a page in the browser, or say where it is."""
    import webbrowser

    try:
        shown = webbrowser.open(page.resolve().as_uri())
    except webbrowser.Error:
        shown = False
    if not shown:
        print(f"fanin-report: no browser could be started here; the page is {page}", file=sys.stderr)


if __name__ == "__main__":
    command()
