"""A look at the curvature of what R runs minimize: every quantity that is asked for, as rows of curvature.csv."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from fanin.probes.curvature.ends import Ends, ends_of
from fanin.probes.curvature.gradient_noise import gradient_noise
from fanin.probes.curvature.operators import Operator, dots
from fanin.probes.curvature.settings import Curvature
from fanin.probes.curvature.stacked_loss import StackedLoss
from fanin.probes.curvature.steps import alignment, critical_sharpness, sam_sharpness
from fanin.probes.curvature.trace import density_of, hutchpp_trace, slq_density
from fanin.probes.curvature.verdict import verdict
from fanin.streams import generator
from fanin.train.curvature_state import CurvatureState, Found, Rows
from fanin.train.example_gradients import example_gradients
from fanin.train.learner import Batch
from fanin.train.minimized_loss import MinimizedLosses
from fanin.train.trained_model import TrainedModel

DENSITY_VECTORS, DENSITY_STEPS = 3, 60
"""Random vectors of a density, and products for each at most."""


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

    def __call__(self, step: int, data: Batch, states: Sequence[CurvatureState]) -> Found:
        """The rows of each run at a step, and what there is to say of it, a line each.

        Args:
            step: updates made.
            data: inputs [R, B, ...] and targets [R, B], or [N, ...] and [N] for all runs.
            states: of the runs; changed.
        """
        rows = Rows(self.losses.runs)
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
        rows, notes = Rows(self.losses.runs), list[str]()

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

    def _guarded(self, rows: Rows, notes: list[str], work: Callable[[], None], quantities: Collection[str]) -> None:
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
            if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in said:
                said = "it takes more memory than there is; fewer probe.curvature.products and examples take less"
            notes.append(f"probe.curvature: {', '.join(missing)} could not be measured; {said}")

    def _measure(
        self,
        rows: Rows,
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
        self, rows: Rows, notes: list[str], step: int, operator: Operator, prefix: str,
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
        self, rows: Rows, notes: list[str], step: int, operator: Operator, prefix: str,
        started: Sequence[Tensor | None], layer: str,
    ) -> Ends:  # fmt: skip
        settings = self.settings
        k = min(settings.k if settings.wants("eigenvalues", "alignment") else 1, operator.size)
        low = settings.wants("eigenvalues") or (settings.wants("verdict") and not prefix and not layer)
        ends = ends_of(
            operator, k, low=low, tolerance=settings.tolerance, most=settings.products, started=started,
            generators=self._generators(step, f"{prefix}ends", layer),
        )  # fmt: skip
        if not ends.converged:
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

    def _add_verdicts(self, rows: Rows, ends: Ends, norms: Tensor) -> None:
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

    def _add_trace(self, rows: Rows, step: int, operator: Operator, prefix: str, layer: str) -> None:
        if self.settings.wants("trace"):
            random = self._generators(step, f"{prefix}trace", layer)
            value, error = hutchpp_trace(operator, self.settings.vectors, random)
            rows.add(f"{prefix}trace", value, layer)
            rows.add(f"{prefix}trace_error", error, layer)

    def _add_density(self, rows: Rows, step: int, operator: Operator, prefix: str) -> None:
        """The curve, and what is told by the points that it is made of."""
        steps = min(DENSITY_STEPS, self.settings.products)
        values, weights = slq_density(operator, DENSITY_VECTORS, steps, self._generators(step, f"{prefix}density", ""))
        found = [
            density_of(value, weight, self.settings.bins, self.settings.tolerance)
            for value, weight in zip(values, weights, strict=True)
        ]
        for name in ("negative_share", "condition"):
            rows.add(f"{prefix}{name}", torch.tensor([getattr(one, name) for one in found], dtype=torch.float64))
        for name, each in (("density_at", [one.at for one in found]), ("density", [one.curve for one in found])):
            for place, column in enumerate(torch.stack(each).unbind(-1), start=1):
                rows.add(f"{prefix}{name}", column, "", place)

    def _add_noise(self, rows: Rows, data: Batch) -> None:
        found = []
        for run, member in enumerate(self.members):
            shared = data[1].ndim == 1
            inputs, targets = data if shared else (data[0][run], data[1][run])
            found.append(gradient_noise(example_gradients(member, inputs, targets, self.settings.mode)))
        rows.add("noise_scale", torch.tensor([one.noise_scale for one in found], dtype=torch.float64))
        rows.add("signal_to_noise", torch.tensor([one.signal_to_noise for one in found], dtype=torch.float64))

    def _generators(self, step: int, quantity: str, layer: str) -> list[torch.Generator]:
        return [generator(seed, "curvature", step, quantity, layer) for seed in self.seeds]
