"""The process in which fanin.sweep runs a grid: the command's own way, beside the host and never in it.

A host such as a notebook has no `__main__` that worker processes could import, and signal handlers, a fork server and
figures of its own. This process has none of that; it goes by a request that comes as a line of JSON, and answers with a
file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

STOP = b"s"
"""What the host sends to stop the grid; the end of its line says the same."""


def main() -> None:
    """Run the grid of the request, write the answer, and end."""
    from fanin.process import collect_rarely, leave

    collect_rarely()
    request = json.loads(_line())
    threading.Thread(target=_listen, daemon=True).start()
    answer: dict[str, Any] = {"kind": "done", "error": None}
    try:
        run_grid_of(request)
    except KeyboardInterrupt:
        answer["kind"] = "interrupted"
    except Exception as error:
        answer = _told(error, request)
    if "fanin.sweep.grid" in sys.modules:
        from fanin.sweep.grid import runs_of_the_grid

        answer["runs"] = [[str(folder.absolute()), finished] for folder, finished in runs_of_the_grid]
    Path(request["answer"]).write_text(json.dumps(answer), encoding="utf-8")
    leave(0)


def run_grid_of(request: dict[str, Any]) -> None:
    """Compose and run the grid of a request.

    Raises:
        UserError: it cannot be run, or runs of it failed.
    """
    from fanin.api.application import application
    from fanin.api.overrides import overrides_of
    from fanin.api.task import start

    more = Path(request["config_dir"]) if request["config_dir"] else None
    with application(more=more) as app:
        words = overrides_of(request["overrides"], request["typed"])
        start(app, "config", [*words, "hydra.mode=MULTIRUN"], grid=True)


def _told(error: Exception, request: dict[str, Any]) -> dict[str, Any]:
    """What is said of an error: a line for each mistake, and whether it is of some runs or of all that was asked."""
    from fanin.api.hydra_errors import one_line
    from fanin.sweep.grid import FailedRuns

    kind = "failed" if isinstance(error, FailedRuns) else "wrong"
    return {"kind": kind, "error": one_line(error, request["typed"])}


def _line() -> bytes:
    """The first line of the standard input, without what Python would read beyond it."""
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 1 << 16)
        if not more:
            sys.exit(1)
        line += more
    return line


def _listen() -> None:
    """Interrupt this process as Ctrl-C does whenever the host says so, or when it is gone."""
    while True:
        said = os.read(0, 1)
        if hasattr(signal, "SIGHUP"):
            os.kill(os.getpid(), signal.SIGINT)  # reaches the main thread in whatever it waits for
        else:
            import _thread

            _thread.interrupt_main()
        if not said:
            return
