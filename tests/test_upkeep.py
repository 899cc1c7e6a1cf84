"""What the C library does with freed memory, counted in page faults."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

COUNTED = """
import resource, torch
from fanin.upkeep import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        torch.ones(2**21)  # 8 MB: pages of 4 KB, or fewer that are larger
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
keep_freed_memory()
print(given_back, faults())
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_freed_memory_is_kept() -> None:
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", COUNTED], capture_output=True, text=True, env=environment, check=True)
    given_back, kept = map(int, done.stdout.split())
    # Every page of 50 blocks is a fault where they are given back; where they are kept, of some blocks at most.
    assert kept < given_back / 5
