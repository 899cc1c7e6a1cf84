"""What a trained network is worth in use: its error, its size, and how long an answer takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from fanin.errors import UserError
from fanin.parts.models.layers import weight_layers
from fanin.record.columns import IN_USE, IN_USE_FILE, names
from fanin.record.csv_file import write_table
from fanin.run.trained import Trained
from fanin.theory.generalization import wilson_interval

LATENCIES = (1, 100)
"""Examples in a batch whose answer is timed."""

Answer = Callable[[Tensor], Tensor]
"""From inputs [N, ...] as the network takes them to its outputs [N, K], on the CPU."""


@dataclass(frozen=True)
class InUse:
    """A row of in_use.csv: one form of a trained network, see `columns.IN_USE`."""

    form: str
    run: str
    error: float
    low: float
    high: float
    examples: int
    agreement: float
    bytes: int
    zeros: float
    latency_1: float
    latency_100: float


@dataclass
class Form:
    """A form of a trained network.

    Args:
        name: such as "trained", "round_1" or "int8 dynamic".
        answer: what it puts out.
        bytes: that have to be stored for it.
        zeros: the share of entries of its weight matrices and kernels that are 0.
        run: the folder that it is of.
    """

    name: str
    answer: Answer
    bytes: int
    zeros: float
    run: Path


def form_of(name: str, trained: Trained, masks: Mapping[str, Tensor] | None = None) -> Form:
    """A trained network as it is; of one with masks what is not 0 is stored, and a bit for each entry says where."""
    model = trained.model

    @torch.no_grad()
    def answer(inputs: Tensor) -> Tensor:
        found: Tensor = model(inputs)
        return found

    return Form(name, answer, stored_bytes(model, masks or {}), zeros_of(model), trained.folder)


def stored_bytes(model: torch.nn.Module, masks: Mapping[str, Tensor]) -> int:
    """Of parameters and buffers; of a pruned weight its entries within the mask, and a bit for each of its entries.

    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 2))
    >>> stored_bytes(model, {}), stored_bytes(model, {"0": torch.arange(16).view(2, 8) < 4})  # 18, and 4 + 2 of 4 bytes
    (72, 26)
    """
    total = sum(one.nbytes for one in (*model.parameters(), *model.buffers()))
    for name, layer in weight_layers(model):
        mask, weight = masks.get(name), layer.get_parameter("weight")
        if mask is not None:
            total += math.ceil(mask.numel() / 8) - int((~mask).sum()) * weight.element_size()
    return total


def zeros_of(model: torch.nn.Module) -> float:
    """The share of zeros among the entries of a network's weight matrices and kernels."""
    weights = [layer.get_parameter("weight") for _, layer in weight_layers(model)]
    return 1 - sum(int(one.count_nonzero()) for one in weights) / max(1, sum(one.numel() for one in weights))


def compared(
    forms: Sequence[Form], inputs: Tensor, targets: Tensor, repeats: int = 30, batch: int = 1000
) -> list[InUse]:
    """Every form on the same examples; the first is what the others are held against.

    Args:
        forms: of one network.
        inputs: [N, ...] as it takes them.
        targets: classes [N].
        repeats: answers that a latency is the median of; 0 leaves them out. The forms take turns, so that a machine
            that slows down does it to all of them.
        batch: examples in one pass for the errors.

    Raises:
        UserError: there is no example.
    """
    if not len(inputs):
        raise UserError("the test part of this data set is empty: there is nothing to compare by")
    answers = [classes_of(torch.cat([form.answer(some) for some in torch.split(inputs, batch)])) for form in forms]
    times = {size: _latencies(forms, inputs, size, repeats) for size in LATENCIES}
    found = []
    for place, (form, answer) in enumerate(zip(forms, answers, strict=True)):
        wrong = int((answer != targets).sum())
        low, high = wilson_interval(wrong, len(targets))
        agreement = float((answer == answers[0]).double().mean())
        latencies = (times[size][place] for size in LATENCIES)
        found.append(
            InUse(form.name, str(form.run), wrong / len(targets), low, high, len(targets), agreement, form.bytes,
                  form.zeros, *latencies)
        )  # fmt: skip
    return found


def classes_of(outputs: Tensor) -> Tensor:
    """The classes [N] that outputs [N, K] answer with, or one logit [N, 1]."""
    return outputs.argmax(dim=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()


def _latencies(forms: Sequence[Form], inputs: Tensor, size: int, repeats: int) -> list[float]:
    """Seconds of an answer to so many examples, the median; nan without repeats."""
    some = inputs[torch.arange(size) % len(inputs)]
    taken: list[list[float]] = [[] for _ in forms]
    for number in range(repeats + 3 if repeats else 0):
        for form, times in zip(forms, taken, strict=True):
            start = time.perf_counter()
            form.answer(some)
            if number >= 3:  # the first ones allocate
                times.append(time.perf_counter() - start)
    return [median(times) if times else math.nan for times in taken]


def write_in_use(folder: Path, rows: Sequence[InUse]) -> Path:
    """Write in_use.csv into a folder, which is made; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / IN_USE_FILE, names(IN_USE), [[getattr(row, name) for name in names(IN_USE)] for row in rows])
    return folder / IN_USE_FILE


def told(row: InUse) -> str:
    """A row in a line.

    >>> told(InUse("int8", "RUN", 0.05, 0.04, 0.06, 1000, 0.99, 2048, 0.5, 1e-4, 1e-3))
    'int8: test error 5 % [4, 6], 2.0 kB, 50 % zeros, 0.1 ms for 1 example, 1 ms for 100'
    """
    interval = f"[{100 * row.low:.3g}, {100 * row.high:.3g}]"
    latency = f", {1e3 * row.latency_1:.3g} ms for 1 example, {1e3 * row.latency_100:.3g} ms for 100"
    shown = "" if math.isnan(row.latency_1) else latency
    size = f"{row.bytes / 1024:.1f} kB, {100 * row.zeros:.3g} % zeros"
    return f"{row.form}: test error {100 * row.error:.3g} % {interval}, {size}{shown}"
