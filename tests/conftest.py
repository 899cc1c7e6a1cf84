"""What all tests need of their process."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import zlib

import pytest
from hypothesis import settings

# Two processes of tests with two threads each are many times slower on two cores. It is read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background job ignores Ctrl-C, and so would every command that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples every time, however long each takes.
settings.register_profile("fanin", derandomize=True, deadline=None, database=None)
settings.load_profile("fanin")


# Half a million objects of imports, and of six thousand tests, are no garbage: searches that pass over them cost an
# eighth of the suite's time.
gc.set_threshold(10_000, 20, 20)


def pytest_collection_finish() -> None:
    """Leave all that is there by now out of further searches for garbage."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Seed the examples of docstrings, too: hooks of this file itself are called for what lies beside it alone."""
    config.pluginmanager.register(Seeds(), "seeds")


class Seeds:
    """Seeds the global generators by each test's name.

    What a test draws, the weights of an `nn.Linear` too, is then the same alone, in any order and in any process. Other
    draws: `FANIN_TEST_SEED=1 make test`.
    """

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Before each test and its fixtures."""
        seed = zlib.crc32((os.environ.get("FANIN_TEST_SEED", "") + item.nodeid).encode())
        random.seed(seed)
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed(seed)
        if torch := sys.modules.get("torch"):
            torch.manual_seed(seed)
