"""Independent random streams, each from a hash of (seed, purpose).

Changing one part of a recipe must leave the randomness of the others alone: another initializer sees the same
batches, a probe draws nothing that training would have drawn. So no two purposes share a generator, and no part
of fanin uses torch's global one. A user's own modules may (dropout, noise, a draw): it is one run's then, seeded as
its dropout stream, kept through looks, written into its checkpoints. That suffices, for such runs are trained alone.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fanin.torch_internals import mps_generator


def stream_seed(seed: int, *purpose: str | int) -> int:
    """The seed of a stream: the first 63 bits of SHA-256 over "seed/purpose/...".

    >>> stream_seed(0, "init") != stream_seed(0, "data") != stream_seed(1, "data")
    True
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator of its own for (seed, purpose): purposes are init, data, dropout, augment and probe."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, *purpose))


@contextmanager
def drawing_from(state: Tensor | None, generator: torch.Generator | None) -> Iterator[None]:
    """In here a generator draws from another state, and after it as if nothing had been drawn; None: nothing to do."""
    if generator is None or state is None:
        yield
        return
    kept = generator.get_state()
    generator.set_state(state)
    try:
        yield
    finally:
        generator.set_state(kept)


def torch_stream(device: torch.device) -> torch.Generator:
    """The generator that torch's functions draw from on a device."""
    if device.type in ("cuda", "xpu"):
        module = torch.get_device_module(device)
        found: torch.Generator = module.default_generators[
            module.current_device() if device.index is None else device.index
        ]
        return found
    if device.type == "mps":
        return mps_generator()
    return torch.default_generator


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """In here anybody may draw from the global generators of torch, Python and numpy; after it nobody has.

    >>> before = torch.get_rng_state()
    >>> with undisturbed(torch.device("cpu")):
    ...     drawn = torch.rand(3), random.random()
    >>> bool((before == torch.get_rng_state()).all())
    True
    """
    import numpy as np

    streams = {torch.default_generator, torch_stream(device)}
    kept: list[tuple[Callable[[Any], object], Any]] = [(stream.set_state, stream.get_state()) for stream in streams]
    kept += [(random.setstate, random.getstate()), (np.random.set_state, np.random.get_state())]
    try:
        yield
    finally:
        for put_back, state in kept:
            put_back(state)
