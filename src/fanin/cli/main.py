"""The command `fanin`: help without Hydra, everything else through Hydra, mistakes as one line."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from fanin import __version__
from fanin.output import LOST, forgive_output, lost
from fanin.process import collect_rarely, leave


def main() -> None:
    """Run the command line: one run, or a grid with -m or an experiment; exits 0, 1 (mistake, failure) or 130."""
    arguments = sys.argv[1:]
    if not {"--help", "-h"}.isdisjoint(arguments):
        from fanin.cli.help import help_text

        print(help_text(arguments))
        return
    if "--version" in arguments:
        print(f"fanin {__version__}")
        return
    collect_rarely()
    sys.exit(_through_hydra())


def command() -> None:
    """What the shell calls: `main`, and a quick end."""
    forgive_output()
    code = 0
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str):  # Python prints it
            raise
        code = end.code or 0
    except KeyboardInterrupt:  # before there was anything to stop
        code = 130
    leave(LOST if code == 0 and lost() else code)


def _arrange() -> None:
    """Make Hydra's own parser take -m wherever it is typed, and tell what it does not know in one line."""
    import argparse

    from fanin.errors import UserError

    def refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
        raise UserError(f"{message}; fanin --help lists what there is")

    argparse.ArgumentParser.error = refuse  # type: ignore[assignment,method-assign]
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))


def _through_hydra() -> int:
    import hydra

    from fanin.catalogue import config_folder
    from fanin.cli.hydra_errors import one_line
    from fanin.cli.task import Task, prepare_process

    wants_traceback = bool(os.environ.get("HYDRA_FULL_ERROR"))
    # Hydra prints errors in forms of its own and exits; with this it raises, and they are told here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    prepare_process()
    _arrange()
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(Task())()
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        line = one_line(error, sys.argv[1:])
        if line is None or wants_traceback:
            raise
        print("\n".join(f"fanin: {mistake}" for mistake in line.splitlines()), file=sys.stderr)
        return 1
    if "fanin.sweep.job" not in sys.modules:
        return 0
    from fanin.sweep.job import outcomes

    states = {outcome["state"] for outcome in outcomes}
    return 1 if "failed" in states or states == {"busy"} else 0


if __name__ == "__main__":
    command()
