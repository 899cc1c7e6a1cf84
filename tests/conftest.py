"""One thread for each process of tests: two processes with two threads each on two cores are many times slower."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, so before any test module is
