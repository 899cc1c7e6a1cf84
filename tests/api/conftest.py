"""A host with a life of its own: another Hydra, other warnings, threads and streams; all of it is put back."""

from __future__ import annotations

import gc
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, of a process that is no command's."""
    gc.unfreeze()  # see ../conftest.py: what a run freezes is then told from what was frozen
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "config.yaml").write_text("theirs: 1\n")
    folder = tmp_path / "host"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["notebook", "--model.depth", "-m"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.delenv("FANIN_DATA", raising=False)
    ConfigStore.instance().store("adam", {"theirs": True}, group="optimizer")
    OmegaConf.register_new_resolver("fanin.depth", lambda default: -1, replace=True)
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    threads, quiet = torch.get_num_threads(), logging.NullHandler()
    torch.set_num_threads(3)
    logging.getLogger().addHandler(quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with initialize_config_dir(str(theirs), version_base="1.2"):
            yield folder
    GlobalHydra.instance().clear()
    logging.getLogger().removeHandler(quiet)
    torch.set_num_threads(threads)
    OmegaConf.clear_resolver("fanin.depth")
    del ConfigStore.instance().repo["optimizer"]
    assert os.environ["HYDRA_FULL_ERROR"] == "0"
