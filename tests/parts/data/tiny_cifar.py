"""A tiny set of images in torchvision's layouts of CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILES = {
    "cifar-10-batches-py": {f"data_batch_{place}": 16 for place in range(1, 6)} | {"test_batch": 12},
    "cifar-100-python": {"train": 80, "test": 12},
}


def write_cifar(root: Path) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Write both into a folder; gives pixels [N, 3072] and labels of every file by its name."""
    draw, written = np.random.default_rng(5), {}
    for folder, files in FILES.items():
        (root / folder).mkdir(parents=True)
        key, known = ("labels", 10) if "cifar-10-" in folder else ("fine_labels", 100)
        for name, count in files.items():
            pixels = draw.integers(0, 256, (count, 3072)).astype(np.uint8)
            labels = draw.integers(0, known, count)
            content = {"data": pixels, key: labels.tolist(), "filenames": [f"{place}.png" for place in range(count)]}
            (root / folder / name).write_bytes(pickle.dumps(content, protocol=2))  # Python 2's, as the real ones
            written[name] = pixels, labels
    return written
