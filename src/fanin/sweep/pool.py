"""A pool of worker processes: jobs run apart, one torch thread each, and fail apart.

Workers come from a fork server that has imported torch beforehand, so that a new one is there in milliseconds. The
parent never touches a run's files while its worker lives; it hands out jobs, shows what it is told, and marks what a
dead worker left behind.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import select
import signal
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from threading import Thread
from typing import Any

from fanin.record.run_folder import RunFolder
from fanin.record.summary import update_summary
from fanin.run.request import Request
from fanin.sweep.composer import hydra_record, write_record
from fanin.sweep.grid_view import Board
from fanin.sweep.job import Outcome, execute_together, note
from fanin.sweep.plan import Planned
from fanin.sweep.run_view import ending
from fanin.sweep.signals import stop_on_signal

CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(kw_only=True)
class Posted(Request):
    """A request as it is sent to a worker, with what Hydra's record of it is to say."""

    overrides: list[str]
    record: dict[str, Any]

    def prepare(self) -> None:
        """Write Hydra's record."""
        write_record(self.folder.path, self.cfg, self.overrides, self.record)


Task = list[Posted]
"""What a worker takes at a time: one request, or several that are trained as one program."""


@dataclass
class Worker:
    """A worker process as its parent sees it."""

    process: ForkServerProcess
    connection: Connection
    device: int | None
    task: Task = field(default_factory=list)


@dataclass
class Line:
    """A worker's line to its parent; when the parent is gone, what runs is to stop."""

    connection: Connection
    orphaned: bool = False

    def send(self, *message: Any) -> None:
        """Say something."""
        try:
            self.connection.send(message)
        except OSError:
            self.orphaned = True


@dataclass
class Remote:
    """The viewer of a run in a worker: what it says goes to the parent."""

    line_to_parent: Line
    name: str

    def step(self, step: int, steps: int, loss: float, error: float) -> None:
        """Where the run is."""
        self.line_to_parent.send("step", self.name, step, steps, loss, error)

    def ended(self, result: dict[str, Any]) -> None:
        """It ended, with this result."""
        self.line_to_parent.send("line", self.name, *ending(result))

    def line(self, text: str, style: str = "") -> None:
        """Anything else there is to say."""
        self.line_to_parent.send("line", self.name, text, style)


def warm_up() -> None:
    """Start the fork server, which imports torch while the parent plans."""
    CONTEXT.set_forkserver_preload(["fanin.sweep.preload"])
    forkserver.ensure_running()


def pool_size(n_jobs: int | None, jobs_per_gpu: int, wanted: Sequence[str]) -> tuple[int, list[int | None]]:
    """The number of workers and the CUDA devices that they take in turn, [None] for the CPU.

    Args:
        n_jobs: None for as many as there are cores, or places on GPUs.
        jobs_per_gpu: places on each GPU.
        wanted: `trainer.device` of the runs.
    """
    import torch

    gpus = 0 if all(device == "cpu" for device in wanted) else torch.cuda.device_count()
    if gpus:
        return n_jobs or gpus * jobs_per_gpu, list(range(gpus))
    return n_jobs or len(os.sched_getaffinity(0)), [None]


def run_pool(
    groups: Sequence[Sequence[Planned]],
    size: int,
    devices: Sequence[int | None],
    prepare_process: Callable[[], None],
) -> list[Outcome]:
    """Run groups of jobs, `size` groups at a time.

    Args:
        groups: in the order in which they are to be started; the jobs of a group are trained as one program.
        size: number of workers.
        devices: CUDA devices that the workers take in turn, or [None] for the CPU.
        prepare_process: called in each worker before anything else; importable.

    Returns:
        What each run came to.

    Raises:
        KeyboardInterrupt: the user asked to stop; what was running is marked as interrupted, with a checkpoint.
    """
    pool = Pool(deque([posted(run) for run in group] for group in groups), devices, prepare_process)
    jobs = sum(len(group) for group in groups)
    with stop_on_signal() as asked, Board(jobs) as board:
        Thread(target=_prepare_report, daemon=True).start()
        try:
            pool.work(min(size, len(groups)), board, asked)
        finally:
            pool.dismiss()
    if asked():
        raise KeyboardInterrupt
    return pool.outcomes


def _prepare_report() -> None:
    """Import what draws the report, for which workers leave time; what is wrong with it shows when it is drawn."""
    with suppress(Exception):
        import_module("fanin.report.make")


def posted(run: Planned) -> Posted:
    """A planned run, ready to be sent."""
    composed = run.composed
    record = hydra_record(composed, run.folder, run.number)
    return Posted(composed.task, run.identity, RunFolder(run.folder), overrides=composed.overrides, record=record)


@dataclass
class Pool:
    """Workers and the work that waits for them."""

    waiting: deque[Task]
    devices: Sequence[int | None]
    prepare_process: Callable[[], None]
    outcomes: list[Outcome] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    stopping: bool = False

    def work(self, size: int, board: Board, asked: Callable[[], bool]) -> None:
        """Hand out jobs until none is left, or the user asks to stop."""
        for place in range(size):
            self.hire(self.devices[place % len(self.devices)])
        while any(worker.task for worker in self.workers) or (self.waiting and not asked()):
            for worker in self.workers:
                if not worker.task and self.waiting and not asked():
                    worker.task = self.waiting.popleft()
                    worker.connection.send(worker.task)
                    for one in worker.task:
                        board.started(one.name)
            if asked() and not self.stopping:
                self.hang_up()
            watched: list[Any] = [worker.connection for worker in self.workers]
            ready = wait([*watched, *(worker.process.sentinel for worker in self.workers)], timeout=0.2)
            for worker in list(self.workers):
                if worker.connection in ready or worker.process.sentinel in ready:
                    self.listen(worker, board)
            board.refresh()

    def hire(self, device: int | None) -> None:
        """Start a worker."""
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_work, args=(theirs, device, self.prepare_process), daemon=True)
        process.start()
        theirs.close()
        self.workers.append(Worker(process, ours, device))

    def hang_up(self) -> None:
        """Tell the workers that nothing more comes: what runs is to stop, and what it came to is still heard.

        They share no lock and no event: a worker that is killed would keep it, and all others would wait for it.
        """
        self.stopping = True
        for worker in self.workers:
            with socket.socket(fileno=os.dup(worker.connection.fileno())) as line:
                line.shutdown(socket.SHUT_WR)

    def listen(self, worker: Worker, board: Board) -> None:
        """Take in all that a worker has to say, or its death."""
        try:
            while worker.connection.poll():
                kind, *content = worker.connection.recv()
                if kind == "outcomes":
                    for outcome in content[0]:
                        self.close(outcome, board)
                    worker.task = []
                else:
                    name, *words = content
                    board.told(name, kind, words)
        except (EOFError, OSError):
            self.bury(worker, board)

    def close(self, outcome: Outcome, board: Board) -> None:
        """A run is over, whatever came of it."""
        self.outcomes.append(outcome)
        board.finished(outcome["run"], outcome["state"])

    def bury(self, worker: Worker, board: Board) -> None:
        """Mark the run of a worker that died, or try the runs of its group alone; hire another for what is left."""
        worker.process.join()
        self.workers.remove(worker)
        error = f"its process {_end_of(worker.process.exitcode)}"
        if len(worker.task) == 1:
            (one,) = worker.task
            folder = one.folder
            folder.path.mkdir(parents=True, exist_ok=True)
            note(folder, f"failed: {error}")
            folder.mark_dead("failed", error)
            update_summary(folder.path.parent, [folder.path])
            board.told(one.name, "line", [f"failed: {error} (see {folder.path / 'run.log'})", "red"])
            outcome = {"run": one.name, "folder": str(folder.path), "state": "failed", "error": error}
            self.close(outcome, board)
        else:
            for one in worker.task:
                board.finished(one.name, "")
                self.waiting.append([one])
        if self.waiting and not self.stopping:
            self.hire(worker.device)

    def dismiss(self) -> None:
        """Send the workers home; one that does not go within seconds, after a second Ctrl-C, is made to."""
        for worker in self.workers:
            worker.connection.close()
        for worker in self.workers:
            worker.process.join(timeout=1 if worker.task else 5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
                for one in worker.task:
                    one.folder.mark_dead("interrupted", "stopped by the user at once")


def _end_of(code: int | None) -> str:
    """ "was killed by SIGKILL" or "exited with code 3"."""
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"exited with code {code}"


def _hung_up(connection: Connection) -> Callable[[], bool]:
    """Whether the parent is gone or has hung up, asked while nothing else is due from it; takes a microsecond."""
    line = select.poll()
    line.register(connection.fileno(), select.POLLIN)
    return lambda: bool(line.poll(0))


def visible_device(device: int, visible: str | None) -> str:
    """What CUDA_VISIBLE_DEVICES is to be for a device alone, counted among those that it names now."""
    return visible.split(",")[device].strip() if visible else str(device)


def _work(connection: Connection, device: int | None, prepare_process: Callable[[], None]) -> None:
    """A worker's life: take jobs until the parent hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when to stop
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_device(device, os.environ.get("CUDA_VISIBLE_DEVICES"))
    prepare_process()
    line, hung_up = Line(connection), _hung_up(connection)
    while not line.orphaned:
        try:
            task: Task = connection.recv()
        except (EOFError, OSError):
            return
        for one in task:
            one.viewer = Remote(line, one.name)
        line.send("outcomes", execute_together(task, lambda: line.orphaned or hung_up()))
        if len(task) > 1:
            gc.collect()  # the tensors of many runs, before the next ones are made
