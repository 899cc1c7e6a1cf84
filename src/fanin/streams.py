"""Independent random streams, each from a hash of (seed, purpose).

Changing one part of a recipe must leave the randomness of the others alone: another initializer sees the same
batches, a probe draws nothing that training would have drawn. So no two purposes share a generator, and no part
of fanin uses torch's global one. A user's own modules may (dropout, noise, a draw): it is one run's then, seeded as
its dropout stream, kept through looks, written into its checkpoints. That suffices, for such runs are trained alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


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


DRAWING = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU,
)  # fmt: skip
"""Torch's layers that draw in training."""


def draws_from_it(model: nn.Module) -> bool:
    """Whether a module of the model may draw from torch's stream: a user's, or one of torch's that does."""
    return any(
        not type(module).__module__.startswith(("fanin.", "torch.nn.")) or isinstance(module, DRAWING)
        for module in model.modules()
    )


def torch_stream(device: torch.device) -> torch.Generator:
    """The generator that torch's functions draw from on a device."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        found: torch.Generator = torch.cuda.default_generators[index]
        return found
    return torch.default_generator
