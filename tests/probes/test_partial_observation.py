"""An observation need not have everything: no backward pass, some modules only, layers numbered as they first ran."""

from __future__ import annotations

import torch
from torch import nn

from fanin.probes.capture import Capture
from fanin.probes.probe import QUANTITIES, curve_tags, measure_curves, measure_profile
from fanin.probes.quantities import own_quantities


def seen_without_gradients():  # type: ignore[no-untyped-def]
    """A forward pass of 3 -> 4 -> 2, its weights beside it."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with Capture(model).everything(torch.randn(5, 3)) as seen:
        model(torch.randn(5, 3))
    seen.weights = [model[0].weight.detach()[None], model[2].weight.detach()[None]]
    return model, seen


def test_what_was_not_seen_is_not_measured() -> None:
    _, seen = seen_without_gradients()
    measured = {label[3] for label in measure_profile(seen)[0]}
    assert {"activation_norm", "weight_norm"} <= measured
    assert not {name for name in measured if "gradient" in name}
    assert {label[3] for label in measure_curves(seen, QUANTITIES)[0]} >= {"activation_norm", "weight_norm"}


def test_only_chosen_modules_under_their_numbers() -> None:
    model, seen = seen_without_gradients()
    seen.chosen, seen.numbers = lambda name: name == "2", {"2": 7, "0": 3}
    labels, values = measure_curves(seen, ["weight_norm"])
    assert labels == [("weight", 7, "2", "weight_norm")]
    assert values.item() == torch.linalg.vector_norm(model[2].weight.detach()).item()
    assert {label[2] for label in measure_profile(seen)[0]} == {"2"}
    assert curve_tags(labels) == ("layers/weight_norm/7_2",)


def test_a_function_is_a_measure_as_its_dotted_name_is() -> None:
    _, seen = seen_without_gradients()
    (own,) = own_quantities({"largest": lambda weight: weight.abs().max()})
    labels, values = measure_curves(seen, [own])
    assert [label[3] for label in labels] == ["largest"] * 2
    assert values[0].tolist() == [one.abs().max().double().item() for one in seen.weights]
