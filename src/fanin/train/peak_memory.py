"""The most memory that a process has held while it trained."""

from __future__ import annotations

import torch

from fanin.devices import VISIBLE
from fanin.process import begin_peak_memory, most_memory


def begin_peak(device: torch.device) -> None:
    """Count the most memory that this process holds on a device anew from here, see `peak_memory`."""
    if device.type in VISIBLE:
        torch.get_device_module(device).reset_peak_memory_stats(device)
    else:
        begin_peak_memory()


def peak_memory(device: torch.device) -> int | None:
    """The most bytes that this process has held on a device, on a CPU in main memory; None if nobody tells.

    Since `begin_peak`, where the system can count anew.
    """
    if device.type in VISIBLE:
        return int(torch.get_device_module(device).max_memory_allocated(device))
    return most_memory() if device.type == "cpu" else None
