"""Hydra's record of a job, written section by section, is the file that YAML makes of the whole."""

from __future__ import annotations

from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from fanin.api.resolvers import register_resolvers
from fanin.catalogue import config_folder
from fanin.run.identity import without_hydra
from fanin.sweep.composer import as_plain, write_record


def test_the_files_are_those_of_the_whole(tmp_path: Path) -> None:
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        whole = compose("config", ["experiment=init_study"], return_hydra_config=True)
    task, record = without_hydra(whole), {"hydra": as_plain(whole.hydra)}
    record["hydra"] |= {"empty": {}, "long": " ".join(["words"] * 40), "several": "a\nb\n", "nothing": None, "list": []}
    for number in range(2):  # the second time from what is known
        OmegaConf.update(task, "seed", number)
        overrides = [f"seed={number}", "data.root='a: b'"]
        write_record(tmp_path / str(number), as_plain(task), overrides, record)
        contents = {"config": as_plain(task), "overrides": overrides, "hydra": record}
        for name, content in contents.items():
            written = (tmp_path / str(number) / ".hydra" / f"{name}.yaml").read_text()
            assert written == yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
