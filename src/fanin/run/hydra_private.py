"""All that fanin takes of Hydra beside its public interface. What a new version of Hydra may move is mended here.

`tests/run/test_hydra_private.py` names each of them and what is expected of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, run_job
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import MISSING, DictConfig
from omegaconf.basecontainer import BaseContainer

from fanin.run.hydra_targets import check_hydra

__all__ = [
    "App", "apply_overrides", "get_args_parser", "get_overrides_dirname", "loader_of", "new_app", "own_hydra",
    "value_of", "with_number",
]  # fmt: skip

Check = Callable[[DictConfig], object]
Around = Callable[[DictConfig, Sweeper], AbstractContextManager[None]]


class App(Hydra):
    """Hydra's own application, whose single runs are checked before the first folder is made.

    Args:
        task_name: what `hydra.job.name` is by default.
        config_loader: composes.
    """

    check: Check = staticmethod(lambda cfg: None)
    """Called with the composed configuration of a single run; what it raises ends the command."""

    _composed: tuple[tuple[str | None, ...], DictConfig] | None = None
    """What its mode was read from, by the configuration's name and the overrides."""

    around: Around = staticmethod(lambda cfg, sweeper: nullcontext())
    """Makes what a grid is run in, from its configuration and its sweeper."""

    def compose_config(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        with_log_configuration: bool = False,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose a configuration; what Hydra would have made of it is judged before its logging is set up.

        The mode of a command is that of its configuration, which is composed for it alone. What the mode then adds to
        the overrides is added to that one, as composing again is a tenth of a short run's time.
        """
        known, self._composed = self._composed, None
        typed = [*overrides]
        if known is not None and known[0] == (config_name, *typed[: len(known[0]) - 1]):
            cfg = known[1]
            added = OverridesParser.create().parse_overrides(typed[len(known[0]) - 1 :])
            if validate_sweep_overrides:
                parsed = OverridesParser.create().parse_overrides(typed)
                self.config_loader.validate_sweep_overrides_legal(parsed, run_mode, from_shell)  # type: ignore[attr-defined]
            apply_overrides(added, cfg)
            cfg.hydra.overrides.hydra.extend([str(one.input_line) for one in added])
        else:
            rest = (from_shell, validate_sweep_overrides)
            cfg = super().compose_config(config_name, overrides, run_mode, False, *rest)
            check_hydra(cfg)
        if with_log_configuration:
            configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
        return cfg

    def get_mode(self, config_name: str | None, overrides: list[str]) -> RunMode | None:
        """The mode that a configuration sets; None where it sets none or cannot be composed."""
        self._composed = None
        try:
            cfg = self.compose_config(config_name, overrides, RunMode.MULTIRUN, validate_sweep_overrides=False)
        except Exception:  # told when it is composed to be run
            return None
        if MISSING not in map(str, cfg.hydra.runtime.choices.values()):  # a grid may leave a choice open, a run may not
            self._composed = ((config_name, *overrides), cfg)
        mode: RunMode | None = cfg.hydra.mode
        return mode

    def run(
        self,
        config_name: str | None,
        task_function: TaskFunction,
        overrides: list[str],
        with_log_configuration: bool = True,
    ) -> JobReturn:
        """Compose one configuration, check it, and run it in its folder."""
        cfg = self.compose_config(config_name, overrides, RunMode.RUN, with_log_configuration)
        cfg.hydra.mode = RunMode.RUN
        HydraConfig.instance().set_config(cfg)  # ${hydra:...} in what is checked
        self.check(cfg)
        callbacks = Callbacks(cfg)
        callbacks.on_run_start(config=cfg, config_name=config_name)
        job = run_job(
            hydra_context=HydraContext(config_loader=self.config_loader, callbacks=callbacks),
            task_function=task_function,
            config=cfg,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
            configure_logging=with_log_configuration,
        )
        callbacks.on_run_end(config=cfg, config_name=config_name, job_return=job)
        _ = job.return_value  # raises what the job has raised
        return job

    def multirun(
        self,
        config_name: str | None,
        task_function: TaskFunction,
        overrides: list[str],
        with_log_configuration: bool = True,
    ) -> Any:
        """Compose the configuration of a grid and have its sweeper run it."""
        cfg = self.compose_config(config_name, overrides, RunMode.MULTIRUN, with_log_configuration)
        callbacks = Callbacks(cfg)
        callbacks.on_multirun_start(config=cfg, config_name=config_name)
        sweeper = self.sweeper(cfg, task_function, callbacks)
        with self.around(cfg, sweeper):
            returned = sweeper.sweep(arguments=list(cfg.hydra.overrides.task))
        callbacks.on_multirun_end(config=cfg, config_name=config_name)
        return returned

    def sweeper(self, cfg: DictConfig, task_function: TaskFunction, callbacks: Callbacks | None = None) -> Sweeper:
        """The sweeper of a grid's configuration, with its launcher."""
        context = HydraContext(config_loader=self.config_loader, callbacks=callbacks or Callbacks(cfg))
        plugins = Plugins.instance()
        return plugins.instantiate_sweeper(config=cfg, hydra_context=context, task_function=task_function)


def new_app(conf: str, more: Path | None = None) -> App:
    """An application that composes from a folder of configurations and, before it, from a user's own."""
    search_path = create_config_search_path(conf)
    if more is not None:
        search_path.prepend("command-line", f"file://{more.absolute()}", SearchPathQuery(provider="schema"))
    app = App.create_main_hydra2("fanin", search_path)
    assert isinstance(app, App)
    return app


def loader_of(search_path: Sequence[tuple[str, str]]) -> ConfigLoader:
    """Hydra's composing in a process that Hydra does not run in, from (who added it, its address) in order."""
    path = ConfigSearchPathImpl()
    for provider, address in search_path:
        path.append(provider, address)
    return ConfigLoaderImpl(path)


def apply_overrides(overrides: list[Override], cfg: Any) -> None:
    """Set, add and delete keys of a configuration as the command line does."""
    ConfigLoaderImpl._apply_overrides_to_config(overrides, cfg)


def with_number(override: Override, number: int) -> Override:
    """The override of the same key with another integer: what the parser gives, much quicker."""
    return replace(override, _value=number, input_line=f"{override.key_or_group}={number}")


_own: dict[type, Any] = {}
"""Hydra's objects of which a process has one each, as fanin made them in a host that is no command."""


@contextmanager
def own_hydra() -> Iterator[None]:
    """Let Hydra be fanin's own while the block runs; afterwards the host's is there again, as it was.

    What a process has one of is swapped: GlobalHydra, HydraConfig, the version that Hydra is to be like, the plugins,
    the store of configurations (of the host's only what lies below hydra/, where Hydra's own and the plugins' are) and
    OmegaConf's resolvers (the host's are there as well).
    """
    instances, resolvers = Singleton._instances, BaseContainer._resolvers
    if not _own:
        known = {name: node for name, node in ConfigStore.instance().repo.items() if name == "hydra" or name[0] == "_"}
        _own.update({kind: instances[kind] for kind in (Plugins, SourcesRegistry) if kind in instances})
        Singleton._instances = _own
        ConfigStore.instance().repo = _branches(known)
    Singleton._instances = _own
    BaseContainer._resolvers = dict(resolvers)
    try:
        yield
    finally:
        Singleton._instances, BaseContainer._resolvers = instances, resolvers


def _branches(tree: dict[str, Any]) -> dict[str, Any]:
    """A copy of a tree of dictionaries; its leaves, which are copied where they are used, are shared."""
    return {name: _branches(node) if isinstance(node, dict) else node for name, node in tree.items()}


def value_of(override: Override) -> Any:
    """What stands behind the equals sign as the parser gives it: a sweep unsplit, a quoted string with its quotes."""
    return override._value
