"""One look at all of a model on a fixed batch: outputs, weights, and the gradients of both."""

from __future__ import annotations

from torch import nn

from fanin.own_models.probe_pass import ProbePass
from fanin.parts.models.layers import biases, fans, weight_layers
from fanin.probes.capture import Observation
from fanin.train.observer import Observer


def whole_look(fixed: ProbePass, observer: Observer) -> Observation:
    """What a pass of the batch shows; without gradients where there is no loss."""
    seen, gradients = fixed.observe()
    observer.add_weights(seen, copy=False)
    if gradients is not None:
        weights, of_biases = (
            {name: gradients.get(id(one)) for name, one in of.items()} for of in (observer.weights, observer.biases)
        )
        observer.add_gradients(seen, weights, copy=False)
        observer.add_bias_gradients(seen, of_biases, copy=False)
    return seen


def observer_of(model: nn.Module) -> Observer:
    """An observer of a model that nobody has trained yet: its weights are those at step 0."""
    layers = weight_layers(model)
    weights = {name: layer.get_parameter("weight") for name, layer in layers}
    initial = {name: weight.detach().unsqueeze(0) for name, weight in weights.items()}
    return Observer(weights, initial, 1, {name: fans(layer)[0] for name, layer in layers}, biases(model))
