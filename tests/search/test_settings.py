"""The settings of a search: what is allowed, and what goes together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fanin.errors import UserError
from fanin.search import methods
from fanin.search.methods import proposer_of
from fanin.search.settings import DEFAULTS, Settings
from fanin.search.space import Axis, Space


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seeds": 0}, "hydra.sweeper.seeds=0: must be an integer >= 1"),
        ({"eta": 1}, "hydra.sweeper.eta=1: must be an integer >= 2"),
        ({"trials": 0}, "hydra.sweeper.trials=0: must be null or an integer >= 1"),
        ({"method": "tpee"}, "did you mean tpe?"),
        ({"budget": "half"}, "must be one of none, halving, hyperband, racing"),
        ({"metric": "val_eror"}, "did you mean val_error?"),
        ({"direction": "down"}, "hydra.sweeper.direction=down: must be one of minimize, maximize"),
        ({"metric": ["val_error", "parameters"], "direction": ["minimize"] * 3}, "one, or one for each metric"),
        ({"metric": ["val_error", "parameters"], "method": "gp"}, "with several metrics"),
        ({"metric": ["val_error", "parameters"], "budget": "halving"}, "none with several metrics"),
        ({"method": "nsga2", "budget": "hyperband"}, "none with method=nsga2"),
        ({"metric": "test_error", "budget": "halving"}, "measured before a run's end"),
        ({"budget": "racing", "seeds": 4}, "must be at least 5 with budget=racing"),
        ({"budget": "racing", "seeds": 6, "test": "sign"}, "must be at least 7 with budget=racing"),
        ({"test": "t"}, "hydra.sweeper.test=t: must be one of wilcoxon, sign"),
        ({"level": 0.9}, "hydra.sweeper.level=0.9: must be"),
        ({"timeout": 0}, "hydra.sweeper.timeout=0: must be"),
    ],
)
def test_a_mistake_is_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        Settings.of(DEFAULTS | given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_needs_steps_for_rungs() -> None:
    halving = Settings.of(DEFAULTS | {"budget": "halving", "min_steps": 30})
    with pytest.raises(UserError, match="at most the 20 steps"):
        list(halving.brackets(20))
    with pytest.raises(UserError, match="a run of 2 steps has no rungs"):
        list(Settings.of(DEFAULTS | {"budget": "hyperband"}).brackets(2))


def test_a_method_of_optuna_without_optuna_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    space = Space([Axis("optimizer.lr", "float", 0.1, 1.0)], [], [], [])
    monkeypatch.setattr(methods, "find_spec", lambda name: None)
    for method in ("tpe", "gp", "cmaes", "nsga2"):
        with pytest.raises(UserError, match=rf"method={method}: needs an extra; pip install 'fanin\[search\]'"):
            proposer_of(Settings.of(DEFAULTS | {"method": method}), space, tmp_path, fresh=False)
    for method in ("random", "qmc"):
        made = proposer_of(Settings.of(DEFAULTS | {"method": method}), space, tmp_path, fresh=False)
        assert len(made.propose(3)) == 3
        made.record()
    assert not list(tmp_path.iterdir())


def test_cmaes_needs_two_axes_of_numbers(tmp_path: Path) -> None:
    one = Space([Axis("optimizer.lr", "float", 0.1, 1.0), Axis("a", "choice", choices=("x", "y"))], [], [], [])
    with pytest.raises(UserError, match="needs two axes of numbers"):
        proposer_of(Settings.of(DEFAULTS | {"method": "cmaes"}), one, tmp_path, fresh=False)
