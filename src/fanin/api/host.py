"""A host's process stays as it was: whatever fanin sets in it while it works is put back, however the work ends."""

from __future__ import annotations

import os
import random
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

_alone = threading.RLock()
"""Threads of a host take turns: Hydra, warnings and torch's streams are the whole process's."""


@contextmanager
def guest() -> Iterator[None]:
    """Work in a host's process without a trace.

    Put back are Hydra and OmegaConf's resolvers, the filters of warnings, sys.path, the environment, the folder, the
    streams of random numbers of Python, numpy and torch, and torch's threads, defaults and modes; see `torchs_own`.
    """
    with _alone, ExitStack() as undo:
        from fanin.run.hydra_private import own_hydra

        undo.enter_context(warnings.catch_warnings())
        undo.callback(_put_back, list(sys.path), dict(os.environ), random.getstate())
        if (numpy := sys.modules.get("numpy")) is not None:
            undo.callback(numpy.random.set_state, numpy.random.get_state())
        undo.enter_context(torchs_own() if "torch" in sys.modules else nullcontext())
        undo.enter_context(own_hydra())
        forget()
        yield


def _put_back(path: list[str], environment: dict[str, str], stream: Any) -> None:
    sys.path[:] = path
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in environment.items() if os.environ.get(name) != value})
    random.setstate(stream)


def forget() -> None:
    """Look anew at what may change while a host lives on, and a command does not: own classes, data, the commit."""
    from fanin import targets

    targets.find.cache_clear()
    targets.own_source.cache_clear()
    if (module := sys.modules.get("fanin.run.make_option")) is not None:
        module.find.cache_clear()
    if (module := sys.modules.get("fanin.run.result")) is not None:
        module.git_state.cache_clear()
    if (module := sys.modules.get("fanin.run.build")) is not None:
        module.forget_own_data()


@contextmanager
def torchs_own() -> Iterator[None]:
    """Let torch be as a command finds it while the block runs: float32, the CPU, gradients, no autocast.

    Afterwards its threads, defaults, modes and streams of random numbers are what they were.
    """
    import torch

    from fanin.devices import ACCELERATORS, accelerator

    threads, dtype, device = torch.get_num_threads(), torch.get_default_dtype(), torch.get_default_device()
    stream = torch.random.get_rng_state()
    gpus: Any = torch.get_device_module(accelerator(there=False) or "cpu")
    on_gpus = gpus.get_rng_state_all() if hasattr(gpus, "get_rng_state_all") and gpus.is_initialized() else []
    cast = [kind for kind in ("cpu", *ACCELERATORS) if torch.is_autocast_enabled(kind)]
    torch.set_default_dtype(torch.float32)
    if device.type != "cpu":
        torch.set_default_device("cpu")
    try:
        with ExitStack() as modes:
            modes.enter_context(torch.inference_mode(mode=False))
            modes.enter_context(torch.enable_grad())
            for kind in cast:
                modes.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        if device.type != "cpu":
            torch.set_default_device(device)
        torch.random.set_rng_state(stream)
        if on_gpus:
            gpus.set_rng_state_all(on_gpus)
