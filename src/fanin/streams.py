"""Independent random streams, each from a hash of (seed, purpose).

Changing one part of a recipe must leave the randomness of the others alone: another initializer sees the same
batches, a probe draws nothing that training would have drawn. So no two purposes share a generator, and no part
of fanin uses torch's global one.
"""

from __future__ import annotations

import hashlib

import torch


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
