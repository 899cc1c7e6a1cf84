"""Hydra's sweeper that searches: `hydra/sweeper=search`."""

# No `from __future__ import annotations`: Hydra executes this module before it is in sys.modules, where a
# dataclass would look its own annotations up.
from dataclasses import dataclass, field
from typing import Any, Optional

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class SearchSweeperConf:
    """Settings of a search.

    Args:
        method: who proposes: random, qmc (Sobol's sequence), reinforce (a policy over the choices), tpe, gp, cmaes or
            nsga2; the last four need Optuna.
        trials: configurations in all; null for 81 or, with hyperband, one round of its brackets.
        metric: a number of a run, or a list of several for nsga2: val_error, test_loss, parameters, ...
        direction: minimize or maximize; a list, one for each metric.
        seeds: each configuration is run at so many seeds, the same for all.
        budget: none trains each to its end; halving and hyperband drop all but 1/eta at each rung; racing drops what a
            paired test over the seeds says is worse than the best.
        eta: of a rung, one configuration in so many goes on, to so many times its steps.
        min_steps: steps of the first rung at least; null for what eta and trials make of a whole run's.
        level: of the test of racing: a configuration is dropped where its p-value is below.
        test: of racing: wilcoxon, the signed rank test; or sign, a sign test that holds however often one looks.
        batch: configurations that are proposed together, where the method learns from those before: a generation of
            cmaes and nsga2; null for 8, of nsga2 for 24.
        timeout: seconds after which the search ends: runs stop at their next step with a checkpoint, no further rung
            begins, and the same command goes on (Slurm's jobs, and Windows, end the rung first); null for none.
        seed: of the proposals; the runs' own are `seed` and those that follow it.
        params: {key: "axis"}, as the command line has them, which replaces them key by key. An entry whose key is a
            condition ties settings or axes to choices: see `GridSweeper`.
    """

    _target_: str = "hydra_plugins.fanin.search_sweeper.SearchSweeper"
    method: Any = "random"
    trials: Any = None
    metric: Any = "val_error"
    direction: Any = "minimize"
    seeds: Any = 1
    budget: Any = "none"
    eta: Any = 3
    min_steps: Any = None
    level: Any = 0.05
    test: Any = "wilcoxon"
    batch: Any = None
    timeout: Any = None
    seed: Any = 0
    params: dict[str, str] | None = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="search", node=SearchSweeperConf, provider="fanin")


class SearchSweeper(Sweeper):
    """Proposes configurations, runs them rung by rung, and ends in a report; see fanin.search."""

    checks_and_reports = True
    """Others run jobs as they come: see fanin.sweep.grid.ended_with_a_report."""

    def __init__(self, params: Optional[dict[str, str]] = None, **settings: Any) -> None:  # noqa: UP045
        self.params, self.settings = params or {}, settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember what Hydra gives, and make the launcher."""
        self.config, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Search; see fanin.search.search."""
        from fanin.search.search import run_search

        return run_search(*self._read(arguments))

    def dry_run(self, arguments: list[str]) -> None:
        """Print what would be searched; see fanin.search.dry_run."""
        from fanin.search.dry_run import rehearse_search
        from fanin.search.search import seeds_of

        config, loader, launcher, settings, space = self._read(arguments)
        rehearse_search(config, loader, launcher, settings, space, seeds_of(settings, space))

    def _read(self, arguments: list[str]) -> tuple[Any, ...]:
        """The configuration, the loader, the launcher, the settings and the space of what was typed."""
        from fanin.search.settings import Settings
        from fanin.search.space import space_of, words_of

        assert self.config is not None
        assert self.launcher is not None
        settings = Settings.of({key: _plain(value) for key, value in self.settings.items()})
        entries = OmegaConf.to_container(self.config.hydra.sweeper.params or OmegaConf.create(), resolve=False)
        assert isinstance(entries, dict)
        texts = {str(key): str(text) for key, text in entries.items()}
        axes = [f"{key}={text}" for key, text in texts.items() if "=" not in key]
        tied = {tuple(key.split()): words_of(text) for key, text in texts.items() if "=" in key}
        parser = OverridesParser.create(config_loader=self.loader)
        space = space_of(parser.parse_overrides([*axes, *arguments]), tied)
        return self.config, self.loader, self.launcher, settings, space


def _plain(value: Any) -> Any:
    """A list of a configuration as a list."""
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
