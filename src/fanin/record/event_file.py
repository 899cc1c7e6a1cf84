"""TensorBoard event files, written without TensorFlow and without a thread, with many values in one event.

torch's SummaryWriter starts a thread per run and writes one event per scalar (about 60 us each); a recorded step
of a 50-layer net has hundreds of values. Here one step is one event.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from google_crc32c import value as crc32c
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_DOUBLE

NORMS = ("activation_norm", "gradient_norm")

BUFFER = 1 << 20
"""Bytes that are buffered before they go to the system; `flush` is called often enough for a reader to follow."""

TEMPLATES = 64
"""Sets of tags for which a prepared event is kept; a network that runs other layers at each step has many of them."""

_serial = count()


def masked_crc(data: bytes) -> int:
    """The masked CRC-32C of the TFRecord format: rotated right by 15 bits, plus a constant."""
    crc = int(crc32c(data))
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def with_log10(values: Mapping[str, float]) -> dict[str, float]:
    """The values, and beside each norm over depth its log10 under <tag>_log10, where it has one.

    TensorBoard's axes are linear until a user changes them, and norms of 50 layers span 12 decades: the logarithms show
    the published figure without a click.
    """
    told = dict(values)
    for tag, value in values.items():
        if tag.rpartition("/")[2].startswith(NORMS) and 0 < value < math.inf:
            told[f"{tag}_log10"] = math.log10(value)
    return told


class EventFile:
    """One `events.out.tfevents.*` file in a folder, opened at once.

    Args:
        folder: where the file goes; TensorBoard names the run after it.
        resume_step: hide what earlier files of this folder hold from this step on (a resumed run).
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # The serial number keeps two files of one second and one process apart, and in order: readers sort by name.
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{next(_serial):06d}"
        self._file = (folder / name).open("ab", buffering=BUFFER)
        self._templates: dict[tuple[str, ...], Event] = {}
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if resume_step is not None:
            log = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=resume_step, session_log=log))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write {tag: value} at a step, as one event; NaN and infinities are written as such."""
        self.series(tuple(values), tuple(values.values()), step)

    def series(self, tags: tuple[str, ...], values: Sequence[float], step: int) -> None:
        """The same for tags that come again at many steps: their part of the event is made once."""
        event = self._templates.get(tags)
        if event is None:
            if len(self._templates) >= TEMPLATES:
                self._templates.clear()
            event = self._templates[tags] = Event()
            for tag in tags:
                event.summary.value.add(tag=tag)
        for slot, value in zip(event.summary.value, values, strict=True):
            slot.simple_value = value
        event.step, event.wall_time = step, time.time()
        self._write(event)

    def image(self, tag: str, png: bytes, width: int, height: int, step: int = 0) -> None:
        """Write one PNG image; width and height in pixels."""
        summary = Summary()
        picture = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=3)
        summary.value.add(tag=tag, image=picture)
        self.summary(summary, step)

    def histograms(self, tags: Sequence[str], rows: Sequence[Sequence[float]], step: int) -> None:
        """Write histograms as one event, for TensorBoard's own tab.

        Args:
            tags: of the histograms.
            rows: low end, high end and counts of bins of equal width between them, of each.
            step: the step.
        """
        summary = Summary()
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="histograms"))
        for tag, (low, high, *counts) in zip(tags, rows, strict=True):
            edges = [low + (high - low) * bin / len(counts) for bin in range(len(counts))] + [high]
            numbers = [number for each in zip(edges, edges[1:], counts, strict=False) for number in each]
            tensor = TensorProto(dtype=DT_DOUBLE, double_val=numbers)
            for size in (len(counts), 3):
                tensor.tensor_shape.dim.add(size=size)
            summary.value.add(tag=tag, tensor=tensor, metadata=metadata)
        self.summary(summary, step)

    def plugin(self, tag: str, plugin: str, content: bytes) -> None:
        """Write a value that only carries metadata for a plugin (hparams, custom scalars)."""
        summary = Summary()
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin, content=content))
        summary.value.add(tag=tag, metadata=metadata)
        self.summary(summary, 0)

    def summary(self, summary: Summary, step: int) -> None:
        """Write a ready summary as one event."""
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close; further writes fail."""
        self._file.close()

    def _write(self, event: Event) -> None:
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._file.write(length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data)))
