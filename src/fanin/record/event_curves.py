"""The curves of every layer over the steps of training, read back from a run's TensorBoard events."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event, SessionLog

GROUP = "layers/"
"""What the tags of curves begin with: layers/<quantity>/<index>_<layer>."""

Curves = dict[str, dict[int, dict[int, float]]]
"""A quantity's values by the step, and by the layer's position over depth, from 1."""


def read_curves(folder: Path) -> Curves:
    """The curves that a run has written so far; what is damaged, or was never written whole, is left out.

    A resumed run hides what earlier files hold from its step on, as TensorBoard reads them.
    """
    curves: Curves = defaultdict(lambda: defaultdict(dict))
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in _events(path):
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                for steps in curves.values():
                    for step in [step for step in steps if step >= event.step]:
                        del steps[step]
            for value in event.summary.value:
                tag = value.tag
                if tag.startswith(GROUP):
                    _, quantity, layer = tag.split("/", 2)
                    index = layer.partition("_")[0]
                    if index.isdecimal():
                        curves[quantity][event.step][int(index)] = value.simple_value
    return {quantity: dict(steps) for quantity, steps in curves.items() if steps}


def _events(path: Path) -> Iterator[Event]:
    """The events of a file: each a length, its checksum, the event, its checksum."""
    try:
        data = path.read_bytes()
    except OSError:
        return
    place = 0
    while place + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        start, place = place + 12, place + 16 + length
        if place > len(data):  # cut short by a kill, or being written
            return
        try:
            yield Event.FromString(data[start : start + length])
        except DecodeError:
            return
