"""The study as Optuna keeps it: a journal that its dashboard opens, with a line for each thing that happens."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from fanin.search.random_proposals import TrialResult
from fanin.search.space import Axis, Value

NAME = "search"
"""Of the study within its journal."""


class StudyLog:
    """The journal of a study, written by one process: whoever owns the search.

    Args:
        path: the journal.
        directions: minimize or maximize, one for each metric.
        fresh: whether an earlier study in it is forgotten.

    Attributes:
        kept: the trials that it has had from the start.
    """

    def __init__(self, path: Path, directions: Sequence[str], *, fresh: bool = False) -> None:
        self.path, self.directions = path, directions
        self.fresh = fresh
        self.kept: list[FrozenTrial] = [] if fresh else _trials(path)
        self._storage: BaseStorage | None = None
        self._study = 0
        self._count = len(self.kept)
        self._told = {trial.number for trial in self.kept if trial.state.is_finished()}

    @property
    def storage(self) -> BaseStorage:
        """Where lines are added, from the first one on."""
        if self._storage is None:
            if self.fresh:
                self.path.unlink(missing_ok=True)
            _mend(self.path)
            with silent():
                self._storage = JournalStorage(
                    JournalFileBackend(str(self.path), lock_obj=_OwnedAlready(str(self.path)))
                )
                try:
                    self._study = self._storage.get_study_id_from_name(NAME)
                except KeyError:
                    self._study = self._storage.create_new_study(list(map(direction_of, self.directions)), NAME)
        return self._storage

    def add(self, trials: Sequence[FrozenTrial]) -> None:
        """Write down what was proposed: all trials from the first on; those that are there stay."""
        for trial in trials[self._count :]:
            self.storage.create_new_trial(self._study, template_trial=trial)
            self._count += 1

    def tell(self, results: Sequence[TrialResult]) -> None:
        """Write down what came of trials; what is there stays."""
        for result in results:
            if result.trial not in self._told:
                tell(self.storage, self._study, result)
                self._told.add(result.trial)


class _OwnedAlready(JournalFileOpenLock):
    """No lock: the process owns the search's folder, and a lock file would outlive a process that is killed."""

    def acquire(self) -> bool:
        """Nothing to wait for."""
        return True

    def release(self) -> None:
        """Nothing to give back."""


def _mend(path: Path) -> None:
    """Cut off what a kill has left of the last line."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def _trials(path: Path) -> list[FrozenTrial]:
    """The trials of a journal, [] where there is none."""
    if not path.is_file():
        return []
    with silent():
        try:
            storage = JournalStorage(JournalFileBackend(str(path)))
            return storage.get_all_trials(storage.get_study_id_from_name(NAME))
        except KeyError:  # killed before the study was in it
            return []


def tell(storage: BaseStorage, study: int, result: TrialResult) -> None:
    """Tell a storage what came of a trial: pruned where it was dropped, complete otherwise, the worst value too."""
    trial = storage.get_trial_id_from_study_id_trial_number(study, result.trial)
    storage.set_trial_user_attr(trial, "fanin", {"state": result.state, "runs": list(result.runs)})
    if len(result.values) == 1 and len(result.course) > 1:
        for steps, value in result.course.items():
            storage.set_trial_intermediate_value(trial, steps, value)
    state = TrialState.PRUNED if result.state == "dropped" else TrialState.COMPLETE
    storage.set_trial_state_values(trial, state, result.values)


def direction_of(word: str) -> StudyDirection:
    """Optuna's word for a direction."""
    return StudyDirection[word.upper()]


def distribution_of(axis: Axis) -> BaseDistribution:
    """An axis in Optuna's words."""
    if axis.kind == "choice":
        return CategoricalDistribution(axis.choices)
    assert axis.low is not None
    assert axis.high is not None
    if axis.kind == "int":
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1))
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)


def running(params: Mapping[str, Value], axes: Mapping[str, Axis]) -> FrozenTrial:
    """A trial on its way."""
    distributions = {name: distribution_of(axes[name]) for name in params}
    return create_trial(state=TrialState.RUNNING, params=dict(params), distributions=distributions)


@contextmanager
def silent() -> Iterator[None]:
    """Without Optuna's own messages: that something is an experiment of its own, or was drawn independently."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
