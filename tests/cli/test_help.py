"""The help is fast, complete and made of the option files themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from omegaconf import OmegaConf

from command_line import Said, environment, fanin
from fanin import __version__
from fanin.api.option_files import description
from fanin.catalogue import config_folder

HEAVY = ("torch", "torchvision", "hydra", "omegaconf", "numpy", "pandas", "matplotlib", "tensorboard", "sklearn")

LOADED = f"""
import sys
sys.argv[1:] = {{arguments}}
import fanin.cli.main
{{call}}
print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


def loaded(arguments: list[str], call: str) -> Said:
    """What a process says that imports fanin.cli.main and does one thing; stderr: the heavy modules it has imported."""
    script = LOADED.format(arguments=arguments, call=call)
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True)
    return Said(done.returncode, done.stdout.splitlines(), done.stderr.splitlines())


def test_help_lists_every_option_with_its_description(tmp_path: Path) -> None:
    said = fanin(tmp_path, "--help", fresh=True)
    assert (said.code, said.err) == (0, [])
    listed: dict[str, dict[str, str]] = {}
    chosen = {}
    for line in said.out[said.out.index("Groups and their options (* the default):") + 1 :]:
        if not line.strip():
            break
        if found := re.fullmatch(r"  (\w+)", line):
            options = listed[found.group(1)] = {}
            group = found.group(1)
        else:
            star, name, description = re.fullmatch(r"   ([ *]) (\w+) +(\S.*)", line).groups()  # type: ignore[union-attr]
            options[name] = description
            if star == "*":
                chosen[group] = name
    files = [path for path in config_folder().glob("*/*.yaml") if path.parent.name != "hydra"]
    assert {(group, name) for group, options in listed.items() for name in options} == {
        (path.parent.name, path.stem) for path in files
    }
    for path in files:
        comments = [line for line in path.read_text().splitlines() if re.match(r"# (?!@package|yaml-)", line)]
        assert listed[path.parent.name][path.stem] == comments[0].removeprefix("# ")
    defaults = {
        key: value
        for entry in OmegaConf.load(config_folder() / "config.yaml").defaults
        if not isinstance(entry, str)
        for key, value in entry.items()
        if value and not str(key).startswith("override")
    }
    assert chosen == defaults
    assert [line for line in said.out if len(line) > 120] == []


def test_help_and_version_import_nothing_heavy(tmp_path: Path) -> None:
    for arguments, call in (([], ""), (["--help"], "fanin.cli.main.main()"), (["--version"], "fanin.cli.main.main()")):
        said = loaded(arguments, call)
        assert (said.code, said.err) == (0, ["[]"])
    assert said.out == [f"fanin {__version__}"]
    # A check that cannot fail would prove nothing: the same look sees hydra in a process that composes.
    composing = loaded(["--cfg", "job"], "fanin.cli.main._through_hydra()").err[-1]
    assert "hydra" in composing
    assert "numpy" not in composing
    assert fanin(tmp_path, "-h", fresh=True).out[0].startswith(f"fanin {__version__}")


def test_cfg_prints_the_configuration_and_runs_nothing(tmp_path: Path) -> None:
    said = fanin(tmp_path, "model.depth=20", "optimizer=adam", "--cfg", "job", fresh=True)
    assert (said.code, said.err) == (0, [])
    cfg = OmegaConf.create("\n".join(said.out))
    assert (cfg.model.depth, cfg.optimizer.beta2, cfg.seed) == (20, 0.999, 0)
    assert not list(tmp_path.iterdir())


def typed_help(folder: Path, *arguments: str, columns: int = 160) -> list[str]:
    """What the help of some words says on a terminal of a width."""
    said = fanin(folder, *arguments, "--help", COLUMNS=str(columns))
    assert (said.code, said.err) == (0, [])
    return said.out


def test_the_help_of_an_option_lists_its_keys_as_they_are_typed(tmp_path: Path) -> None:
    said = typed_help(tmp_path, "model=mlp", "regularizer=[l2,dropout]")
    mlp = OmegaConf.load(config_folder() / "model" / "mlp.yaml")
    assert said[0] == f"model=mlp: {description(config_folder() / 'model' / 'mlp.yaml')}"
    keys = {line.split("=")[0].strip(): line for line in said if line.startswith("  ")}
    assert {f"model.{key}" for key in mlp if key != "_target_"} <= set(keys)
    assert re.fullmatch(r"  model.depth=5 +number of weight matrices; with a list .* regression", keys["model.depth"])
    assert {"regularizer.l2.strength", "regularizer.dropout.p"} <= set(keys)
    # What it shows can be typed: the configuration is the same with it.
    shown = [line.split("  ")[1] for line in said if line.startswith("  model.")]
    assert len(shown) == 3
    resolved = ("--cfg", "job", "--resolve", "-p", "model")
    assert fanin(tmp_path, *resolved, *shown).out == fanin(tmp_path, *resolved).out
    mnist = typed_help(tmp_path, "data=mnist")
    assert any(re.fullmatch(r"  data.root=data +folder .*; or what the .* FANIN_DATA says", line) for line in mnist)


def test_a_study_shows_its_grid_and_a_users_own_option_its_keys(tmp_path: Path) -> None:
    params = OmegaConf.load(config_folder() / "experiment" / "init_study.yaml").hydra.sweeper.params
    said = typed_help(tmp_path, "experiment=init_study")
    for key, value in params.items():
        assert "=" in key or any(
            line.split() == [f"{key}={value}", *["an", "axis", "of", "its", "grid"]] for line in said
        )
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "own.yaml").write_text("# of my own\n_target_: x.Y\ndeep:\n  er: [1, 2]  # two\n")
    assert typed_help(tmp_path, "--config-dir", "mine", "model=own") == [
        "model=own: of my own",
        "  model.deep.er=[1, 2]  two",
    ]
    (tmp_path / "mine" / "model" / "own.yaml").write_text("a: b: c\n")
    broken = fanin(tmp_path, "--config-dir", "mine", "model=own", "--help")
    assert (broken.code, broken.out, len(broken.err)) == (1, [], 1)
    assert "own.yaml, line 1: no YAML: " in broken.err[0]


def test_80_columns_break_no_word_and_drop_none(tmp_path: Path) -> None:
    broad, narrow = typed_help(tmp_path, columns=160), typed_help(tmp_path, columns=80)
    assert max(map(len, broad)) > 80 >= max(map(len, narrow))
    assert " ".join(broad).split() == " ".join(narrow).split()
