"""Proposals that learn from results: Optuna's samplers, a batch at a time.

A batch is proposed by a sampler of its own, whose seed is the search's and the number of the batch's first trial. So
what is proposed is a function of the seed and of what is known, and the same after a kill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from fanin.search.random_proposals import Job, RandomProposals, TrialResult
from fanin.search.space import Axis, Draw, Space, Value
from fanin.search.study_log import StudyLog, direction_of, running, silent, tell


class LoggedProposals:
    """Proposals of draws without memory, written down in a study of Optuna's.

    Args:
        draws: they propose.
        log: the study.
    """

    def __init__(self, draws: RandomProposals, log: StudyLog) -> None:
        self.draws, self.log = draws, log

    def propose(self, count: int) -> dict[int, Job]:
        """The next configurations by their numbers."""
        return self.draws.propose(count)

    def record(self) -> None:
        """Write down what was proposed."""
        axes = {axis.name: axis for axis in self.draws.space.all_axes}
        self.log.add([running(params, axes) for params in self.draws.params.values()])

    def tell(self, results: Sequence[TrialResult]) -> None:
        """Write down what came of it."""
        self.log.tell(results)


class OptunaProposals:
    """Proposals of one of Optuna's samplers.

    Args:
        method: tpe, gp, cmaes or nsga2.
        space: what is searched.
        seed: of the search.
        batch: configurations of a batch, the size of a population.
        directions: minimize or maximize, one for each metric.
        log: the study that is written down; what it has is not proposed again. None to write nothing.
    """

    def __init__(
        self,
        method: str,
        space: Space,
        seed: int,
        batch: int,
        directions: Sequence[str],
        log: StudyLog | None = None,
    ) -> None:
        self.method, self.space, self.seed, self.batch, self.log = method, space, seed, batch, log
        self.axes = {axis.name: axis for axis in space.all_axes}
        self.storage = InMemoryStorage()  # what is known; the journal is what is written down of it
        with silent():
            self.study = optuna.create_study(storage=self.storage, directions=list(map(direction_of, directions)))

    def propose(self, count: int) -> dict[int, Job]:
        """The next configurations: those of the study, or a new batch."""
        first = len(self.study.get_trials(deepcopy=False))
        known = self.log.kept[first : first + count] if self.log is not None else []
        with silent():
            if len(known) == count:
                for trial in known:
                    self.study.add_trial(_unfinished(trial))
                return {trial.number: self.space.job(_of(trial.params)) for trial in known}
            threads = torch.get_num_threads()
            torch.set_num_threads(1)  # sums of several threads are rounded in another order
            try:
                return self.new(first, count)
            finally:
                torch.set_num_threads(threads)

    def new(self, first: int, count: int) -> dict[int, Job]:
        """A new batch, for which the trials on their way count as well."""
        (seed,) = np.random.SeedSequence([self.seed, first]).generate_state(1)
        self.study.sampler = Rounded(self.sampler(int(seed)), self.axes)
        jobs = {}
        for _ in range(count):
            trial = self.study.ask()
            jobs[trial.number] = self.space.job(_asked(trial))
        return jobs

    def sampler(self, seed: int) -> BaseSampler:
        """The sampler of a batch."""
        if self.method == "tpe":
            return TPESampler(seed=seed)
        if self.method == "gp":
            return GPSampler(seed=seed, warn_independent_sampling=False)
        if self.method == "cmaes":
            population = self.batch if self.batch >= 5 else None
            return CmaEsSampler(seed=seed, popsize=population, warn_independent_sampling=False)
        return NSGAIISampler(seed=seed, population_size=max(2, self.batch))

    def record(self) -> None:
        """Write down what was proposed."""
        if self.log is not None:
            self.log.add(self.study.get_trials(deepcopy=False))

    def tell(self, results: Sequence[TrialResult]) -> None:
        """Learn what came of the batch, and write it down."""
        study = self.storage.get_study_id_from_name(self.study.study_name)
        for result in results:
            tell(self.storage, study, result)
        if self.log is not None:
            self.log.tell(results)


class Rounded(BaseSampler):
    """A sampler whose numbers have no more digits than are typed.

    Args:
        inner: draws.
        axes: by their names.
    """

    def __init__(self, inner: BaseSampler, axes: Mapping[str, Axis]) -> None:
        self.inner, self.axes = inner, axes

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What is drawn together."""
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values that are drawn together."""
        found = self.inner.sample_relative(study, trial, search_space)
        return {name: self.axes[name].rounded(value) for name, value in found.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value that is drawn by itself."""
        return self.axes[param_name].rounded(
            self.inner.sample_independent(study, trial, param_name, param_distribution)
        )

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """A trial begins."""
        self.inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """A trial has ended."""
        self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Another seed."""
        self.inner.reseed_rng()


def _unfinished(trial: FrozenTrial) -> FrozenTrial:
    """A trial as it was when it was proposed."""
    return create_trial(
        state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions,
        system_attrs=trial.system_attrs,
    )  # fmt: skip


def _of(params: Mapping[str, Value]) -> Draw:
    return lambda axis: params[axis.name]


def _asked(trial: Trial) -> Draw:
    """Asks a trial for its value of an axis."""

    def value(axis: Axis) -> Value:
        if axis.kind == "choice":
            return trial.suggest_categorical(axis.name, axis.choices)
        assert axis.low is not None
        assert axis.high is not None
        if axis.kind == "int":
            return trial.suggest_int(axis.name, int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1))
        return trial.suggest_float(axis.name, axis.low, axis.high, log=axis.log, step=axis.step)

    return value
