"""Completion: what a shell is told while a command is typed, and what bash, zsh and fish then complete."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from command_line import Said, environment, fanin
from fanin.api.host import guest
from fanin.catalogue import GROUPS, config_folder
from fanin.cli.completion import answer
from fanin.cli.shells import SHELLS
from fanin.errors import UserError
from fanin.run.hydra_private import get_args_parser

CONF = config_folder()

Asked = Callable[..., list[str]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What a shell is answered, by the command's own function; the real command is what the real shells ask."""
    monkeypatch.chdir(tmp_path)

    def ask(line: str, shell: str = "zsh", **more: str) -> list[str]:
        for name, value in {"COMP_LINE": line, **more}.items():
            monkeypatch.setenv(name, value)
        with guest():
            return [one for one in answer([f"query={shell}"]).splitlines() if one]

    return ask


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def test_groups_and_their_options_are_offered(asked: Asked) -> None:
    first = asked("fanin ")
    assert {one.rstrip("=.") for one in first} == {*GROUPS, "seed", "force", "pause_at", "objective", "study"}
    assert asked("fanin opt") == ["optimizer=", "optimizer."]
    for group in ("model", "experiment", "debug"):
        assert asked(f"fanin {group}=") == [f"{group}={name}" for name in names(group)]
    assert asked("fanin -m optimizer=adam,ada") == [
        f"optimizer=adam,{name}" for name in names("optimizer") if name.startswith("ada") and name != "adam"
    ]
    assert asked("fanin 'regularizer=[l1,l") == ["regularizer=[l1,l2", "regularizer=[l1,label_smoothing"]
    assert asked("fanin hydra/launcher=f") == ["hydra/launcher=fused"]


@pytest.mark.parametrize(
    ("typed", "group", "name"),
    [
        ("optimizer=adam", "optimizer", "adam"),
        ("-m optimizer=nadam,sgd seed=0,1", "optimizer", "nadam"),
        ("experiment=init_study", "initializer", "variance_scaling"),
        ("regularizer=[l2,dropout]", "regularizer.dropout", "dropout"),
        ("", "trainer", "default"),
    ],
)
def test_the_keys_of_what_is_chosen_are_offered(asked: Asked, typed: str, group: str, name: str) -> None:
    node = yaml.safe_load((CONF / group.partition(".")[0] / f"{name}.yaml").read_text())
    keys = [key for key in (node[name] if "." in group else node) if not key.startswith("_")]
    assert asked(f"fanin {typed} {group}.") == [f"{group}.{key}=" for key in keys]
    begun = keys[-1][:3]
    assert asked(f"fanin {typed} {group}.{begun}") == [f"{group}.{key}=" for key in keys if key.startswith(begun)]


def test_the_values_of_a_key_are_offered_where_they_are_known(asked: Asked) -> None:
    assert asked("fanin trainer.precision=") == [
        f"trainer.precision={word}" for word in ("float32", "float64", "bfloat16")
    ]
    assert asked("fanin model.bias=") == ["model.bias=true", "model.bias=false"]
    assert asked("fanin trainer.batch_size=a") == ["trainer.batch_size=all"]
    assert asked("fanin initializer=variance_scaling initializer.mode=fan_a") == ["initializer.mode=fan_avg"]
    assert asked("fanin optimizer.lr=") == ["optimizer.lr=0.01"]


def test_a_users_own_options_are_offered(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "own" / "optimizer").mkdir(parents=True)
    mine = tmp_path / "own" / "optimizer" / "mine.yaml"
    mine.write_text("# my own\n_target_: torch.optim.SGD\nlr: 0.1\nspeed: 1\n")
    assert asked("fanin --config-dir=own optimizer=mi") == ["optimizer=mine"]
    assert asked("fanin --config-dir own optimizer=mine optimizer.") == ["optimizer.lr=", "optimizer.speed="]
    assert asked("fanin --config-dir own optimizer=mi", shell="fish") == ["optimizer=mine\tmy own"]


def test_flags_are_offered_and_are_flags(asked: Asked) -> None:
    offered = asked("fanin -")
    assert {*offered} - {"--version", "--schema", "--dry-run"} <= {*get_args_parser()._option_string_actions}
    assert asked("fanin optimizer=adam --sch") == ["--schema"]


def test_bash_is_told_what_follows_where_it_breaks_words(asked: Asked) -> None:
    """readline replaces what stands behind the last of those letters, not the whole word."""
    for breaks, told in ((' \t\n"=:(', "mlp"), (" \t\n", "model=mlp"), (" =.", "mlp")):
        assert asked("fanin model=ml", "bash", COMP_WORDBREAKS=breaks) == [told]
    assert asked("fanin 'model=ml", "bash", COMP_WORDBREAKS=" ='") == ["model=mlp"]


def test_what_cannot_be_composed_offers_nothing(asked: Asked) -> None:
    for line in ("fanin optimizer=nope optimizer.", "fanin nope.", "fanin nope=", "fanin model.depth.", "fanin a='b"):
        assert asked(line) == []


def test_wrong_words_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = "must be install=SHELL, uninstall=SHELL or query=SHELL, SHELL being bash, zsh or fish"
    said = fanin(tmp_path, "--shell-completion", "install=tcsh")
    assert said == Said(1, [], [f"fanin: --shell-completion install=tcsh: {allowed}"])
    for words in (["install"], [], ["install=bash", "query=bash"]):
        with pytest.raises(UserError, match=re.escape(f"{' '.join(['--shell-completion', *words])}: {allowed}")):
            answer(words)
    monkeypatch.delenv("COMP_LINE", raising=False)
    with pytest.raises(UserError, match="needs what was typed in the variable COMP_LINE"):
        answer(["query=bash"])


def test_options_are_offered_without_hydra_and_keys_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv[1:] = ['-sc', 'query=zsh']\nfrom fanin.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\nprint([n for n in ('torch', 'hydra') if n in sys.modules])"
    )
    for line, loaded in (("fanin model=ml", []), ("fanin model=mlp model.d", ["hydra"])):
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment(COMP_LINE=line), capture_output=True, text=True, check=True
        )
        assert run.stdout.splitlines()[1:] == [str(loaded)]


STUB = """#!/bin/sh
case "$1" in --shell-completion) exec {python} -m fanin.cli.main "$@" ;; esac
echo "typed: $*."
"""
"""The command, which says what it was given in place of running it."""

START = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"], "fish": ["--no-config", "-i"]}
INSTALL = {
    "bash": 'eval "$(fanin --shell-completion install=bash)"',
    "zsh": 'eval "$(fanin --shell-completion install=zsh)"',
    "fish": "fanin --shell-completion install=fish | source",
}
TYPED = {
    "model=ml": "model=mlp",
    "optimizer=adam optimizer.ep": "optimizer=adam optimizer.eps=",
    "-m optimizer=adam,sg": "-m optimizer=adam,sgd",
    "trainer.device=mp": "trainer.device=mps",
}


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, shell: str, folder: Path) -> None:
        programs = folder / "bin"
        programs.mkdir()
        for name in ("fanin", "fanin-theory"):
            (programs / name).write_text(STUB.format(python=sys.executable))
            (programs / name).chmod(0o755)
        own = environment(PATH=f"{programs}:{os.environ['PATH']}", TERM="xterm", HOME=str(folder), PS1="$ ")
        pid, self.file = pty.fork()
        if pid == 0:
            os.chdir(folder)
            os.execvpe(shell, [shell, *START[shell]], own)
        self.pid = pid

    def typed(self, keys: str, until: str, seconds: float = 120) -> str:
        """What the terminal shows after some keys, up to some words."""
        os.write(self.file, keys.encode())
        shown, end = "", time.monotonic() + seconds
        while until not in shown:
            assert time.monotonic() < end, shown
            if select.select([self.file], [], [], 0.1)[0]:
                shown += os.read(self.file, 1 << 14).decode(errors="replace")
        return shown

    def close(self) -> None:
        """End it."""
        os.close(self.file)
        os.waitpid(self.pid, 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_completes(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    terminal = Terminal(shell, tmp_path)
    try:
        terminal.typed(f"{INSTALL[shell]}; echo rea''dy\n", "ready")
        for begun, whole in TYPED.items():
            terminal.typed(f"fanin {begun}\t", whole.split()[-1])
            assert f"typed: {whole}" in terminal.typed("\n", ".\r\n")
        terminal.typed("fanin-theory activation=tan\t", "activation=tanh")
    finally:
        terminal.close()
