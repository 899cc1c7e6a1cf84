"""A look at the curvature of what R runs minimize: every quantity that is asked for, as rows of curvature.csv."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fanin.parts.models.passes import copied_buffers
from fanin.probes.curvature.gradient_noise import gradient_noise
from fanin.probes.curvature.lanczos import lanczos
from fanin.probes.curvature.operators import Operator, dots, unit
from fanin.probes.curvature.settings import Curvature
from fanin.probes.curvature.stacked_loss import StackedLoss
from fanin.probes.curvature.steps import alignment, critical_sharpness, sam_sharpness
from fanin.probes.curvature.trace import hutchpp_trace, slq_density, smoothed
from fanin.probes.curvature.verdict import verdict
from fanin.record.recorder import CurvatureRow
from fanin.streams import drawing_from, generator
from fanin.train.learner import Batch
from fanin.train.minimized_loss import MinimizedLosses
from fanin.train.trained_model import TrainedModel

SMALL = 32
"""Parameters up to which a matrix is made whole: all its eigenvalues are known, and the index of a saddle."""

DENSITY_VECTORS, DENSITY_STEPS = 3, 60
"""Random vectors of a density, and products for each at most."""

STIR = 0.1
"""Of a random direction that an earlier eigenvector starts with: another may have become the largest since."""

EXAMPLES = 1 << 24
"""Numbers in the gradients of examples that are held at once."""

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

Found = tuple[list[list[CurvatureRow]], list[str]]
"""The rows of each run, and what there is to say of them, a line each."""


@dataclass
class CurvatureState:
    """What a run's next look begins with, and what the last one found; a checkpoint holds it.

    Attributes:
        vector: the sum of its extreme eigenvectors, [P].
        eta: the critical step.
        found: the last value of each number of the whole model, by quantity, and the verdict's words.
    """

    vector: Tensor | None = None
    eta: float | None = None
    found: dict[str, Any] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"vector": self.vector, "eta": self.eta, "found": dict(self.found)}

    @classmethod
    def of(cls, state: dict[str, Any] | None) -> CurvatureState:
        """From a checkpoint, which may be of an earlier version."""
        return cls(**(state or {}))


class CurvatureLook:
    """Looks at R runs in step: each product with their Hessians is one program.

    Args:
        members: the networks.
        settings: what is asked for.
        seeds: of the runs; random vectors are drawn from (seed, "curvature", step, quantity).
    """

    def __init__(self, members: Sequence[TrainedModel], settings: Curvature, seeds: Sequence[int]) -> None:
        self.members, self.settings, self.seeds = list(members), settings, list(seeds)
        self.losses = MinimizedLosses(members)

    def __call__(
        self, step: int, data: Batch, states: Sequence[CurvatureState]
    ) -> tuple[list[list[CurvatureRow]], list[str]]:
        """The rows of each run at a step, and what there is to say of it, a line each.

        Args:
            step: updates made.
            data: inputs [R, B, ...] and targets [R, B], or [N, ...] and [N] for all runs.
            states: of the runs; changed.
        """
        rows = _Rows(self.losses.runs)
        notes: list[str] = []
        losses = self.losses.at(*data, mode=self.settings.mode)
        self._guarded(
            rows, notes, lambda: self._measure(rows, notes, step, losses, data, states), self.settings.quantities
        )
        for state, told, said in zip(states, rows.rows, rows.words, strict=True):
            state.found |= {row.quantity: row.value for row in told if not row.layer and row.index in (None, 1)} | said
            for name in ("density", "density_at"):
                state.found.pop(name, None)
        return rows.rows, notes

    def along_update(
        self, before: Tensor, rates: Sequence[float], batch: Batch, states: Sequence[CurvatureState]
    ) -> Found:
        """critical_sharpness along the update that the runs have just made from `before` [R, P], on its batch."""
        rows, notes = _Rows(self.losses.runs), list[str]()

        def measure() -> None:
            scale = torch.tensor([[rate if rate > 0 else math.nan] for rate in rates], dtype=before.dtype)
            direction = (self.losses.points() - before) / scale.to(before.device)
            guess = torch.tensor([state.eta or rate or 1.0 for state, rate in zip(states, rates, strict=True)])
            losses = self.losses.at(*batch, mode=self.settings.mode, theta=before)
            moves = torch.isfinite(direction).all(-1).cpu() & (direction != 0).any(-1).cpu()
            values, etas = critical_sharpness(losses, direction.nan_to_num(0.0), guess)
            values = torch.where(moves, values, torch.nan)
            rows.add("critical_sharpness", values)
            for state, eta, value in zip(states, etas.tolist(), values.tolist(), strict=True):
                state.eta = eta if math.isfinite(eta) and eta > 0 else None
                state.found["critical_sharpness"] = value

        self._guarded(rows, notes, measure, ("critical_sharpness",))
        return rows.rows, notes

    def _guarded(self, rows: _Rows, notes: list[str], work: Callable[[], None], quantities: Collection[str]) -> None:
        """What cannot be measured is a row of nan for each quantity, and a line that says why; training goes on."""
        try:
            work()
        except (RuntimeError, NotImplementedError, MemoryError) as error:  # torch's, a lack of memory among them
            missing = [name for name in quantities if name not in rows.names]
            if len(quantities) > 1:
                missing = [name for name in missing if name != "critical_sharpness"]
            for name in missing:
                rows.add(name, torch.full((self.losses.runs,), torch.nan))
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            notes.append(f"probe.curvature: {', '.join(missing)} could not be measured; {said}")

    def _measure(
        self,
        rows: _Rows,
        notes: list[str],
        step: int,
        losses: StackedLoss,
        data: Batch,
        states: Sequence[CurvatureState],
    ) -> None:
        settings = self.settings
        gradient = losses.gradient() if settings.wants("verdict", "alignment", "sam_sharpness") else None
        if gradient is not None:
            rows.add("gradient_norm", dots(gradient, gradient).sqrt())
        if settings.wants("sam_sharpness") and gradient is not None:
            rows.add("sam_sharpness", sam_sharpness(losses, gradient, settings.rho))
        if settings.wants("noise_scale"):
            self._add_noise(rows, data)
        if not settings.wants("sharpness", "eigenvalues", "trace", "density", "verdict", "alignment"):
            return
        for kind in dict.fromkeys(
            (*(("hessian",) if settings.wants("verdict", "alignment") else ()), *settings.matrices)
        ):
            operator = losses.hessian() if kind == "hessian" else losses.gauss_newton()
            prefix = "" if kind == "hessian" else f"{kind}_"
            if kind in settings.matrices or settings.wants("verdict", "alignment"):
                self._add_spectrum(rows, notes, step, operator, prefix, states, gradient if not prefix else None)
            for layer, (start, stop) in losses.blocks.items() if settings.layers and kind in settings.matrices else ():
                block = operator.block(start, stop)
                self._add_ends(rows, notes, step, block, prefix, [None] * losses.theta.shape[0], layer)
                self._add_trace(rows, step, block, prefix, layer)

    def _add_spectrum(
        self, rows: _Rows, notes: list[str], step: int, operator: Operator, prefix: str,
        states: Sequence[CurvatureState], gradient: Tensor | None,
    ) -> None:  # fmt: skip
        """The quantities of one matrix of the whole model."""
        settings = self.settings
        ends = None
        if settings.wants("sharpness", "eigenvalues", "verdict", "alignment"):
            started = [None if prefix else state.vector for state in states]
            ends = self._add_ends(rows, notes, step, operator, prefix, started, "")
            for run, state in enumerate(states if not prefix else ()):
                state.vector = ends.vectors[run]
        if ends is not None and gradient is not None:
            if settings.wants("alignment"):
                rows.add("alignment", alignment(gradient, ends.top))
            if settings.wants("verdict"):
                self._add_verdicts(rows, ends, dots(gradient, gradient).sqrt())
        self._add_trace(rows, step, operator, prefix, "")
        if settings.wants("density"):
            self._add_density(rows, step, operator, prefix)

    def _add_ends(
        self, rows: _Rows, notes: list[str], step: int, operator: Operator, prefix: str,
        started: Sequence[Tensor | None], layer: str,
    ) -> _Ends:  # fmt: skip
        settings = self.settings
        k = min(settings.k if settings.wants("eigenvalues", "alignment") else 1, operator.size)
        low = settings.wants("eigenvalues") or (settings.wants("verdict") and not prefix and not layer)
        if operator.size <= SMALL:
            ends = _all_of(operator, k)
        else:
            random = self._generators(step, f"{prefix}ends", layer)
            drawn = [torch.randn(operator.size, generator=one) for one in random]
            start = unit(torch.stack(drawn).to(operator.like))
            known = [None if one is None else one.to(operator.like) for one in started]
            warm = [draw if one is None else one + STIR * draw for one, draw in zip(known, start, strict=True)]
            found = lanczos(
                operator, unit(torch.stack(warm)), k=k, low=low, tolerance=settings.tolerance, most=settings.products,
                generators=random,
            )  # fmt: skip
            vectors = unit(found.vectors[:, 0] + (found.low_vectors[:, 0] if low else 0.0))
            ends = _Ends(found.largest, found.smallest, found.vectors, vectors, None)
            if not all(found.converged) and bool(torch.isfinite(found.largest).any()):
                notes.append(
                    f"probe.curvature: eigenvalues of {layer or 'the model'} at step {step} are not known to "
                    f"{settings.tolerance:g} after {settings.products} products; raise probe.curvature.products"
                )
        if settings.wants("sharpness"):
            rows.add(f"{prefix}sharpness", ends.largest[:, 0], layer)
        if settings.wants("eigenvalues"):
            for at in range(k):
                rows.add(f"{prefix}eigenvalue_largest", ends.largest[:, at], layer, at + 1)
            for at in range(k):
                rows.add(f"{prefix}eigenvalue_smallest", ends.smallest[:, at], layer, at + 1)
        return ends

    def _add_verdicts(self, rows: _Rows, ends: _Ends, norms: Tensor) -> None:
        """The words go into result.json; how many eigenvalues are negative into the table, where all are known."""
        settings = self.settings
        for run, words in enumerate(rows.words):
            largest, smallest = float(ends.largest[run, 0]), float(ends.smallest[run, 0])
            words["verdict"] = verdict(
                float(norms[run]), largest, smallest, stationary=settings.stationary, tolerance=settings.tolerance
            )
            words |= {"largest": largest, "smallest": smallest}
        if not settings.wants("eigenvalues"):
            rows.add("eigenvalue_largest", ends.largest[:, 0], "", 1)
            rows.add("eigenvalue_smallest", ends.smallest[:, 0], "", 1)
        if ends.every is not None:
            bound = settings.tolerance * ends.every.abs().amax(-1, keepdim=True)
            rows.add("index", (ends.every < -bound).sum(-1).double())

    def _add_trace(self, rows: _Rows, step: int, operator: Operator, prefix: str, layer: str) -> None:
        if self.settings.wants("trace"):
            random = self._generators(step, f"{prefix}trace", layer)
            value, error = hutchpp_trace(operator, self.settings.vectors, random)
            rows.add(f"{prefix}trace", value, layer)
            rows.add(f"{prefix}trace_error", error, layer)

    def _add_density(self, rows: _Rows, step: int, operator: Operator, prefix: str) -> None:
        """The curve, and what is told by the points that it is made of."""
        steps = min(DENSITY_STEPS, self.settings.products)
        values, weights = slq_density(operator, DENSITY_VECTORS, steps, self._generators(step, f"{prefix}density", ""))
        shares, conditions, curves = [], [], []
        for value, weight in zip(values, weights, strict=True):
            low, high = float(value.min()), float(value.max())
            margin = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
            grid = torch.linspace(low - margin, high + margin, self.settings.bins, dtype=torch.float64)
            curves.append((grid, smoothed(value, weight, grid)))
            bound = self.settings.tolerance * max(abs(low), abs(high))
            shares.append(float(weight[value < -bound].sum()) if math.isfinite(low) else math.nan)
            positive = value[value > bound]
            conditions.append(high / float(positive.min()) if len(positive) else math.nan)
        rows.add(f"{prefix}negative_share", torch.tensor(shares, dtype=torch.float64))
        rows.add(f"{prefix}condition", torch.tensor(conditions, dtype=torch.float64))
        for name, each in zip(("density_at", "density"), zip(*curves, strict=True), strict=True):
            for at, column in enumerate(torch.stack(each).unbind(-1), start=1):
                rows.add(f"{prefix}{name}", column, "", at)

    def _add_noise(self, rows: _Rows, data: Batch) -> None:
        found = []
        for run, member in enumerate(self.members):
            shared = data[1].ndim == 1
            inputs, targets = data if shared else (data[0][run], data[1][run])
            found.append(gradient_noise(example_gradients(member, inputs, targets, self.settings.mode)))
        rows.add("noise_scale", torch.tensor([one.noise_scale for one in found], dtype=torch.float64))
        rows.add("signal_to_noise", torch.tensor([one.signal_to_noise for one in found], dtype=torch.float64))

    def _generators(self, step: int, quantity: str, layer: str) -> list[torch.Generator]:
        return [generator(seed, "curvature", step, quantity, layer) for seed in self.seeds]


@dataclass(frozen=True)
class _Ends:
    """Ends of the spectra of R runs.

    Args:
        largest, smallest: [R, k] in float64.
        top: eigenvectors of the largest, [R, k, P].
        vectors: where the next look begins, [R, P].
        every: all eigenvalues, [R, P]; None where they are not known.
    """

    largest: Tensor
    smallest: Tensor
    top: Tensor
    vectors: Tensor
    every: Tensor | None


def _all_of(operator: Operator, k: int) -> _Ends:
    """Of matrices that are small enough to be made whole."""
    dense = operator.dense().double().cpu()
    dense = 0.5 * (dense + dense.mT)
    bad = ~torch.isfinite(dense).all(-1).all(-1)
    dense[bad] = 0.0
    values, vectors = torch.linalg.eigh(dense)
    values[bad] = torch.nan
    top = vectors.mT.flip(1)[:, :k].to(operator.like)
    return _Ends(values.flip(-1)[:, :k], values[:, :k], top, unit(top[:, 0]), values)


class _Rows:
    """Collects the numbers of R runs."""

    def __init__(self, runs: int) -> None:
        self.rows: list[list[CurvatureRow]] = [[] for _ in range(runs)]
        self.words: list[dict[str, Any]] = [{} for _ in range(runs)]
        self.names: set[str] = set()

    def add(self, quantity: str, values: Tensor, layer: str = "", index: int | None = None) -> None:
        """One number for each run."""
        self.names.add(quantity)
        for rows, value in zip(self.rows, values.tolist(), strict=True):
            rows.append(CurvatureRow(layer, quantity, index, float(value)))


def example_gradients(own: TrainedModel, inputs: Tensor, targets: Tensor, mode: str) -> Iterator[Tensor]:
    """The gradient of each example's loss, without penalties, some examples at a time: [n, P].

    Raises:
        RuntimeError: examples are no examples alone, for batch normalization in training mode mixes them.
    """
    if mode == "training" and any(isinstance(one, BATCH_NORMS) for one in own.model.modules()):
        raise RuntimeError("batch normalization in training mode mixes examples: take probe.curvature.mode=evaluation")
    own.model.train(mode == "training")
    theta = {name: one.detach() for name, one in own.model.named_parameters() if one.requires_grad}
    buffers = copied_buffers(own.model)

    def one(theta: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        x, y = x.unsqueeze(0), y.unsqueeze(0)
        loss: Tensor = own.method.minimized(functional_call(own.model, theta | buffers, (x,)), y, x)
        return loss

    each = vmap(grad(one), (None, 0, 0), randomness="different")
    at_once = max(1, EXAMPLES // sum(tensor.numel() for tensor in theta.values()))
    masks = own.probe_dropout().get_state() if own.probe_dropout is not None else None
    for x, y in zip(torch.split(inputs, at_once), torch.split(targets, at_once), strict=True):
        with drawing_from(masks, own.dropout):
            found = each(theta, x, y)
        yield torch.cat([tensor.flatten(1) for tensor in found.values()], 1)
