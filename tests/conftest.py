"""What all tests need of their process."""

from __future__ import annotations

import os
import signal

# Two processes of tests with two threads each are many times slower on two cores. It is read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background job ignores Ctrl-C, and so would every command that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
