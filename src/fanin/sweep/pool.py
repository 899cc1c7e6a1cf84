"""A pool of worker processes: jobs run apart, one torch thread each, and fail apart.

Workers come from a fork server that has imported torch beforehand, so that a new one is there in milliseconds; where
the system does not fork well, each is a new process, there after the seconds that its imports take. The parent never
touches a run's files while its worker lives: it hands out jobs, shows the workers' messages, and marks
the runs of a worker that died.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import wait
from threading import Thread
from typing import Any

from fanin.process import cores
from fanin.record.run_folder import RunFolder
from fanin.record.summary import update_summary
from fanin.sweep.composer import hydra_record
from fanin.sweep.grid_view import Board
from fanin.sweep.job import Outcome, note
from fanin.sweep.plan import Planned
from fanin.sweep.signals import stop_on_signal
from fanin.sweep.worker import Posted
from fanin.sweep.worker_process import PATIENCE, Group, NoWorkers, Worker, start_worker

log = logging.getLogger(__name__)

TRIES = 3
"""Workers that may die before they have begun a group; then its runs are marked as failed."""

PROCESS = "its process"
"""How the error of a run begins whose worker died."""

MOST_NEWS = 16
"""Groups whose news are kept for a worker."""

known_recipes: set[str] = set()
"""Recipes of which a group has ended in a pool of this process: a search has one for each of its rungs."""

earlier_news: deque[bytes] = deque(maxlen=MOST_NEWS)
"""What the workers of this process's pools have worked out last."""

IMPORTS = 60.0
"""Seconds that are waited for the imports of the report."""


def pool_size(n_jobs: int | None, jobs_per_gpu: int, wanted: Sequence[str]) -> tuple[int, list[int | None]]:
    """The number of workers and the GPUs that they take in turn, [None] for the CPU.

    Args:
        n_jobs: None for as many as there are cores, or places on GPUs.
        jobs_per_gpu: places on each GPU.
        wanted: `trainer.device` of the runs.
    """
    from fanin.devices import count, device_of

    kinds = {kind for kind in {device_of(one).type for one in wanted} if kind != "cpu"}
    gpus = max(map(count, kinds), default=0)
    if gpus:
        return n_jobs or gpus * jobs_per_gpu, list(range(gpus))
    return n_jobs or cores(), [None]


def run_pool(
    groups: Sequence[Sequence[Planned]],
    size: int,
    devices: Sequence[int | None],
    prepare_process: Callable[[], None],
    method: str = "auto",
) -> list[Outcome]:
    """Run groups of jobs, `size` groups at a time.

    Args:
        groups: in the order in which they are to be started; the jobs of a group are trained as one program.
        size: number of workers.
        devices: GPUs that the workers take in turn, or [None] for the CPU.
        prepare_process: called in each worker before anything else; importable.
        method: how workers are started, see `start_method`.

    Returns:
        The outcome of each run.

    Raises:
        KeyboardInterrupt: the user asked to stop; what was running is marked as interrupted, with a checkpoint.
    """
    pool = Pool(deque(map(Group, groups)), devices, prepare_process, method, known=known_recipes, news=earlier_news)
    jobs = sum(len(group) for group in groups)
    with stop_on_signal() as asked, Board(jobs) as board:
        preparing = Thread(target=_prepare_report, daemon=True)
        preparing.start()
        try:
            pool.work(min(size, len(groups)), board, asked)
        finally:
            pool.end_workers()
            preparing.join(IMPORTS)  # two threads that import the same modules in another order see half of them
    if asked():
        raise KeyboardInterrupt
    return pool.outcomes


def _prepare_report() -> None:
    """Import what draws the report while workers train; an error shows again when the report is drawn."""
    with suppress(Exception):
        import_module("fanin.report.make")


def posted(run: Planned) -> Posted:
    """A planned run, ready to be sent."""
    composed = run.composed
    record = hydra_record(composed, run.folder, run.number)
    return Posted(
        composed.resolved,
        run.identity,
        RunFolder(run.folder),
        config=composed.plain,
        overrides=composed.overrides,
        record=record,
    )


@dataclass
class Pool:
    """Workers and the work that waits for them.

    Args:
        waiting: groups of runs, in their order; a recipe that is just being worked out lets others go first.
        devices: GPUs that the workers take in turn, or [None] for the CPU.
        prepare_process: called in each worker before anything else.
        method: how they are started.

    Attributes:
        known: recipes of which a group has ended, so that what is expected of them has been told.
        news: what workers have worked out last, for those that are yet to be started.
    """

    waiting: deque[Group]
    devices: Sequence[int | None]
    prepare_process: Callable[[], None]
    method: str = "auto"
    outcomes: list[Outcome] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    stopping: bool = False
    known: set[str] = field(default_factory=set)
    news: deque[bytes] = field(default_factory=lambda: deque(maxlen=MOST_NEWS))

    def work(self, size: int, board: Board, asked: Callable[[], bool]) -> None:
        """Hand out groups until none is left, or the user asks to stop."""
        for place in range(size):
            self.add_worker(self.devices[place % len(self.devices)])
        while any(worker.group for worker in self.workers) or (self.waiting and not asked()):
            for worker in list(self.workers):
                if worker.group is None and self.waiting and not asked():
                    self.assign(worker, self.next_group(), board)
            if asked() and not self.stopping:
                self.ask_to_stop()
            ready = wait([source for worker in self.workers for source in worker.sources], timeout=0.2)
            for worker in list(self.workers):
                if not {id(source) for source in worker.sources}.isdisjoint(map(id, ready)):
                    self.receive(worker, board)
            _show(board.refresh)

    def add_worker(self, device: int | None) -> None:
        """Start a worker; fewer than were wanted are enough.

        Raises:
            NoWorkers: there is none at all now.
        """
        try:
            worker = start_worker(device, self.prepare_process, self.method)
            worker.untold = list(self.news)
            self.workers.append(worker)
        except NoWorkers:
            if not self.workers:
                raise

    def assign(self, worker: Worker, group: Group, board: Board) -> None:
        """Give a group to an idle worker."""
        worker.group, worker.begun = group, False
        for run in group.runs:
            _show(board.started, run.identity.name)
        try:
            worker.connection.send(([posted(run) for run in group.runs], worker.untold))
            worker.untold = []
        except OSError:  # it died while it waited
            self.replace_dead(worker, board)

    def next_group(self) -> Group:
        """The first that waits, but of no recipe that another worker sees for the first time just now.

        What is expected of a recipe takes a while to work out: it is worked out once, and told to the others.
        """
        new = {recipe for worker in self.workers if worker.group for recipe in worker.group.recipes} - self.known
        place = next((at for at, group in enumerate(self.waiting) if not new & group.recipes), 0) if new else 0
        group = self.waiting[place]
        del self.waiting[place]
        return group

    def tell(self, news: bytes, source: Worker) -> None:
        """Keep what a worker has worked out for the others, those that are yet to be started too."""
        self.news.append(news)
        for worker in self.workers:
            if worker is not source:
                worker.untold = [*worker.untold, news][-MOST_NEWS:]

    def ask_to_stop(self) -> None:
        """Send the workers a last word: their runs stop at the next step, and their last messages are still read.

        They share no lock and no event: a worker that is killed would keep it, and all others would wait for it.
        """
        self.stopping = True
        for worker in self.workers:
            with suppress(OSError):
                worker.connection.send(None)

    def receive(self, worker: Worker, board: Board) -> None:
        """Handle all messages of a worker; if it has died, replace it."""
        try:
            while worker.connection.poll():
                self.handle(worker, worker.connection.recv(), board)
        except (EOFError, OSError):
            self.replace_dead(worker, board)
            return
        if worker.died:
            self.replace_dead(worker, board)

    def handle(self, worker: Worker, message: tuple[Any, ...], board: Board) -> None:
        """Handle one message of a worker."""
        kind, *content = message
        if kind == "outcomes":
            outcomes, news = content
            if worker.group is not None:
                self.known |= worker.group.recipes
            worker.group = None
            for outcome in outcomes:
                self.close(outcome, board)
            if news:
                self.tell(news, worker)
        elif kind == "taken":
            worker.begun = True
        elif kind == "broken":
            (worker.reason,) = content
        else:
            name, *words = content
            _show(board.told, name, kind, words)

    def close(self, outcome: Outcome, board: Board) -> None:
        """Record the outcome of a run that has ended."""
        self.outcomes.append(outcome)
        _show(board.finished, outcome["run"], outcome["state"])

    def replace_dead(self, worker: Worker, board: Board) -> None:
        """After a worker's death: retry its runs, or mark the one that was alone; start a worker for what waits."""
        worker.end_process()  # it may have closed its connection and still run
        self.workers.remove(worker)
        worker.connection.close()
        group = worker.group
        if group is not None and (left := list(self.unfinished(group, board))):
            if not worker.begun and group.tries + 1 < TRIES:
                self.waiting.appendleft(Group(left, group.tries + 1))
            elif len(left) > 1:
                self.waiting.extend(Group([run], group.tries) for run in left)
            else:
                for run in left:
                    self.fail(run, f"{PROCESS} {worker.end}", board)
        if self.waiting and not self.stopping:
            self.add_worker(worker.device)

    def unfinished(self, group: Group, board: Board) -> Iterable[Planned]:
        """The runs of a dead worker's group that had not ended."""
        for run in group.runs:
            folder = RunFolder(run.folder)
            plain = run.composed.plain
            if not plain.get("force") and folder.over(run.identity.config_hash, plain.get("pause_at")):
                state = folder.status["state"]
                outcome = {"run": run.identity.name, "folder": str(folder.path), "state": state, "error": None}
                self.close(outcome, board)
            else:
                _show(board.finished, run.identity.name, "")
                yield run

    def fail(self, run: Planned, error: str, board: Board) -> None:
        """Mark a run whose worker is gone."""
        folder = RunFolder(run.folder)
        with suppress(OSError):  # a full disk
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.mark_dead("failed", error)
            note(folder, f"failed: {error}")
            update_summary(folder.path.parent, [folder.path])
        name = run.identity.name
        _show(board.told, name, "line", [f"failed: {error} (see {folder.path / 'run.log'})", "red"])
        self.close({"run": name, "folder": str(folder.path), "state": "failed", "error": error}, board)

    def end_workers(self) -> None:
        """End the workers; one that has not ended after some seconds, or after a second Ctrl-C, is killed."""
        for worker in self.workers:
            worker.connection.close()
        for worker in self.workers:
            if worker.end_process(1 if worker.group else PATIENCE):
                for run in worker.group.runs if worker.group else ():
                    with suppress(OSError):
                        RunFolder(run.folder).mark_dead("interrupted", "stopped by the user at once")


def _show(show: Callable[..., None], *content: Any) -> None:
    """Show something; an error in showing it does not fail a run."""
    try:
        show(*content)
    except Exception as error:
        log.warning("what a run says could not be shown: %s", error)
