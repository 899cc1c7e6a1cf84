"""What the C library does with freed memory, counted in page faults, and how a process ends."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

COUNTED = """
import resource, torch
from fanin.process import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        torch.ones(2**21)  # 8 MB: pages of 4 KB, or fewer that are larger
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
keep_freed_memory()
print(given_back, faults())
"""


ENDING = """
import atexit, sys, threading, time
from fanin.process import leave

class Held:
    def __del__(self):
        sys.stderr.write("taken down")

held = Held()
atexit.register(print, "exit function")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
print("main")
leave(3)
"""


def python(code: str, stdout: int | IO[str] = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run some code in a process of its own."""
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment)


def test_the_end_waits_for_all_but_the_memory() -> None:
    done = python(ENDING)
    assert (done.returncode, done.stdout, done.stderr) == (3, "main\nthread\nexit function\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(("code", "expected"), [(0, 120), (1, 1)])
def test_output_that_could_not_be_written_is_no_success(code: int, expected: int) -> None:
    with Path("/dev/full").open("w") as full:
        assert python(f"from fanin.process import leave\nprint(1)\nleave({code})", full).returncode == expected


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
@pytest.mark.slow
def test_freed_memory_is_kept() -> None:
    given_back, kept = map(int, python(COUNTED).stdout.split())
    # Every page of 50 blocks is a fault where they are given back; where they are kept, of some blocks at most.
    assert kept < given_back / 5
