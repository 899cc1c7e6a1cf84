"""fanin.watch: two lines in a training loop of one's own that measure and write what a fanin run does."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from fanin.errors import UserError, integer
from fanin.own_models.expected_norms import ExpectedNorms
from fanin.own_models.fresh_draws import Redraw
from fanin.own_models.looks import Looks
from fanin.own_models.own_run import OwnRun
from fanin.own_models.patterns import chosen_modules
from fanin.own_models.probe_pass import Loss, ProbePass
from fanin.own_models.rules import Rules
from fanin.own_models.training_pass import TrainingPass
from fanin.own_models.unwrapped import blind_spot, check_optimizer, checked, is_writer
from fanin.probes.capture import Capture
from fanin.probes.probe import Label, Probe, curve_tags
from fanin.probes.quantities import Measures

log = logging.getLogger(__name__)

CURVES = ("activation_norm", "gradient_norm", "update_ratio")
"""Quantities over steps, where none are asked for."""


class Watch:
    """Measures a model while a loop of one's own trains it, and writes the folder of a run.

    At every `every`-th step, the first one too, the quantities of `curves` are measured in the very pass that trains,
    for every weight layer: TensorBoard's layers/<quantity>/<index>_<layer>. With `inputs`, profiles over depth of
    every quantity are taken on this batch before the first step, at the end, and at `steps`: profiles.csv. Nothing is
    ever hung on the model, which can be copied and pickled at any time; training is the same to the bit. It closes
    itself at the end of a `with` block, of the process, or as soon as nobody holds it.

    Args:
        model: a network; within nn.DataParallel, DistributedDataParallel (rank 0 writes) or torch.compile, too.
        folder: of the run, such as outputs/mine: what `fanin-report` and TensorBoard show beside fanin's runs.
        every: steps between two points of the curves; 0 for none.
        curves: names of quantities; by default activation_norm, gradient_norm, update_ratio, and your `measures`.
        modules: patterns of the shell over the names of the modules to measure; "*" is all.
        measures: functions of your own by name. The names of their parameters say what they are of: activation,
            activation_gradient, weight, gradient, initial, updated.
        inputs: a batch: a tensor, a tuple of positional or a mapping of named arguments of the model.
        targets: beside them.
        loss: (outputs, targets) -> a number, or (outputs) without targets; by default what the model returns as its
            loss. Without one profiles have no gradients.
        steps: further steps at which to take a profile.
        scaler: the torch.amp.GradScaler of the loop, so that gradients are measured without its factor.
        autocast: the lower precision in which profiles are taken; training's own is seen as it is.
        log_every: steps between two rows of metrics.csv.
        config: what makes this run differ from others, by dotted keys: {"optimizer.lr": 0.1, "seed": 0}.
        overwrite: replace what an earlier run has left in the folder.
        resume: go on from what an earlier run of the same model has left in the folder, if it has: after its last step,
            or after the step of your checkpoint; later rows are dropped then. What is measured against the weights at
            step 0 (weight_movement) is left out from there on.
        histograms: of what there are histograms of every weight layer, a list of activations, weights and gradients:
            on `inputs`, with the profiles and every `every` steps; TensorBoard's tab, and histograms.csv.
        band: what lies behind the norms at init, as `fanin.profile` takes it: auto, law, redraw, both or off; by
            default auto if one of the next three is given, else off. It needs `inputs`, and a fresh model.
        redraws: how many fresh draws make a band, each a pass of `inputs`; 64 by default, 0 for none.
        redraw: how the model is drawn; see `fanin.profile`.
        rules: what its weights are drawn from; see `fanin.profile`.

    Attributes:
        steps: how many steps it was told of.

    Raises:
        UserError: what does not fit, in one line.

    >>> import tempfile
    >>> model = nn.Linear(3, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with tempfile.TemporaryDirectory() as folder, Watch(model, f"{folder}/mine", every=2) as watch:
    ...     for _ in range(4):
    ...         optimizer.zero_grad()
    ...         loss = model(torch.randn(5, 3)).square().mean()
    ...         loss.backward()
    ...         optimizer.step()
    ...         watch.step(optimizer, loss=loss)
    >>> watch.steps
    4
    """

    def __init__(
        self,
        model: nn.Module,
        folder: str | Path,
        *,
        every: int = 50,
        curves: Sequence[str] | None = None,
        modules: str | Sequence[str] = "*",
        measures: Measures | None = None,
        inputs: Any = None,
        targets: Any = None,
        loss: Loss | None = None,
        steps: Sequence[int] = (),
        histograms: Sequence[str] = (),
        scaler: Any = None,
        autocast: torch.dtype | None = None,
        log_every: int = 10,
        config: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        resume: bool | int = False,
        band: str | None = None,
        redraws: int | None = None,
        redraw: Redraw | None = None,
        rules: Rules | None = None,
    ) -> None:
        self.model, self.steps = checked(model), 0
        self._log_every = integer("log_every", log_every, 1)
        own = tuple(measures) if isinstance(measures, Mapping) else ()
        self._probe = Probe(
            steps=steps, every=every, curves=(*CURVES, *own) if curves is None else curves, measures=measures,
            histograms=histograms,
        )  # fmt: skip
        chosen = chosen_modules(modules, [name for name, _ in self.model.named_modules()])
        capture, fixed, expect = Capture(self.model), None, None
        banded = any(one is not None for one in (redraws, redraw, rules)) if band is None else band != "off"
        if inputs is not None:
            seed = integer("config.seed", (config or {}).get("seed", 0))
            fixed = ProbePass(self.model, capture, inputs, targets, loss, seed=seed, autocast=autocast)
            if banded:
                expect = ExpectedNorms(
                    self.model, inputs, targets, loss, autocast=autocast, redraw=redraw, rules=rules,
                    band="auto" if band is None else band, redraws=64 if redraws is None else redraws,
                )  # fmt: skip
        elif steps or histograms or targets is not None or loss is not None or banded:
            raise UserError("inputs: profiles and histograms need a batch to be taken on; give inputs=")
        self._looks = Looks(
            self.model, capture, self._probe, fixed,
            chosen=chosen, blind=blind_spot(model), scaler=scaler, tell=_tell,
        )  # fmt: skip
        self._optimizers: set[int] = set()
        self._after: bool | None = None  # whether steps are told of after their update; not known before the first
        self._labels: list[Label] = []
        self._tags: tuple[str, ...] = ()
        self._closed = False
        self._run: OwnRun | None = None
        self._finalizer: Callable[[], object] = lambda: None
        if is_writer():
            self._run = run = OwnRun(
                Path(folder), self.model, config or {}, overwrite=overwrite, resume=resume, expect=expect
            )
            self.steps = run.step
            # At the end of the process, or as soon as nobody holds this object any more.
            self._finalizer = weakref.finalize(self, _end, self._run, self._looks.training)
        if not self._looks.weights:
            _tell(
                f"{type(self.model).__name__} has no weight layer (a module with a parameter `weight` of two axes or "
                "more): only what steps say is written"
            )
        try:
            if self._run is None or self._run.earlier is None:
                self._profile("init")
                self._histograms(0)
            else:
                self._looks.go_on(self._run.earlier.numbers)
            self._arm()
        except BaseException as error:
            self.close(error)
            raise

    def step(
        self,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        loss: Tensor | float | None = None,
        error: Tensor | float | None = None,
        lr: float | None = None,
        epoch: float | None = None,
        updated: bool | None = None,
    ) -> None:
        """Tell of a step of training: after the backward pass, before the update or, with the optimizer, after it.

        Gradients are what the parameters' `grad` holds then: accumulated where they are, clipped if they are by then,
        synchronized between processes, without the factor of a scaler that the watch was given.

        Args:
            optimizer: given after its update; then update ratios are measured, and the learning rate is written.
            loss: of the step, for metrics.csv; nothing is fetched from the device before a row is due.
            error: the share of wrong answers, or another number beside the loss.
            lr: the learning rate, where no optimizer says it.
            epoch: passes over the data so far.
            updated: whether the update has been made; by default whether an optimizer is given.

        Raises:
            UserError: no gradient is there, the optimizer is another model's, or the watch was closed.
        """
        if self._closed:
            raise UserError("watch.step: this watch was closed; make another one")
        if optimizer is not None and id(optimizer) not in self._optimizers:
            check_optimizer(self.model, optimizer)
            self._optimizers.add(id(optimizer))
        run, after = self._run, optimizer is not None if updated is None else updated
        if run is not None and self._probe.curve_due(self.steps):
            with run.standing_still():
                labels, values = self._looks.point(after=after)
                if labels != self._labels:
                    self._labels, self._tags = labels, curve_tags(labels)
                if labels:
                    run.recorder.curves(self.steps, self._tags, values[0].tolist())
        self._after = after
        self.steps += 1
        if run is not None:
            run.took(self.steps, loss, error, epoch)
            if self.steps == 1 or self.steps % self._log_every == 0:
                run.row(float(optimizer.param_groups[0]["lr"]) if lr is None and optimizer is not None else lr)
        # A snapshot is of the weights after so many updates: this step's own is made, or yet to come.
        updates = self.steps if after else self.steps - 1
        earlier = run.earlier if run is not None else None
        if updates and self._probe.profile_due(updates) and (earlier is None or str(updates) not in earlier.snapshots):
            self._profile(str(updates))
        if updates and self._probe.histogram_due(updates):
            self._histograms(updates)
        self._arm()

    def gradients(self) -> None:
        """Keep the gradients as they are now, before they are clipped, for a `step` that comes after the update."""
        if self._run is not None and self._probe.curve_due(self.steps):
            self._looks.keep_gradients()

    def log(self, **columns: float) -> None:
        """Write numbers of metrics.csv at this step, such as val_loss and val_error; TensorBoard gets them, too.

        Raises:
            UserError: metrics.csv has no such column.
        """
        if self._run is not None:
            self._run.log(columns)

    def close(self, error: BaseException | None = None) -> None:
        """Take the last profile, write the run's end and leave; a process that ends does it, too, but for the profile.

        Args:
            error: what ended the training, if it did not end by itself.
        """
        if self._closed:
            return
        self._closed = True
        self._looks.training.disarm()
        try:
            if error is None and self.steps:
                self._profile("final")
                self._histograms(self.steps)
        except BaseException as broken:
            error = broken
            raise
        finally:
            if self._run is not None:
                self._run.end(error)
            self._finalizer()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(error)

    def _arm(self) -> None:
        if self._run is not None and self._probe.curve_due(self.steps):
            self._looks.arm(after=self._after)

    def _histograms(self, updates: int) -> None:
        """Take histograms of the weights after so many updates, once; every process makes the pass, one writes."""
        if not self._probe.histograms or (self._run is not None and self._run.histogram_at >= updates):
            return
        with nullcontext() if self._run is None else self._run.standing_still():
            measured = self._looks.histograms()
            if measured is not None and self._run is not None:
                self._run.histograms(updates, *measured)

    def _profile(self, snapshot: str) -> None:
        """Take a profile where there is a batch for it; every process makes the pass, one writes."""
        with nullcontext() if self._run is None else self._run.standing_still():
            measured = self._looks.profile()
            if measured is None or self._run is None:
                return
            labels, values = measured
            self._run.profile(snapshot, labels, values[0].tolist())
        if snapshot == "init":
            if not any(label[3] == "gradient_norm" for label in labels):
                _tell("profiles are without gradients; loss= says what the loss of outputs and targets= is")
            found = self._run.overlay.expected
            if found is not None and not found.bands and (found.no_law or found.no_redraw):
                why = "; ".join(one for one in (found.no_law, found.no_redraw) if one)
                _tell(f"no band lies behind the norms at init: {why}")


watch = Watch
"""As a loop calls it: fanin.watch(model, folder)."""


def _end(run: OwnRun, training: TrainingPass) -> None:
    training.disarm()
    run.end()


def _tell(line: str) -> None:
    log.warning("fanin.watch: %s", line)
