"""The folder of a run that is trained by a loop of one's own: the files of a fanin run, by the same writers."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fanin.devices import widened
from fanin.errors import UserError, did_you_mean
from fanin.own_models.earlier_run import Earlier, step_to_resume
from fanin.own_models.expected_norms import ExpectedNorms
from fanin.parts.models.layers import weight_layers
from fanin.probes.histograms import Place, histogram_tags
from fanin.record.columns import METRICS, SPENT, names
from fanin.record.outcome import outcome
from fanin.record.recorder import ProfileRow, Recorder
from fanin.record.run_folder import FolderBusy, RunFolder
from fanin.run.result import git_state, initial, versions
from fanin.run.theory_overlay import Expected, Overlay

COLUMNS = names(METRICS)
POSITIONS = ("step", "epoch", "lr", "seconds")


class OwnRun:
    """Writes one run's folder, and owns it until the end.

    Args:
        folder: the run's folder; its name is the run's, that of the folder around it the experiment's.
        model: the network.
        config: what makes this run differ from its siblings, its seed too, by dotted keys.
        overwrite: whether to replace what an earlier run has left.
        resume: whether to go on from it, True or the step.
        expect: what is expected of the norms at init; None expects nothing.

    Attributes:
        earlier: what is left of the run that this one goes on from; None of a new one.

    Raises:
        UserError: something else is in the folder, or somebody else owns it.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        config: Mapping[str, Any],
        *,
        overwrite: bool,
        resume: bool | int = False,
        expect: ExpectedNorms | None = None,
    ) -> None:
        parameters = dict(model.named_parameters())
        self.overlay = Overlay.over(model, expect=expect, no_law="a model of one's own")
        self.config, self._device = dict(config), str(next(iter(parameters.values())).device)
        self._parameters = sum(one.numel() for one in parameters.values())
        text = json.dumps([self.config, self._parameters], sort_keys=True, default=str)
        self._hash = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder = RunFolder(folder)
        self._pid, self._raised = os.getpid(), _raised()
        self._owned = ExitStack()
        self.step, self.started = 0, time.monotonic()
        self.epoch: float | None = None
        self.first_loss: float | None = None
        self.diverged: dict[str, Any] | None = None
        self.final: dict[str, float | None] = {}
        self._pending: list[tuple[Tensor | float | None, Tensor | float | None]] = []
        self._gives: tuple[bool, ...] = (False, False)  # whether steps say their loss, and their error
        self._closed = False
        self.histogram_at = -1  # the step of the last histograms
        self._init: dict[str, Any] | None = None  # of a finished run that goes on
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: a file is in the place of a folder; choose another folder")
        if overwrite and resume is not False:
            raise UserError("overwrite, resume: a run replaces what is in its folder, or goes on from it; give one")
        complete = self.folder.complete
        if refused := self.folder.refusal(self._hash if resume is not False else "", force=overwrite):
            if complete and resume is False:
                refused = f"{folder} holds a finished run; overwrite=True replaces it, resume=True goes on from its end"
            elif complete:
                refused = f"{folder} holds the finished run of another model or config; overwrite=True replaces it"
            raise UserError(refused)
        try:
            self._owned.enter_context(self.folder.owned())
        except FolderBusy:
            raise UserError(f"{folder}: another run is writing this folder; close it, or choose another one") from None
        self.earlier: Earlier | None = None
        try:
            layers = [name for name, _ in weight_layers(model)]
            step = None if overwrite else step_to_resume(self.folder, resume, layers)
        except UserError:
            self._owned.close()
            raise
        if step is None:
            self.recorder = Recorder(self.folder)
        else:
            self._go_on(step, complete)
        self.recorder.describe(folder.name, {key: _plain(value) for key, value in self.config.items()})
        self.folder.write_status("running", **self.position)

    def _go_on(self, step: int, complete: Mapping[str, Any] | None) -> None:
        """Take up what was written up to a step."""
        self.recorder = Recorder(self.folder, step, profiles_before=step + 1)
        self.folder.resumed = True
        (self.folder.path / "result.json").unlink(missing_ok=True)
        self.earlier = earlier = Earlier(self.recorder.metrics_file.kept, self.recorder.profiles_file.kept)
        self.step, self.epoch, self.histogram_at = step, earlier.last("epoch"), self.recorder.last_histogram
        self.started -= earlier.last("seconds") or 0.0
        self.first_loss, self.diverged = earlier.first_loss, earlier.diverged()
        found = {name: earlier.last(name) for name in COLUMNS if name not in POSITIONS}
        self.final = {name: value for name, value in found.items() if value is not None}
        self._gives = "batch_loss" in self.final, "batch_error" in self.final
        self._init = None if complete is None else complete.get("init")
        self.overlay.expect = (lambda keys: Expected(earlier.bands)) if earlier.bands else None
        if earlier.initial:
            self.overlay.annotate("init", *earlier.initial)

    @property
    def position(self) -> dict[str, Any]:
        """Where the run is, in the words of status.json."""
        return {"step": self.step, "steps": None, "epoch": self.epoch, "seconds": self.seconds}

    @property
    def seconds(self) -> float:
        """Time since the start, without that of looks."""
        return time.monotonic() - self.started

    def profile(self, snapshot: str, labels: Sequence[Any], values: Sequence[float]) -> None:
        """Write a profile."""
        self.recorder.profile(snapshot, self.rows(snapshot, labels, values))

    def histograms(self, updates: int, places: Sequence[Place], values: Tensor) -> None:
        """Write histograms of the weights after so many updates."""
        self.histogram_at = updates
        if places:
            self.recorder.histograms(updates, places, histogram_tags(places), values[0].tolist())

    def rows(self, snapshot: str, labels: Sequence[Any], values: Sequence[float]) -> list[ProfileRow]:
        """The rows of a profile."""
        return self.overlay.annotate(snapshot, labels, values)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """The run's clock stands still while the block runs."""
        tic = time.monotonic()
        try:
            yield
        finally:
            self.started += time.monotonic() - tic

    def took(self, step: int, loss: Tensor | float | None, error: Tensor | float | None, epoch: float | None) -> None:
        """Keep what a step said; nothing is fetched from the device."""
        self.step, self.epoch = step, self.epoch if epoch is None else epoch
        told = [one.detach() if isinstance(one, Tensor) else one for one in (loss, error)]
        self._pending.append((told[0], told[1]))

    def row(self, lr: float | None) -> None:
        """Write a row of metrics.csv with the means since the last one."""
        self._gives = tuple(
            had or any(one[at] is not None for one in self._pending) for at, had in enumerate(self._gives)
        )
        pairs = _fetched(self._pending)
        losses, errors = pairs[:, 0], pairs[:, 1]
        if self.first_loss is None and not math.isnan(first := float(losses[0])):
            self.first_loss = first
        row = {"step": self.step, "epoch": self.epoch, "lr": lr, "seconds": self.seconds}
        for name, series, given in (("batch_loss", losses, self._gives[0]), ("batch_error", errors, self._gives[1])):
            if given:
                row[name] = float(series.mean())
                self.final[name] = row[name]
        if self._gives[0] and self.diverged is None and not bool(torch.isfinite(losses).all()):
            place = int((~torch.isfinite(losses)).nonzero()[0])
            self.diverged = {"step": self.step - len(losses) + place + 1, "layer": "loss", "what": "loss"}
        self._pending.clear()
        self.recorder.metrics({name: row.get(name) for name in COLUMNS if name in row})
        self.folder.write_status("running", at_most_every=1.0, **self.position)

    def log(self, columns: Mapping[str, float]) -> None:
        """Write further columns of metrics.csv at this step.

        Raises:
            UserError: metrics.csv has no such column.
        """
        for name in columns:
            if name not in COLUMNS or name == "step":
                known = [one for one in COLUMNS if one != "step"]
                hint = did_you_mean(name, known)
                raise UserError(
                    f"watch.log: {name} is no column of metrics.csv ({', '.join(known)}){hint and '; ' + hint}"
                )
        told = {name: float(value) for name, value in columns.items()}
        self.final |= {name: value for name, value in told.items() if name not in POSITIONS}
        if told.keys() & {"epoch"}:
            self.epoch = told["epoch"]
        self.recorder.metrics({"step": self.step, "epoch": self.epoch, "seconds": self.seconds} | told)

    def end(self, error: BaseException | None = None) -> None:
        """Write the run's end, once: done or diverged with a result, else why it ended."""
        if self._closed or os.getpid() != self._pid:  # a process that was forked from this one
            return
        self._closed = True
        if self._pending:
            self.row(None)
        if error is None and _raised() is not self._raised:  # at exit, after an error that nobody caught
            error = _raised()
        state = "diverged" if self.diverged else "done"
        if error is not None:
            state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        self.recorder.close(state)
        if error is None:
            self.folder.write_status(state, **self.position)
            self.folder.write_result(self._result(state))
        else:
            line = " ".join(f"{type(error).__name__}: {error}".split())
            self.folder.write_status(state, error=line, **self.position)
        self._owned.close()

    def _result(self, state: str) -> dict[str, Any]:
        path = self.folder.path.resolve()
        parts = [f"{part}_{what}" for part in ("train", "val", "test") for what in ("loss", "error")]
        metrics = {name: self.final.get(name) for name in parts}
        # Nobody evaluates the weights that the training ends with: the last batches stand in for it.
        last = metrics | {"train_loss": self.final.get("train_loss", self.final.get("batch_loss"))}
        said = outcome("other", last, steps=self.step, diverged=state == "diverged", first_loss=self.first_loss)
        analysis = self.overlay.analysis
        return {
            "run": path.name,
            "experiment": path.parent.name or "runs",
            "state": state,
            "outcome": said if self._gives[0] or not self.step else "trained",
            "overfits_from": None,
            "task": "other",
            "chance_loss": None,
            "chance_error": None,
            "curvature": None,
            "first_loss": self.first_loss,
            "verdict": analysis.verdict if analysis else None,
            "stopped_by": None,
            "steps": self.step,
            "epochs": self.epoch,
            "seconds": self.seconds,
            "metrics": metrics | {"generalization_gap": None},
            "evaluation": None,
            "generalization": None,
            "init": self._init or initial(self.overlay),
            "diverged": self.diverged,
            "overrides": self.config,
            "choices": {},
            "config": self.config,
            "config_hash": self._hash,
            "classes": None,
            "seeds": {"run": self.config.get("seed")},
            "versions": versions(),
            "code": {},
            "git": git_state(Path.cwd()),
            "flops_per_step": None,
            **dict.fromkeys(("gradient_bytes", "optimizer_bytes", "peak_memory", *names(SPENT))),
            "device": self._device,
            "parameters": self._parameters,
        }


def _raised() -> BaseException | None:
    """The last error that nobody caught, which Python keeps for a debugger."""
    found = getattr(sys, "last_value", None)
    return found if isinstance(found, BaseException) else None


def _fetched(pairs: Sequence[tuple[Tensor | float | None, Tensor | float | None]]) -> Tensor:
    """Numbers on the host, [n, 2] in float64, NaN for None: one copy for all that are on a device."""
    flat = [one for pair in pairs for one in pair]
    tensors = [widened(one).reshape(()) for one in flat if isinstance(one, Tensor)]
    held = iter(torch.stack(tensors).cpu() if tensors else ())
    numbers = [next(held) if isinstance(one, Tensor) else math.nan if one is None else float(one) for one in flat]
    return torch.tensor([float(one) for one in numbers], dtype=torch.float64).view(-1, 2)


def _plain(value: object) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else str(value)
