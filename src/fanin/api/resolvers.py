"""The resolvers that fanin's YAML uses."""

from __future__ import annotations

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


def register_resolvers() -> None:
    """Make the resolvers known: fanin.experiment, .run_name, .depth and .quadratic.

    The first two read the configuration they stand in. ${fanin.depth:5}, beside a width, is one more than the widths
    that a list holds, and 5 where the width is one number. ${fanin.quadratic:momentum,lr,${model.condition}} is the
    number that an optimizer is set to on a quadratic of a condition number.
    """

    def experiment(*, _root_: DictConfig) -> str:
        from fanin.run.identity import experiment_of

        return experiment_of(_root_.hydra)

    def run_name(*, _root_: DictConfig) -> str:
        from fanin.run.identity import identify, without_hydra

        return identify(without_hydra(_root_), _root_.hydra).name

    def depth(default: int, *, _parent_: DictConfig) -> int:
        try:
            width = _parent_.get("width")
        except OmegaConfBaseException:  # which is told where the width itself is read
            return default
        return len(width) + 1 if isinstance(width, ListConfig) else default

    def quadratic(optimizer: str, key: str, condition: float) -> float:
        from fanin.theory.optimizer_rates import setting  # numpy: not at every start

        return setting(optimizer, key, condition)

    OmegaConf.register_new_resolver("fanin.depth", depth, replace=True)
    OmegaConf.register_new_resolver("fanin.quadratic", quadratic, replace=True)
    OmegaConf.register_new_resolver("fanin.experiment", experiment, replace=True)
    OmegaConf.register_new_resolver("fanin.run_name", run_name, replace=True)
