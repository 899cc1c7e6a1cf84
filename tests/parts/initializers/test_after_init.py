"""The hook by which a module sets what follows from its weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fanin import streams
from fanin.parts.initializers import VarianceScaling


class Normed(nn.Module):
    """A layer with a second parameter that is to be its weight's norms by row."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4, 3))
        self.g = nn.Parameter(torch.full((4,), -1.0))
        self.calls = 0

    def after_init(self) -> None:
        self.calls += 1
        self.g.copy_(self.weight.norm(dim=1))  # an error if autograd recorded it: g is a leaf


class Watcher(nn.Module):
    """A module without weights of its own, registered before the weights it looks at."""

    def __init__(self, others: list[nn.Module]) -> None:
        super().__init__()
        self.others = [others]  # a list in a list, so that they are not registered twice
        self.seen: list[Tensor] = []

    def after_init(self) -> None:
        self.seen = [layer.get_parameter("weight").clone() for layer in self.others[0]]


def test_every_module_is_told_once_all_weights_are_there() -> None:
    layers: list[nn.Module] = [Normed(), nn.Linear(3, 2), Normed()]
    watcher = Watcher(layers)
    model = nn.Sequential(watcher, *layers)
    VarianceScaling()(model, lambda name: streams.generator(4, name))
    for layer in layers:
        if isinstance(layer, Normed):
            assert layer.calls == 1
            expected = (layer.weight.double() ** 2).sum(1).sqrt().float()
            torch.testing.assert_close(layer.g, expected, rtol=1e-6, atol=0)
    assert len(watcher.seen) == 3
    for seen, layer in zip(watcher.seen, layers, strict=True):
        assert torch.equal(seen, layer.get_parameter("weight"))
