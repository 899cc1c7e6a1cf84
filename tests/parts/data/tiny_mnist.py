"""A tiny set of images in torchvision's layout of MNIST."""

from __future__ import annotations

import gzip
import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def idx(array: Bytes) -> bytes:
    """The array in the idx format: magic 0x0000080N, each size in four bytes, then the bytes."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@dataclass
class Tiny:
    """Forty training and twelve test images; each carries its label and number in its first two pixels."""

    files: dict[str, bytes] = field(default_factory=dict)
    arrays: dict[str, Bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        draw = np.random.default_rng(7)
        for part, count in (("train", 40), ("t10k", 12)):
            labels = draw.integers(0, 10, count).astype(np.uint8)
            images = draw.integers(0, 256, (count, 28, 28)).astype(np.uint8)
            images[:, 0, 0], images[:, 0, 1] = labels, np.arange(count)
            self.arrays[part] = images
            self.files[f"{part}-images-idx3-ubyte"] = idx(images)
            self.files[f"{part}-labels-idx1-ubyte"] = idx(labels)
        self.archives = {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in self.files.items()}
        self.resources = [
            (f"{part}-{kind}-ubyte.gz", hashlib.md5(self.archives[f"{part}-{kind}-ubyte.gz"]).hexdigest())
            for part in ("train", "t10k")
            for kind in ("images-idx3", "labels-idx1")
        ]

    def write(self, root: Path, *, unpacked: bool = False) -> Path:
        """Put the archives, or the unpacked files, into root/MNIST/raw; returns that folder."""
        raw = root / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for name, data in (self.files if unpacked else self.archives).items():
            (raw / name).write_bytes(data)
        return raw


def slow(base: Any, resources: list[tuple[str, str]], log: str) -> Any:
    """torchvision's MNIST whose unpacking takes half a second longer and leaves an x in a file."""

    class MNIST(base):  # type: ignore[misc]
        def download(self) -> None:
            with Path(log).open("a") as file:
                file.write("x")
            time.sleep(0.5)
            super().download()

    MNIST.resources = resources
    return MNIST
