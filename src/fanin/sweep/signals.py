"""Ctrl-C once: stop at the next step, keep everything. Twice: stop now. A queue's warning: be queued again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether the user (or the system, with SIGTERM) has asked to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._warning: int | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.requested

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal, obey the second at once."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def warned(self, number: int, frame: FrameType | None) -> None:
        """Remember that the queue wants the process to end soon."""
        self.requested, self._warning = True, number

    def pass_on(self) -> None:
        """Once the run has stopped, give a warning to whoever waited for it: submitit queues the run again."""
        if self._warning is not None:
            signal.raise_signal(self._warning)


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request while the block runs; outside the main thread there are none.

    So is SIGUSR2 where somebody waits for it: with it submitit's queues announce the end of a process's time.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handlers = {signal.SIGINT: stop.handle, signal.SIGTERM: stop.handle}
    if callable(signal.getsignal(signal.SIGUSR2)):
        handlers[signal.SIGUSR2] = stop.warned
    earlier = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
