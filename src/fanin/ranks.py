"""Several processes that train one run, as `torchrun` starts them: which of them this is, and what they sum.

Every process goes the whole way of the run on data and weights of its own; of each batch it passes its share alone, and
what it finds is summed with what the others find. So all of them have the same weights at every step, and only the
first writes. Source: Li et al. 2020, PyTorch Distributed: Experiences on Accelerating Data Parallel Training.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from fanin.errors import UserError

WAIT = timedelta(minutes=30)
"""How long a process waits for the others: one may load, draw or evaluate meanwhile."""

LOST = "another process of this run has ended"

NOTHING = "the first process has nothing to train"

_rank, _count = 0, 1
_began = False


def join(rank: int, count: int) -> None:
    """Join the other processes of this run; with CUDA this one computes on the device LOCAL_RANK.

    Args:
        rank: of this process, from 0.
        count: of processes.

    Raises:
        UserError: there are fewer devices than processes, or the others cannot be reached.
    """
    global _rank, _count
    _rank, _count = rank, count
    backend = "gloo"
    if torch.cuda.is_available():
        local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= there:
            raise UserError(
                f"LOCAL_RANK={local}: must be below {there}, the CUDA devices here; take --nproc-per-node {there}, or "
                "CUDA_VISIBLE_DEVICES= for the CPU"
            )
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl" if dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=WAIT)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the {_count} processes of this run do not find each other: {_first(error)}") from error


def leave() -> None:
    """Tell those who wait that nothing comes, and end the group."""
    global _rank, _count
    with suppress(Exception):
        if _rank == 0 and not _began:
            _broadcast([None])
    with suppress(Exception):
        dist.destroy_process_group()
    _rank, _count = 0, 1


def count() -> int:
    """Processes that train this run; 1 for an ordinary one."""
    return _count


def agreed(content: Any) -> Any:
    """What the first process has, for all: it begins to train, from this state.

    Raises:
        UserError: it has nothing to train, or it has ended.

    >>> agreed("of an ordinary run, its own")
    'of an ordinary run, its own'
    """
    global _began
    if _count == 1:
        return content
    _began = True
    (found,) = _broadcast([(content,)])
    if found is None:
        raise UserError(NOTHING)
    return found[0]


def _broadcast(content: list[Any]) -> list[Any]:
    with _told():
        dist.broadcast_object_list(content, src=0, device=torch.device("cpu"))
    return content


def any_of(asked: bool) -> bool:
    """Whether it is so in one of the processes."""
    return asked if _count == 1 else bool(sums([torch.tensor([float(asked)])])[0])


def share(tensor: Tensor) -> Tensor:
    """The part of a batch that this process passes, of axis 0: all are as equal as can be.

    >>> share(torch.arange(5))
    tensor([0, 1, 2, 3, 4])
    """
    return tensor if _count == 1 else tensor.tensor_split(_count)[_rank]


def sums(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The sums of tensors over the processes, in one message for each type of number.

    Raises:
        UserError: another process has ended.
    """
    summed: list[Tensor] = list(tensors)
    for dtype in dict.fromkeys(one.dtype for one in tensors):
        places = [at for at, one in enumerate(tensors) if one.dtype == dtype]
        flat = torch.cat([tensors[at].detach().flatten() for at in places])
        with _told():
            dist.all_reduce(flat)
        for at, part in zip(places, torch.split(flat, [tensors[at].numel() for at in places]), strict=True):
            summed[at] = part.view_as(tensors[at])
    return summed


@contextmanager
def own_draws(stream: torch.Generator | None) -> Iterator[None]:
    """Let this process draw from a stream of its own while the block runs; all leave it in the same state."""
    if _count == 1 or stream is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=stream, device=stream.device))
    after = stream.get_state()
    stream.manual_seed(seed + _rank)
    try:
        yield
    finally:
        stream.set_state(after)


@contextmanager
def _told() -> Iterator[None]:
    """Say in a line what a broken connection means."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(f"{LOST}; the same command resumes it from its last checkpoint") from error


def _first(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
