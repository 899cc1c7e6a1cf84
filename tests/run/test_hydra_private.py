"""What fanin takes of Hydra beside its public interface, by name: a new version of Hydra that moves it shows here."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hydra.core.singleton import Singleton
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import OmegaConf

from fanin.api.application import application
from fanin.run import hydra_private
from fanin.sweep.composer import INTEGER

SOURCE = Path(__file__).parents[2] / "src"
ROOM = Path(hydra_private.__file__)


def private(path: Path) -> set[str]:
    """The private modules of Hydra that a file imports."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [getattr(node, "module", None) or "" for node in nodes] + [one.name for node in nodes for one in node.names]
    return {name for name in names if name.startswith("hydra.") and "._" in name}


def test_one_room_knows_hydras_private_modules() -> None:
    assert private(ROOM) == {
        f"hydra._internal.{name}"
        for name in ("callbacks", "config_loader_impl", "config_search_path_impl", "hydra", "sources_registry", "utils")
    }
    assert {path for path in SOURCE.rglob("*.py") if private(path)} == {ROOM}


def test_they_take_what_they_are_given() -> None:
    def takes(function: object) -> list[str]:
        return list(inspect.signature(function).parameters)  # type: ignore[arg-type]

    assert takes(Hydra.run)[1:] == ["config_name", "task_function", "overrides", "with_log_configuration"]
    assert takes(Hydra.multirun)[1:] == takes(Hydra.run)[1:]
    assert takes(Hydra.compose_config)[1:5] == ["config_name", "overrides", "run_mode", "with_log_configuration"]
    assert takes(Hydra.get_mode)[1:] == ["config_name", "overrides"]
    assert takes(Hydra.show_cfg)[1:] == ["config_name", "overrides", "cfg_type", "package", "resolve"]
    assert takes(Hydra.create_main_hydra2) == ["task_name", "config_search_path"]
    assert takes(create_config_search_path) == ["search_path_dir"]
    assert takes(ConfigSearchPathImpl.append)[1:3] == ["provider", "path"]
    assert takes(ConfigLoaderImpl)[:1] == ["config_search_path"]
    assert takes(get_overrides_dirname) == ["overrides", "exclude_keys", "item_sep", "kv_sep"]
    assert {"on_run_start", "on_run_end"} <= {*dir(Callbacks)}
    options = {one for action in get_args_parser()._actions for one in action.option_strings}
    assert {"--cfg", "--package", "--resolve", "--run", "--multirun", "--info", "--config-dir", "--hydra-help",
            "--config-name", "--config-path", "--shell-completion", "--experimental-rerun"} <= options  # fmt: skip


def test_overrides_are_applied_as_the_command_line_does() -> None:
    cfg = OmegaConf.create({"a": {"b": 1, "c": 2}})
    OmegaConf.set_struct(cfg, True)
    hydra_private.apply_overrides(OverridesParser.create().parse_overrides(["a.b=3", "~a.c", "+a.d=4"]), cfg)
    assert cfg == {"a": {"b": 3, "d": 4}}


@pytest.mark.parametrize("number", [0, 1, -7, 4021, 10**15])
def test_a_number_in_an_overrides_place_is_what_the_parser_makes_of_it(number: int) -> None:
    parser = OverridesParser.create()
    one, expected = parser.parse_overrides(["model.depth=3", f"model.depth={number}"])
    assert INTEGER.fullmatch(f"model.depth={number}")
    assert hydra_private.with_number(one, number) == expected


def test_a_hosts_hydra_is_put_back() -> None:
    """Every object of which Hydra has one a process, the store's content and OmegaConf's resolvers."""
    ConfigStore.instance().store("theirs", {"a": 1})
    OmegaConf.register_new_resolver("of_the_host", lambda: "here", replace=True)
    theirs = GlobalHydra.instance()
    before = dict(Singleton._instances)
    with hydra_private.own_hydra():
        assert GlobalHydra.instance() is not theirs
        assert "theirs.yaml" not in ConfigStore.instance().repo
        assert "config.yaml" in ConfigStore.instance().repo["hydra"]
        assert OmegaConf.create({"x": "${of_the_host:}"}).x == "here"
        ConfigStore.instance().store("ours", {}, group="hydra/launcher")
        OmegaConf.register_new_resolver("only_ours", lambda: "there")
    assert Singleton._instances == before
    assert "ours.yaml" not in ConfigStore.instance().repo["hydra"].get("launcher", {})
    assert not OmegaConf.has_resolver("only_ours")
    del ConfigStore.instance().repo["theirs.yaml"]
    OmegaConf.clear_resolver("of_the_host")


def test_what_stands_behind_the_equals_sign_is_known() -> None:
    one, none, deleted, several = OverridesParser.create().parse_overrides(["a=1", "a=null", "~a", "a=2,'b'"])
    assert [hydra_private.value_of(override) for override in (one, none)] == [1, None]
    assert hydra_private.value_of(deleted) in ("", None)
    assert isinstance(hydra_private.value_of(several), ChoiceSweep)


@pytest.mark.parametrize(
    "typed",
    [
        ["model.depth=3", "~regularizer", "+fanin.note=1"],
        ["experiment=init_study", "trainer.epochs=1"],
        ["optimizer=adam,sgd", "seed=range(0,3)", "hydra.job.num=3"],
    ],
)
@pytest.mark.parametrize("mode", [RunMode.RUN, RunMode.MULTIRUN])
def test_a_configuration_that_told_its_mode_is_the_one_that_is_run(typed: list[str], mode: RunMode) -> None:
    with application(None, None) as app:
        found = app.get_mode("config", typed)
        assert found == (RunMode.MULTIRUN if "experiment=init_study" in typed else None)
        words = [*typed, f"hydra.mode={mode.name}"]
        if mode == RunMode.RUN and "optimizer=adam,sgd" in typed:
            with pytest.raises(ConfigCompositionException, match="adam,sgd"):
                app.compose_config("config", words, mode)
            return
        taken = app.compose_config("config", words, mode)
        afresh = app.compose_config("config", words, mode)
        assert taken is not afresh
        assert taken == afresh
