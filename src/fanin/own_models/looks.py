"""What is measured of a model that a loop of one's own trains: points of curves, and profiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from fanin.errors import UserError
from fanin.own_models.gradients import Gradients, factor_of, gradients_of
from fanin.own_models.probe_pass import ProbePass, modes_of
from fanin.own_models.training_pass import TrainingPass, copies_of
from fanin.own_models.unwrapped import COMPILED
from fanin.own_models.whole_look import whole_look
from fanin.parts.models.layers import biases, fans, weight_layers
from fanin.probes.capture import Capture, Observation
from fanin.probes.histograms import Histograms, measure_histograms
from fanin.probes.probe import Measured, Probe, measure_curves, measure_profile
from fanin.probes.quantities import needs
from fanin.train.observer import Observer

Tell = Callable[[str], object]


class Looks:
    """Looks at one model; the measures are those of a fanin run.

    Args:
        model: the network itself, unwrapped.
        capture: of its passes.
        probe: what is measured.
        fixed: the batch of the profiles, or None.
        chosen: whether a module is measured, by its name.
        blind: why the pass that trains shows nothing, "" where it does.
        scaler: that of mixed precision, or None.
        tell: called with what a user should know, in one line.
    """

    def __init__(
        self,
        model: nn.Module,
        capture: Capture,
        probe: Probe,
        fixed: ProbePass | None,
        *,
        chosen: Callable[[str], bool],
        blind: str,
        scaler: Any,
        tell: Tell,
    ) -> None:
        self._model, self._probe, self._fixed = model, probe, fixed
        self._chosen, self._blind, self._scaler, self._tell = chosen, blind, scaler, tell
        # What a point's quantities are of, by whether the update has been made.
        self._of = {
            after: needs(one for one in probe.curves if after or "updated" not in one.of) for after in (False, True)
        }
        layers = weight_layers(model)
        self.weights = {name: layer.get_parameter("weight") for name, layer in layers}
        self.biases = biases(model)
        self._fan_ins = {name: fans(layer)[0] for name, layer in layers}
        self._initial = {}
        if fixed is not None or "initial" in self._of[True]:
            self._initial = {name: one.detach().clone().unsqueeze(0) for name, one in self.weights.items()}
        self._copies = copies_of(self.weights)
        self._numbers: dict[str, int] = {}
        self.training = TrainingPass(model, capture)
        self._kept: tuple[Gradients, Gradients] | None = None
        self._told = False

    def go_on(self, numbers: Mapping[str, int]) -> None:
        """Be one of a run that goes on: its layers have numbers, and its weights at step 0 are not known any more."""
        self._numbers.update(numbers)
        self._initial = {}

    def arm(self, *, after: bool | None) -> None:
        """Record the next pass, for a point.

        Args:
            after: whether the point will be told of after the update; None if that is not known.
        """
        if self._blind:
            return
        copies = None
        of = self._of[after is not False]
        if after is not False and not of.isdisjoint(("weight", "updated")):
            copies = self._copies
        scaler = self._scaler
        scale = (lambda: 1.0) if scaler is None else (lambda: float(scaler.get_scale()))
        self.training.arm(gradients="activation_gradient" in of, copies=copies, scale=scale)

    def keep_gradients(self) -> None:
        """Keep the gradients as they are now for the next point."""
        self._kept = self._slopes(self._of[True], factor_of(self._scaler), copy=True)

    def point(self, *, after: bool) -> Measured:
        """The curves' quantities in the pass that was recorded.

        Args:
            after: whether the weights have been updated since.

        Raises:
            UserError: there was no backward pass.
        """
        kept, self._kept = self._kept, None
        of = self._of[after]
        before, scale = self.training.before, self.training.scale
        seen = self.training.read()
        if kept is None and all(one.grad is None for one in self._model.parameters()):
            raise UserError(
                "watch.step: no parameter of the model has a gradient; call it after loss.backward() and before "
                "optimizer.zero_grad()"
            )
        if seen is None:
            seen = self._unseen(of)
        else:
            if self._fixed is not None:
                self._fixed.modes = modes_of(self._model)
            if scale != 1.0:
                flowed = seen.activation_gradients
                seen.activation_gradients = [None if one is None else one / scale for one in flowed]
        self._number(seen)
        old = before if after and before is not None else self.weights
        observer = Observer(old, self._initial, 1, self._fan_ins, self.biases)
        if not of.isdisjoint(("weight", "fan_in", "initial", "initial_norm")):
            observer.add_weights(seen, copy=False)
        weights, of_biases = kept or self._slopes(of, 1.0 if after else factor_of(self._scaler))
        if weights:
            observer.add_gradients(seen, weights, copy=False)
        if of_biases:
            observer.add_bias_gradients(seen, of_biases, copy=False)
        if before is not None and "updated" in of:
            Observer(self.weights, {}, 1, {}).add_updated(seen)
        return measure_curves(seen, self._probe.curves)

    def profile(self) -> Measured | None:
        """Every quantity over depth on the fixed batch; None if there is no batch."""
        if self._fixed is None:
            return None
        self.training.disarm()
        seen = whole_look(self._fixed, Observer(self.weights, self._initial, 1, self._fan_ins, self.biases))
        self._number(seen)
        return measure_profile(seen, self._probe.measures)

    def histograms(self) -> Histograms | None:
        """Histograms of what the probe asks for on the fixed batch; None if there is no batch."""
        if self._fixed is None:
            return None
        self.training.disarm()
        seen = whole_look(self._fixed, Observer(self.weights, self._initial, 1, self._fan_ins, self.biases))
        self._number(seen)
        return measure_histograms(seen, self._probe.histograms)

    def _slopes(self, of: frozenset[str], factor: float, *, copy: bool = False) -> tuple[Gradients, Gradients]:
        """The gradients of weights and biases, where quantities are of them."""
        weights = gradients_of(self.weights if "gradient" in of else {}, factor, copy=copy)
        return weights, gradients_of(self.biases if "bias_gradient" in of else {}, factor, copy=copy)

    def _unseen(self, of: frozenset[str]) -> Observation:
        """What is known where no pass was seen: a look at the fixed batch, or the weights alone."""
        if self.training.compiled:  # since it is watched
            self._blind = COMPILED
        if not self._told:
            self._told = True
            why = self._blind or "no call of the model with gradients was seen since the last step"
            instead = "are those of inputs=" if self._fixed else "are left out; inputs= gives a batch to take them on"
            self._tell(f"{why}: activations {instead}")
        if self._fixed is not None and not of.isdisjoint(("activation", "activation_gradient")):
            return self._fixed.observe(gradients="activation_gradient" in of)[0]
        return Observation(weight_names=list(self.weights))

    def _number(self, seen: Observation) -> None:
        """Number layers as they first ran, and choose those that are wanted."""
        for name in seen.weight_names:
            self._numbers.setdefault(name, len(self._numbers) + 1)
        seen.numbers, seen.chosen = self._numbers, self._chosen
