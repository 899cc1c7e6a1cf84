"""Where the inputs of a data set lie: in memory or, where they do not fit there, in a file that is mapped into it."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from fanin.process import free_memory

SHARE = 0.5
"""Of the free memory that the inputs of one part may take before they are mapped from a file."""


def room_for(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, *, mapped: bool | None = None) -> Tensor:
    """An empty tensor to be filled: in memory, or mapped from a file where it takes more than half of what is free.

    The file has no name once it is mapped, so that it goes with the tensor, whatever ends the process; batches that
    are taken from it are in memory. It lies in the folder for temporary files, which TMPDIR chooses.

    Args:
        shape: of the tensor.
        dtype: of its entries.
        mapped: true or false decides instead of the size.

    Raises:
        OSError: there is no room for the file.

    >>> room_for((2, 3), mapped=True).zero_().shape
    torch.Size([2, 3])
    """
    size = math.prod(shape) * dtype.itemsize
    if not size or not (size > SHARE * free_memory() if mapped is None else mapped):
        return torch.empty(shape, dtype=dtype)
    file, name = tempfile.mkstemp(prefix="fanin-data-")
    try:
        with os.fdopen(file, "wb") as opened:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(opened.fileno(), 0, size)  # a full disk shows now, not as a crash while it is filled
            else:
                opened.truncate(size)
        return torch.from_file(name, shared=True, size=math.prod(shape), dtype=dtype).view(shape)
    finally:
        with contextlib.suppress(OSError):  # Windows removes no file that is open
            Path(name).unlink()


def rows_of(x: Tensor, rows: Tensor) -> Tensor:
    """x[rows], mapped from a file where it does not fit in memory.

    >>> rows_of(torch.arange(6.0).view(3, 2), torch.tensor([2, 0]))
    tensor([[4., 5.],
            [0., 1.]])
    """
    made = room_for((len(rows), *x.shape[1:]), x.dtype)
    for start in range(0, len(rows), 10_000):
        torch.index_select(x, 0, rows[start : start + 10_000], out=made[start : start + 10_000])
    return made
