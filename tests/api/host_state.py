"""What a host's process has that fanin must leave as it is, as values that can be compared."""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import warnings
from multiprocessing.process import current_process
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from omegaconf.basecontainer import BaseContainer


def snapshot() -> dict[str, Any]:
    """The state of this process."""
    root = logging.getLogger()
    return {
        "argv": list(sys.argv),
        "sys.path": list(sys.path),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "streams": (sys.stdin, sys.stdout, sys.stderr, sys.excepthook),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "logging": (root.level, list(root.handlers), [list(one.filters) for one in root.handlers]),
        "argparse": dict(vars(argparse.ArgumentParser)),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads(), set(threading.enumerate())),
        "torch": (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
                  torch.are_deterministic_algorithms_enabled(), torch.is_autocast_enabled("cpu"),
                  torch.get_float32_matmul_precision()),
        "random": (random.getstate(), torch.random.get_rng_state().numpy().tobytes()),
        "numpy": tuple(str(part) for part in np.random.get_state(legacy=True)),
        "hydra": (dict(Singleton._instances), GlobalHydra.instance().hydra, tree(ConfigStore.instance().repo)),
        "resolvers": dict(BaseContainer._resolvers),
        "garbage": (gc.get_threshold(), gc.isenabled(), gc.get_freeze_count()),
        "multiprocessing": (multiprocessing.get_start_method(allow_none=True), dict(current_process()._config)),  # type: ignore[attr-defined]
    }  # fmt: skip


def tree(repo: dict[str, Any]) -> dict[str, Any]:
    """The names in a store of configurations, and which object each is."""
    return {name: tree(node) if isinstance(node, dict) else id(node) for name, node in repo.items()}


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The names of what is not the same."""
    return [name for name in before if before[name] != after[name]]
