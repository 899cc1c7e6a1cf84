"""A command that the nursery has forked cannot tell that no interpreter was started for it, nor can its pool."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from command_line import Said, end, start

SURROUNDINGS = """
import json, multiprocessing, os, signal, sys, threading
from multiprocessing import forkserver, resource_tracker

import marks


def surroundings():
    descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    hydra = sys.modules.get("hydra.core.global_hydra")
    return {
        "argv": sys.argv, "name": __name__, "spec": __spec__.name, "folder": os.getcwd(),
        "main": sys.modules["__main__"].__dict__.get("surroundings") is surroundings,
        "environment": dict(os.environ), "path": sys.path, "original": multiprocessing.process.ORIGINAL_DIR,
        "signals": {number: str(signal.getsignal(number)).split(" at ")[0] for number in signal.valid_signals()},
        "threads": threading.active_count(), "hydra": bool(hydra and hydra.GlobalHydra.instance().is_initialized()),
        "marked": marks.seen, "buffered": [sys.stdout.line_buffering, sys.stdout.encoding, sys.stdout.isatty()],
        "group": os.getpgid(0), "mask": os.umask(0o22), "warnings": len(sys.warnoptions),
        "open": [one for one in descriptors if one < 1000 and os.path.exists(f"/proc/self/fd/{one}")],
    }


def told(connection):
    connection.send(surroundings())


if __name__ == "__main__":
    said = {"command": surroundings(), "input": sys.stdin.read()}
    said["helpers"] = [forkserver._forkserver._forkserver_pid, resource_tracker._resource_tracker._pid]
    if "-m" in sys.argv:
        os.environ["SET_BY"] = "the command"
        marks.seen.append("the command was here")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["marks"])
        ours, theirs = context.Pipe()
        for number in range(2):
            worker = context.Process(target=told, args=(theirs,), daemon=True)
            worker.start()
            said[f"worker {number}"] = ours.recv()
            worker.join()
            said[f"code {number}"] = worker.exitcode
        said["child"] = os.waitpid(forkserver._forkserver._forkserver_pid, os.WNOHANG)
    print(json.dumps(said))
"""


@pytest.mark.parametrize("arguments", [["a=b", ""], ["-m"]], ids=["alone", "with a pool"])
def test_it_finds_what_a_fresh_one_finds(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "around.py").write_text(SURROUNDINGS)
    (tmp_path / "marks.py").write_text("seen = []\n")
    found: list[dict[str, Any]] = []
    for fresh in (True, False):
        said = end(start(tmp_path, *arguments, module="around", fresh=fresh, PYTHONPATH="/somewhere", MORE="x"))
        assert (said.code, said.err, len(said.out)) == (0, [], 1)
        found.append(json.loads(said.out[0]))
    fresh_one, forked = found
    assert fresh_one["command"]["argv"][1:] == arguments
    assert fresh_one.keys() == forked.keys()
    for key, expected in fresh_one.items():
        assert forked[key] == expected, key


ENDS = """
import atexit, os, signal, sys, threading, time

atexit.register(print, "at exit")
print("said")
print("complained", file=sys.stderr)
how, *_ = sys.argv[1:]
if how == "thread":
    threading.Thread(target=lambda: (time.sleep(0.1), print("waited for"))).start()
elif how == "killed":
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
elif how == "interrupted":
    signal.raise_signal(signal.SIGINT)
elif how == "error":
    raise ValueError("wrong")
elif how == "word":
    sys.exit("a word")
else:
    sys.exit(int(how) if how.isdigit() else None)
"""


@pytest.mark.parametrize("how", ["0", "3", "none", "word", "error", "thread", "killed", "interrupted"])
def test_it_ends_as_a_fresh_one_ends(tmp_path: Path, how: str) -> None:
    (tmp_path / "ending.py").write_text(ENDS)
    fresh, forked = (end(start(tmp_path, how, module="ending", fresh=one)) for one in (True, False))

    def told(said: Said) -> tuple[int, list[str], list[str]]:
        """Without the lines of a traceback that name the files on the way."""
        return said.code, said.out, [line for line in said.err if not line.startswith(" ")]

    assert told(forked) == told(fresh)


def test_signals_reach_it(tmp_path: Path) -> None:
    (tmp_path / "waiting.py").write_text("import time\nprint('there', flush=True)\ntime.sleep(60)\n")
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # where all this runs in a shell's background
    for number, name in ((signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, ""))[ignored:]:
        process = start(tmp_path, module="waiting")
        assert process.poll() is None
        process.send_signal(number)
        said = end(process)
        assert said.code == -number
        assert said.err[-1:] == ([name] if name else [])
        assert process.poll() == -number
        process.kill()  # which is too late, and no error
