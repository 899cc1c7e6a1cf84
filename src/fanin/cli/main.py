"""The command `fanin`: help without Hydra, everything else through Hydra, mistakes as one line."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from fanin import __version__
from fanin.process import run_command


def main() -> None:
    """Run the command line: one run, or a grid with -m or an experiment.

    Exits with 0, 1 (a mistake or a failure), 120 (all went well, but output was lost) or 130 (stopped by the user).
    """
    arguments = sys.argv[1:]
    if not {"--help", "-h"}.isdisjoint(arguments):
        if code := _help(arguments):
            sys.exit(code)
        return
    if "--version" in arguments:
        print(f"fanin {__version__}")
        return
    if not {"--shell-completion", "-sc"}.isdisjoint(arguments) or "--schema" in arguments:
        sys.exit(_told(arguments))
    sys.exit(_through_hydra())


def _told(arguments: list[str]) -> int:
    """Print what a shell or an editor asks for."""
    try:
        if "--schema" in arguments:
            from fanin.cli.schema import schema_text

            print(schema_text(arguments))
        else:
            from fanin.cli.completion import answer

            print(answer([one for one in arguments if one not in ("--shell-completion", "-sc")]))
    except Exception as error:
        from fanin.api.hydra_errors import one_line

        _tell(one_line(error, arguments))
        return 1
    return 0


def _help(arguments: list[str]) -> int:
    from fanin.cli.help import help_text

    try:
        print(help_text(arguments))
    except Exception as error:  # an option that is not there, a user's own file that is no YAML
        from fanin.api.hydra_errors import one_line

        _tell(one_line(error, arguments))
        return 1
    return 0


def command() -> NoReturn:
    """The entry point of the shell's command."""
    run_command(main)


def _through_hydra() -> int:
    from fanin.api.hydra_errors import one_line

    wants_traceback = bool(os.environ.get("HYDRA_FULL_ERROR"))
    # Hydra prints errors in its own form and exits; with this it raises them, and they are printed here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        _dispatch(_parsed(sys.argv[1:]))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if wants_traceback:
            raise
        _tell(one_line(error, sys.argv[1:]))
        return 1
    if "fanin.sweep.job" not in sys.modules:
        return 0
    from fanin.sweep.job import outcomes

    states = {outcome["state"] for outcome in outcomes}
    return 1 if "failed" in states or states == {"busy"} else 0


def _tell(mistakes: str) -> None:
    """Print mistakes to stderr, a line each; for a terminal they are wrapped between words."""
    from fanin.cli.help import wrapped

    for mistake in mistakes.splitlines():
        line = f"fanin: {mistake}"
        print(wrapped(line, indent="  ") if sys.stderr.isatty() else line, file=sys.stderr)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    """The parsed command line; options and overrides may stand in any order.

    Raises:
        UserError: an option that is not there, or that does not go with another.
    """
    from fanin.api.overrides import overrides_of
    from fanin.errors import UserError
    from fanin.run.hydra_private import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; fanin --help lists what there is")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    parser.allow_abbrev = False
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_intermixed_args(arguments)
    if args.experimental_rerun is not None:  # it unpickles a file, and a pickle is a program
        refuse("unrecognized arguments: --experimental-rerun")
    if args.resolve and not args.cfg:
        refuse("--resolve goes with --cfg")
    args.overrides = overrides_of(args.overrides, arguments)
    modes = {"--run": args.run, "-m": args.multirun, "--cfg": args.cfg, "--info": args.info}
    if len(typed := [name for name, value in modes.items() if value]) > 1:
        refuse(f"{' and '.join(typed)} do not go together")
    if args.dry_run and (others := [name for name in ("--cfg", "--info") if modes[name]]):
        refuse(f"--dry-run and {others[0]} do not go together")
    return args


def _dispatch(args: Any) -> None:
    """Run, run a grid, or print what was asked for."""
    from hydra.types import RunMode

    from fanin.api.application import application
    from fanin.api.task import rehearse, start
    from fanin.cli.several import as_torchrun_says
    from fanin.errors import OptionError

    more = Path(args.config_dir) if args.config_dir is not None else None
    if more is not None and not more.is_dir():
        raise OptionError("--config-dir", args.config_dir, "a folder of option files, GROUP/OPTION.yaml")
    conf = Path(args.config_path) if args.config_path else None
    name, overrides = args.config_name or "config", args.overrides
    with application(conf, more) as app:
        if args.hydra_help:
            from fanin.run.hydra_private import get_args_parser

            app.hydra_help(config_name=name, args_parser=get_args_parser(), args=args)
        elif args.cfg:
            app.show_cfg(name, overrides, args.cfg, args.package, args.resolve)
        elif args.info:
            app.show_info(args.info, name, overrides)
        else:
            mode = app.get_mode(name, overrides)  # a study sets it
            grid = args.multirun or (mode == RunMode.MULTIRUN and not args.run)
            wanted = RunMode.MULTIRUN if grid else RunMode.RUN
            overrides = overrides if mode == wanted else [*overrides, f"hydra.mode={wanted.name}"]
            with as_torchrun_says(grid=grid, rehearsed=args.dry_run) as more_overrides:
                (rehearse if args.dry_run else start)(app, name, [*overrides, *more_overrides], grid=grid)


if __name__ == "__main__":
    command()
