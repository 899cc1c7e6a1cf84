"""A pool of worker processes: jobs run apart, one torch thread each, and fail apart.

Workers come from a fork server that has imported torch beforehand, so that a new one is there in milliseconds. The
parent never touches a run's files while its worker lives; it hands out jobs, shows what it is told, and marks what a
dead worker left behind.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from fanin.errors import OptionError, integer
from fanin.record.folder import RunFolder
from fanin.sweep.board import Board
from fanin.sweep.compose import hydra_record, write_record
from fanin.sweep.job import Job, Outcome, execute
from fanin.sweep.plan import Planned
from fanin.sweep.signals import stop_on_signal
from fanin.sweep.summary import update_summary

CONTEXT = multiprocessing.get_context("forkserver")


@dataclass
class Task:
    """What is sent to a worker: a job and what Hydra's record of it is to say."""

    job: Job
    overrides: list[str]
    record: dict[str, Any]


@dataclass
class Worker:
    """A worker process as its parent sees it."""

    process: ForkServerProcess
    connection: Connection
    device: int | None
    task: Task | None = None


@dataclass
class Remote:
    """A worker's viewer: what a run says goes to the parent; when the parent is gone, the run is to stop."""

    connection: Connection
    orphaned: bool = False

    def step(self, step: int, steps: int, loss: float, error: float) -> None:
        """Where the run is."""
        self._send("step", step, steps, loss, error)

    def ended(self, result: dict[str, Any]) -> None:
        """It ended, with this result."""
        told = ("diverged", "steps", "outcome", "verdict", "seconds", "metrics")
        self._send("ended", {key: result[key] for key in told})

    def line(self, text: str, style: str = "") -> None:
        """Anything else there is to say."""
        self._send("line", text, style)

    def _send(self, *message: Any) -> None:
        try:
            self.connection.send(message)
        except OSError:
            self.orphaned = True


def warm_up() -> None:
    """Start the fork server, which imports torch while the parent plans."""
    CONTEXT.set_forkserver_preload(["fanin.run", "fanin.sweep.pool"])
    forkserver.ensure_running()


def pool_size(n_jobs: object, jobs_per_gpu: object, wanted: Sequence[str]) -> tuple[int, list[int | None]]:
    """The number of workers and the CUDA devices that they take in turn, [None] for the CPU.

    Args:
        n_jobs: None for as many as there are cores, or places on GPUs.
        jobs_per_gpu: places on each GPU.
        wanted: `trainer.device` of the runs.

    Raises:
        OptionError: a number is not at least 1.
    """
    import torch

    try:
        count = None if n_jobs is None else integer("n_jobs", n_jobs, 1)
        per_gpu = integer("jobs_per_gpu", jobs_per_gpu, 1)
    except OptionError as error:
        raise error.within("hydra.launcher") from None
    gpus = 0 if all(device == "cpu" for device in wanted) else torch.cuda.device_count()
    if gpus:
        return count or gpus * per_gpu, list(range(gpus))
    return count or len(os.sched_getaffinity(0)), [None]


def run_pool(runs: Sequence[Planned], size: int, devices: Sequence[int | None]) -> list[Outcome]:
    """Run what is not finished, `size` runs at a time.

    Args:
        runs: in the order in which they are to be started.
        size: number of workers.
        devices: CUDA devices that the workers take in turn, or [None] for the CPU.

    Returns:
        What each run came to, in the order of `runs`.

    Raises:
        KeyboardInterrupt: the user asked to stop; what was running is marked as interrupted, with a checkpoint.
    """
    pool = _Pool([run for run in runs if not run.finished], devices)
    for run in runs:
        if run.finished:
            pool.outcomes[run.identity.name] = {"run": run.identity.name, "folder": str(run.folder), "state": "skipped"}
    with stop_on_signal() as asked, Board(len(pool.waiting), size, len(runs) - len(pool.waiting)) as board:
        try:
            pool.work(min(size, len(pool.waiting)), board, asked)
        finally:
            pool.dismiss()
    if asked():
        raise KeyboardInterrupt
    return [pool.outcomes[run.identity.name] for run in runs if run.identity.name in pool.outcomes]


@dataclass
class _Pool:
    waiting: deque[Task]
    devices: Sequence[int | None]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    stop: Event = field(default_factory=CONTEXT.Event)

    def __init__(self, runs: Sequence[Planned], devices: Sequence[int | None]) -> None:
        self.waiting = deque(
            Task(
                Job(run.composed.task, run.identity, run.folder),
                run.composed.overrides,
                hydra_record(run.composed, run.folder, number),
            )
            for number, run in enumerate(runs)
        )
        self.devices, self.outcomes, self.workers, self.stop = devices, {}, [], CONTEXT.Event()

    def work(self, size: int, board: Board, asked: Any) -> None:
        """Hand out jobs until none is left, or the user asks to stop."""
        for place in range(size):
            self.hire(self.devices[place % len(self.devices)])
        while any(worker.task for worker in self.workers) or (self.waiting and not asked()):
            for worker in self.workers:
                if worker.task is None and self.waiting and not asked():
                    worker.task = self.waiting.popleft()
                    worker.connection.send(worker.task)
                    board.started(worker.task.job.identity.name)
            if asked():
                self.stop.set()
            watched: list[Any] = [worker.connection for worker in self.workers]
            ready = wait([*watched, *(worker.process.sentinel for worker in self.workers)], timeout=0.2)
            for worker in list(self.workers):
                if worker.connection in ready or worker.process.sentinel in ready:
                    self.listen(worker, board)
            board.refresh()

    def hire(self, device: int | None) -> None:
        """Start a worker."""
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_work, args=(theirs, self.stop, device), daemon=True)
        process.start()
        theirs.close()
        self.workers.append(Worker(process, ours, device))

    def listen(self, worker: Worker, board: Board) -> None:
        """Take in all that a worker has to say, or its death."""
        try:
            while worker.connection.poll():
                kind, *content = worker.connection.recv()
                assert worker.task is not None
                name = worker.task.job.identity.name
                if kind == "outcome":
                    self.outcomes[name] = content[0]
                    board.finished(name, content[0]["state"])
                    worker.task = None
                else:
                    board.told(name, kind, content)
        except (EOFError, OSError):
            self.bury(worker, board)

    def bury(self, worker: Worker, board: Board) -> None:
        """Mark the run of a worker that died, and hire another where there is work left."""
        worker.process.join()
        self.workers.remove(worker)
        if worker.task is not None:
            name, folder = worker.task.job.identity.name, RunFolder(worker.task.job.folder)
            error = f"its process {_end_of(worker.process.exitcode)}"
            folder.path.mkdir(parents=True, exist_ok=True)
            with (folder.path / "run.log").open("a") as log:
                log.write(f"failed: {error}\n")
            said = folder.status
            folder.write_status("failed", error=error, **{k: said[k] for k in ("step", "steps", "epoch") if k in said})
            update_summary(folder.path.parent, folder.path)
            self.outcomes[name] = {"run": name, "folder": str(folder.path), "state": "failed", "error": error}
            board.told(name, "line", [f"failed: {error} (see {folder.path / 'run.log'})", "red"])
            board.finished(name, "failed")
        if self.waiting:
            self.hire(worker.device)

    def dismiss(self) -> None:
        """Send the workers home; one that does not go within seconds, after a second Ctrl-C, is made to."""
        self.stop.set()
        for worker in self.workers:
            worker.connection.close()
        for worker in self.workers:
            worker.process.join(timeout=5 if worker.task is None else 1)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
                if worker.task is not None:
                    RunFolder(worker.task.job.folder).write_status("interrupted", error="stopped by the user at once")


def _end_of(code: int | None) -> str:
    """ "was killed by SIGKILL" or "exited with code 3"."""
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"exited with code {code}"


def _work(connection: Connection, stop: Event, device: int | None) -> None:
    """A worker's life: take jobs until the parent closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when to stop
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(device)
    from fanin.resolvers import register_resolvers

    register_resolvers()
    while True:
        try:
            task: Task = connection.recv()
        except (EOFError, OSError):
            return
        viewer = Remote(connection)

        def prepare(folder: Path, task: Task = task) -> None:
            write_record(folder, task.job.cfg, task.overrides, task.record)

        outcome = execute(task.job, viewer, lambda viewer=viewer: stop.is_set() or viewer.orphaned, prepare)  # type: ignore[misc]
        try:
            connection.send(("outcome", outcome))
        except OSError:
            return
