"""Where a run computes: the CPU, or the accelerator that torch finds, CUDA, Intel's XPU or Apple's MPS.

Not every accelerator has float64, which sums of squares and of losses are taken in. What is measured there is copied to
the CPU first; what takes part in each step stays, in float32.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

ACCELERATORS = ("cuda", "xpu", "mps")
"""Kinds of accelerators that a run may compute on, as torch calls them; cuda is AMD's ROCm, too."""

BY_NAME = ("mps",)
"""Those that `auto` does not take: without float64, a run on them is rounded in another way."""

VISIBLE = {"cuda": "CUDA_VISIBLE_DEVICES", "xpu": "ZE_AFFINITY_MASK"}
"""The variable that says which devices of a kind a process sees."""


def accelerator(*, there: bool = True) -> str | None:
    """The kind of accelerator that torch finds on this machine, None where it finds none.

    Args:
        there: False for the kind that this torch is built for, without asking the system: what a process asks once,
            it sees for good, whatever the variables of VISIBLE say later.
    """
    found = torch.accelerator.current_accelerator(check_available=there)
    return None if found is None else found.type


def device_of(wanted: str) -> torch.device:
    """The device that is meant by `trainer.device`.

    >>> device_of("cpu")
    device(type='cpu')
    """
    if wanted != "auto":
        return torch.device(wanted)
    kind = accelerator()
    return torch.device(kind if kind in ACCELERATORS and kind not in BY_NAME else "cpu")


def count(kind: str) -> int:
    """How many devices of a kind there are."""
    if kind not in ACCELERATORS or accelerator() != kind:
        return 0
    return 1 if kind == "mps" else int(torch.get_device_module(kind).device_count())


def own_memory(device: torch.device) -> int | None:
    """Bytes that a device has; None for the CPU and for what shares the CPU's memory."""
    if device.type not in VISIBLE:
        return None
    return int(torch.get_device_module(device).get_device_properties(device).total_memory)


def own_free_memory(device: torch.device) -> int | None:
    """Bytes of them that are free."""
    return None if device.type not in VISIBLE else int(torch.get_device_module(device).mem_get_info(device)[0])


def visible_device(device: int, visible: str | None) -> str:
    """What a variable of VISIBLE is to be for a device alone, counted among those that it names now."""
    return visible.split(",")[device].strip() if visible else str(device)


@cache
def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64.

    >>> has_float64(torch.device("cpu")), has_float64(torch.device("mps"))
    (True, False)
    """
    if device.type == "xpu":
        return bool(torch.xpu.get_device_properties(device).has_fp64)
    return device.type != "mps"


def widest(device: torch.device) -> torch.dtype:
    """The type of the numbers of a step that are more than weights: float64 where the device has it.

    >>> widest(torch.device("cpu")), widest(torch.device("mps"))
    (torch.float64, torch.float32)
    """
    return torch.float64 if has_float64(device) else torch.float32


def home(device: torch.device) -> torch.device:
    """Where what is measured on a device is summed: there, or on the CPU where it has no float64.

    >>> home(torch.device("mps"))
    device(type='cpu')
    """
    return device if has_float64(device) else torch.device("cpu")


def exact(tensor: Tensor) -> Tensor:
    """A tensor, where float64 is: itself, or its copy on the CPU."""
    return tensor if has_float64(tensor.device) else tensor.cpu()


def widened(tensor: Tensor) -> Tensor:
    """A tensor in float64, where that is.

    >>> widened(torch.tensor([0.5]))
    tensor([0.5000], dtype=torch.float64)
    """
    return exact(tensor).double()
