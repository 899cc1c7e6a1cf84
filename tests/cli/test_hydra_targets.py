"""A shared YAML file is no program, in Hydra's part of a configuration either."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from command_line import Said
from fanin.errors import UserError
from fanin.run.hydra_targets import check_hydra

EVIL = {
    "{callbacks: {x: {_target_: pathlib.Path.touch, self: FILE}}}":
        "hydra.callbacks.x._target_=pathlib.Path.touch: must be a class that derives from Callback",
    "{job_logging: {version: 1, handlers: {x: {(): os.mkdir, path: FILE}}, root: {handlers: [x]}}}":
        "hydra.job_logging.handlers.x.()=os.mkdir: must be a class that derives from Handler",
    "{hydra_logging: {version: 1, handlers: {x: {class: subprocess.Popen, args: FILE}}}}":
        "hydra.hydra_logging.handlers.x.class=subprocess.Popen: must be a class that derives from Handler",
}  # fmt: skip


@pytest.mark.parametrize(("node", "line"), EVIL.items())
@pytest.mark.parametrize("mode", [(), ("-m",)], ids=["run", "grid"])
def test_what_hydra_would_call_is_refused(
    typed: Callable[..., Said], tmp_path: Path, node: str, line: str, mode: Any
) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    text = f"# @package _global_\n# words\nhydra: {node.replace('FILE', str(tmp_path / 'made'))}\n"
    (tmp_path / "own" / "experiment" / "shared.yaml").write_text(text)
    said = typed(*mode, "--config-dir=own", "experiment=shared", "data=gaussian", "trainer.steps=1")
    assert (said.code, said.out, len(said.err)) == (1, [], 1), said
    assert said.err[0].startswith(f"fanin: {line}"), said.err[0]
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@pytest.mark.parametrize(
    "node",
    [
        {"callbacks": {"log": {"_target_": "hydra.experimental.callbacks.LogJobReturnCallback"}}},
        {"job_logging": {"handlers": {"x": {"class": "logging.StreamHandler"}}}},
        {"launcher": {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}},
        {"launcher": {"_target_": "hydra_plugins.not_installed.Launcher"}},
    ],
)  # fmt: skip
def test_what_hydra_is_for_is_taken(node: dict[str, Any]) -> None:
    """Taken as it is; the same place with another target is refused."""
    check_hydra(OmegaConf.create({"hydra": node}))
    other = re.sub(r'("_target_"|"class"): "[^"]*"', r'\1: "os.getcwd"', json.dumps(node))
    with pytest.raises(UserError, match=r"os\.getcwd"):
        check_hydra(OmegaConf.create({"hydra": json.loads(other)}))


def test_nothing_is_nested_in_a_launcher() -> None:
    node = {
        "launcher": {
            "_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
            "x": {"_target_": "os.getcwd"},
        }
    }
    with pytest.raises(UserError, match=r"^hydra\.launcher\.x: nothing may be made there, found _target_: os\.getcwd$"):
        check_hydra(OmegaConf.create({"hydra": node}))
