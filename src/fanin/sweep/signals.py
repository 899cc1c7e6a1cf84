"""Ctrl-C once: stop at the next step and keep everything. Twice: stop now. A queue's warning: stop, be queued again.

The end of a time that was given stops what runs as one Ctrl-C does.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar

ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask a process to end, beside Ctrl-C: by the system, or by a terminal that is closed."""

WARNING: signal.Signals | None = getattr(signal, "SIGUSR2", None)
"""The signal by which submitit's queues announce the end of a job's time."""

ALARM: signal.Signals | None = getattr(signal, "SIGALRM", None)
"""The signal by which a process reminds itself that its time is over; Windows has none."""

REMINDER = 0.5
"""Seconds from one reminder to the next: one that comes where nothing runs that could be stopped is lost."""

ECHO = 0.3
"""Seconds within which a second signal counts as the first: a terminal, `timeout` and a parent may all send it."""


class StopRequest:
    """Whether the user (or the system, with SIGTERM) has asked to stop."""

    echo: ClassVar[float] = ECHO

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0
        self._warning: int | None = None
        self.ending: int | None = None
        """The signal that asked the whole process to end, where it was one that does."""

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.requested

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal, obey the second at once."""
        now = time.monotonic()
        self.ending = number if number in ENDINGS else self.ending
        if not self.requested:
            self.requested, self._since = True, now
        elif now - self._since > self.echo:
            raise KeyboardInterrupt

    def remember(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal that may come often."""
        self.requested = True

    def warned(self, number: int, frame: FrameType | None) -> None:
        """Remember that the queue wants the process to end soon."""
        self.requested, self._warning = True, number

    def pass_on(self) -> None:
        """Once the run has stopped, tell the process that waits for it: submitit queues the run again."""
        if self._warning is not None:
            signal.raise_signal(self._warning)


@contextmanager
def stop_on_signal(*, queued: bool = True) -> Iterator[StopRequest]:
    """Turn Ctrl-C, SIGTERM and the end of the terminal into a request while the block runs.

    So is a queue's warning where somebody waits for it and the process may be a queue's (`queued`). A signal that was
    ignored stays ignored, as nohup wants it. Outside the main thread there are no signals.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handlers = dict.fromkeys((signal.SIGINT, *ENDINGS), stop.handle)
    handlers = {number: one for number, one in handlers.items() if signal.getsignal(number) is not signal.SIG_IGN}
    if queued and WARNING is not None and callable(signal.getsignal(WARNING)):
        handlers[WARNING] = stop.warned
    if ALARM is not None and callable(signal.getsignal(ALARM)):
        handlers[ALARM] = stop.remember
    earlier = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextmanager
def without_signals() -> Iterator[None]:
    """Block the signals that ask to stop while the block runs; a process that is started meanwhile never gets them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *ENDINGS))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


@contextmanager
def interrupt_on_signal(before: Callable[[], None]) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and the end of the terminal into KeyboardInterrupt while the block runs.

    Args:
        before: called first, once; a second signal does not wait for it.
    """
    called = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal called
        if called and number == ALARM:
            return
        if not called:
            called = True
            before()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    obeyed = [number for number in (signal.SIGINT, *ENDINGS) if signal.getsignal(number) is not signal.SIG_IGN]
    if ALARM is not None and callable(signal.getsignal(ALARM)):
        obeyed.append(ALARM)
    earlier = {number: signal.signal(number, interrupt) for number in obeyed}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextmanager
def stopped_after(seconds: float | None) -> Iterator[None]:
    """Stop what runs within the block once so many seconds are over, as one Ctrl-C would; None for never.

    What stops, stops in `stop_on_signal` and `interrupt_on_signal`; elsewhere nothing happens. Outside the main thread,
    and on Windows, nothing is stopped at all.
    """
    if seconds is None or ALARM is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(ALARM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, seconds, REMINDER)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(ALARM, earlier)


def obey_in_worker() -> StopRequest:
    """In a worker, SIGTERM stops the run at its next step; Ctrl-C reaches the whole group and is left to the parent."""
    stop = StopRequest()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in ENDINGS:
        signal.signal(number, stop.remember)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, *ENDINGS))
    return stop
