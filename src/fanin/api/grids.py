"""fanin.sweep: a grid, run by a process of its own beside the host's, and what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from fanin.api.composing import Folder, folder_of, words_of
from fanin.api.finished_run import Run
from fanin.api.grid_process import STOP
from fanin.errors import OptionError, UserError

if TYPE_CHECKING:
    import pandas as pd

    from fanin.api.tables import Tables

BEGIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from fanin.api.grid_process import main; main()"
"""What the process of a grid runs: it finds modules where the host does."""

PATIENCE = 10.0
"""Seconds that a process which was told to stop at once is given."""


class Sweep(Sequence[Run]):
    """The runs of a grid, in order.

    Args:
        runs: each once.
        error: the line that the command would have ended with where runs failed; None where all is well.
    """

    def __init__(self, runs: Sequence[Run], error: str | None = None) -> None:
        self.runs, self.error = list(runs), error
        self.folder = self.runs[0].folder.parent
        """The grid's: summary.csv, multirun.yaml, and a folder for each run."""

    def __repr__(self) -> str:
        told = ", ".join(f"{count} {status}" for status, count in self.status.items())
        return f"<fanin sweep of {len(self)} runs in {self.folder}: {told}>"

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    @overload
    def __getitem__(self, place: int) -> Run: ...

    @overload
    def __getitem__(self, place: slice) -> list[Run]: ...

    def __getitem__(self, place: int | slice) -> Run | list[Run]:
        return self.runs[place]

    @property
    def status(self) -> dict[str, int]:
        """How many runs are done, diverged, failed, interrupted, ..."""
        return dict(Counter(run.status for run in self.runs))

    @property
    def report(self) -> Path:
        """The page of the report: figures and tables of the grid."""
        return self.folder / "report" / "index.html"

    @property
    def result(self) -> pd.DataFrame:
        """A row per run, the columns of summary.csv: what varies, final metrics, what init says."""
        return self._tables.runs

    @property
    def metrics(self) -> pd.DataFrame:
        """metrics.csv of all runs, with a column `run`."""
        return self._tables.metrics

    @property
    def profiles(self) -> pd.DataFrame:
        """profiles.csv of all runs, with a column `run`."""
        return self._tables.profiles

    @cached_property
    def _tables(self) -> Tables:
        from fanin.api.tables import tables_of

        return tables_of([run.folder for run in self.runs], self.folder)


def sweep(
    overrides: Sequence[str] = (),
    *,
    launcher: str | None = None,
    folder: Folder | None = None,
    config_dir: Folder | None = None,
    verbose: bool = False,
    check: bool = False,
) -> Sweep:
    """Run a grid and return what came of its runs, as the command `fanin -m` with the same overrides does.

    The grid runs in a process of its own, with the command's workers, skip rules and report; the host needs no
    `__main__` guard. What is only in the host's memory, as a class of a notebook's cell, is not known there. Ctrl-C
    stops the runs at their next steps and raises KeyboardInterrupt; the same call resumes them.

    Args:
        overrides: as on the command line, a word each: ["optimizer=sgd,adam", "seed=0,1,2"], ["experiment=init_study"].
        launcher: auto, pool, fused, basic, joblib, ...; None for the configuration's, which is pool.
        folder: of the grid; None for outputs/EXPERIMENT below the current one, as the command has it.
        config_dir: a folder of option files of your own, GROUP/OPTION.yaml.
        verbose: whether what the command would say is printed.
        check: whether runs that fail raise; else `status` counts them, and `error` says what the command would.

    Raises:
        UserError: what was typed cannot be run: a line for each mistake, and nothing is written. With `check`, runs
            failed.
        KeyboardInterrupt: it was interrupted.
    """
    words = words_of(overrides, grid=True)
    if launcher is not None:
        if not isinstance(launcher, str) or not launcher.isidentifier():
            raise OptionError("launcher", repr(launcher), "the name of a launcher, such as auto, pool or basic")
        words.append(f"hydra/launcher={launcher}")
    if (place := folder_of("folder", folder)) is not None:
        escaped = str(place).replace("\\", "\\\\").replace('"', '\\"')
        words.append(f'hydra.sweep.dir="{escaped}"')
    more = folder_of("config_dir", config_dir)
    if more is not None and not more.is_dir():
        raise OptionError("config_dir", more, "a folder of option files, GROUP/OPTION.yaml")
    typed = [*([f"--config-dir={more}"] if more else []), *words]
    request = {"overrides": words, "typed": typed, "config_dir": str(more) if more else None}
    answer = _answer(request, verbose=verbose)
    if answer["kind"] == "interrupted":
        raise KeyboardInterrupt
    if answer["kind"] == "wrong" or (answer["kind"] == "failed" and check) or not answer.get("runs"):
        raise UserError(answer["error"])
    return Sweep([Run(Path(one), skipped=finished) for one, finished in answer["runs"]], answer["error"])


def _answer(request: dict[str, Any], *, verbose: bool) -> dict[str, Any]:
    """What the process of a grid answers to a request.

    Raises:
        UserError: it ended without an answer.
        KeyboardInterrupt: the host was interrupted; the process was told to stop, and has ended.
    """
    with tempfile.TemporaryDirectory(prefix="fanin-") as place:
        path = Path(place) / "answer.json"
        command = [sys.executable, "-c", BEGIN, json.dumps([one or os.getcwd() for one in sys.path])]  # noqa: PTH109
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True,  # Ctrl-C of a terminal is the host's, which passes it on
        )  # fmt: skip
        try:
            last = _attended(process, json.dumps(request | {"answer": str(path)}), verbose=verbose)
        finally:
            _end(process)
        if not path.exists():
            said = f": {last}" if last else ""
            raise UserError(f"the process of the grid ended with code {process.returncode}{said}")
        answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return answer


def _attended(process: subprocess.Popen[str], request: str, *, verbose: bool) -> str:
    """Hand over the request and wait for the end; returns the last line that was said.

    Raises:
        KeyboardInterrupt: the host was interrupted; once is passed on, twice stops at once, thrice kills.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    said: deque[str] = deque(maxlen=1)
    interrupts = 0
    sent = False
    while True:
        try:
            if not sent:
                sent = True
                _say(process, f"{request}\n")
            for line in process.stdout:
                said.append(line.strip())
                if verbose:
                    print(line, end="", flush=True)
            process.wait()
            break
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > 2:
                process.kill()
            _say(process, STOP.decode())
    if interrupts:
        raise KeyboardInterrupt
    return said[0] if said else ""


def _say(process: subprocess.Popen[str], words: str) -> None:
    """Send something to a process that may be gone."""
    assert process.stdin is not None
    with suppress(OSError, ValueError):
        process.stdin.write(words)
        process.stdin.flush()


def _end(process: subprocess.Popen[str]) -> None:
    """See a process out, whatever has happened here."""
    for stream in (process.stdin, process.stdout):
        with suppress(OSError, ValueError):
            stream.close()  # type: ignore[union-attr]
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
