"""The settings of a search, checked before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from fanin.errors import OptionError, UserError, choice, did_you_mean, integer, number, told_of
from fanin.record import columns
from fanin.record.columns import names
from fanin.search.racing import TESTS, fewest_seeds
from fanin.search.schedule import TRIALS, Bracket, halving, hyperband, racing, rounds
from hydra_plugins.fanin.search_sweeper import SearchSweeperConf

METHODS = ("random", "qmc", "tpe", "gp", "cmaes", "nsga2", "reinforce")
BUDGETS = ("none", "halving", "hyperband", "racing")
DIRECTIONS = ("minimize", "maximize")
AT_ONCE = ("random", "qmc")
"""Methods that learn nothing from results: all trials can be proposed at once."""

BATCH = {"nsga2": 24}
"""Configurations of a batch, where it is not 8: a generation."""

IN_TRAINING = ("val_error", "val_loss", "batch_error", "batch_loss", "train_error", "train_loss")
"""Metrics that a run has before its end; those of the training part with trainer.eval_train."""

AT_END = tuple(
    dict.fromkeys(
        names(columns.FINAL) + names(columns.EVALUATION) + names(columns.INIT) + names(columns.INIT_MORE)
        + names(columns.METRICS) + names(columns.RESULT)
    )
)  # fmt: skip
"""What a run has at its end."""


DEFAULTS: dict[str, Any] = {
    one.name: one.default for one in fields(SearchSweeperConf) if one.name not in ("_target_", "params")
}
"""Of a search that was told nothing, as `hydra/sweeper=search` has them."""


@dataclass
class Settings:
    """See `hydra_plugins.fanin.search_sweeper.SearchSweeperConf`."""

    method: str
    trials: int | None
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    seeds: int
    budget: str
    eta: int
    min_steps: int | None
    level: float
    test: str
    batch: int
    timeout: float | None
    seed: int

    @classmethod
    def of(cls, given: dict[str, Any]) -> Settings:
        """The settings from what was typed.

        Raises:
            OptionError, UserError: what is not allowed, or does not go together.
        """
        with told_of("hydra.sweeper"):
            method = choice("method", given["method"], METHODS)
            budget = choice("budget", given["budget"], BUDGETS)
            trials = _or_none("trials", given["trials"])
            seeds = integer("seeds", given["seeds"], 1)
            eta = integer("eta", given["eta"], 2)
            least = _or_none("min_steps", given["min_steps"])
            level = number("level", given["level"], 0, 0.5, open_low=True)
            test = choice("test", given["test"], TESTS)
            batch = _or_none("batch", given["batch"]) or BATCH.get(method, 8)
            if given["timeout"] is not None:
                number("timeout", given["timeout"], 0, open_low=True)
            seed = integer("seed", given["seed"], 0)
            metrics = _words(given["metric"])
            directions = _words(given["direction"])
            for one in metrics:
                _check_metric(one)
            for one in directions:
                choice("direction", one, DIRECTIONS)
            if len(directions) == 1:
                directions *= len(metrics)
            if len(directions) != len(metrics):
                fix = f"there are {len(metrics)} metrics"
                raise OptionError("direction", ",".join(directions), "one, or one for each metric", fix)
            if len(metrics) > 1 and method not in ("nsga2", "random", "qmc", "tpe"):
                raise OptionError("method", method, "nsga2, tpe, random or qmc with several metrics")
            if method == "nsga2" and budget != "none":
                raise OptionError("budget", budget, "none with method=nsga2, whose generations go to the end")
            if len(metrics) > 1 and budget != "none":
                raise OptionError("budget", budget, "none with several metrics, of which none says who goes on")
            if budget != "none" and metrics[0] not in IN_TRAINING:
                allowed = f"measured before a run's end with budget={budget}: one of {', '.join(IN_TRAINING)}"
                raise OptionError("metric", metrics[0], allowed)
            if budget == "racing" and seeds < (first := fewest_seeds(level, test)):
                allowed = f"at least {first} with budget=racing: with fewer, the test drops nothing at level={level:g}"
                raise OptionError("seeds", seeds, allowed)
        return cls(
            method, trials, metrics, directions, seeds, budget, eta, least, level, test, batch, given["timeout"], seed
        )  # fmt: skip

    def brackets(self, steps: int) -> Iterator[Bracket]:
        """The brackets, one after the other.

        Args:
            steps: R, those of a whole run.

        Raises:
            UserError: a run has too few steps.
        """
        if self.budget == "none":
            trials = self.trials or TRIALS
            at_once = self.method in AT_ONCE and self.timeout is None
            yield from rounds(trials, trials if at_once else self.batch, self.seeds)
            return
        if steps < self.eta:
            raise UserError(f"hydra.sweeper.budget={self.budget}: a run of {steps} steps has no rungs; trainer.steps=N")
        if self.min_steps is not None and self.min_steps > steps:
            raise OptionError("hydra.sweeper.min_steps", self.min_steps, f"at most the {steps} steps of a whole run")
        if self.budget == "halving":
            yield from halving(self.trials or TRIALS, steps, self.min_steps, self.eta, self.seeds)
        elif self.budget == "hyperband":
            yield from hyperband(self.trials, steps, self.min_steps, self.eta, self.seeds)
        else:
            first = fewest_seeds(self.level, self.test)
            yield from racing(self.trials or TRIALS, steps, self.min_steps, self.eta, self.seeds, first)

    @property
    def signs(self) -> tuple[int, ...]:
        """1 for each metric that is to be small, -1 for one that is to be large."""
        return tuple(1 if direction == "minimize" else -1 for direction in self.directions)


def _or_none(name: str, value: object) -> int | None:
    """An integer from 1, or None."""
    try:
        return None if value is None else integer(name, value, 1)
    except OptionError as error:
        raise OptionError(name, value, f"null or {error.allowed}") from None


def _words(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else (str(value),)


def _check_metric(name: str) -> None:
    """Refuse what no run has; what stands deeper in result.json has dots in its name, and is looked for there."""
    if "." not in name and name not in AT_END:
        allowed = "a number of a run's last row or of its result.json, such as val_error, test_loss, parameters or z"
        raise OptionError("metric", name, allowed, did_you_mean(name, AT_END))
