"""Modules that draw random numbers in the forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class NoiseModule(nn.Module):
    """A module that draws in the forward pass, and only from the generator that it is given.

    Training sets the run's generator and a probe another one, so that probing changes nothing and a resumed run
    continues with the same draws. Modules that do not derive from this draw from torch's global stream.

    Attributes:
        generator: draws the noise, on the device of the inputs; None: torch's global one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.generator: torch.Generator | None = None


def noise_modules(model: nn.Module) -> list[NoiseModule]:
    """The modules of a model that draw from a generator of their own, in the order of registration."""
    return [module for module in model.modules() if isinstance(module, NoiseModule)]


def reseed(model: nn.Module, device: torch.device) -> None:
    """Give every module that draws a generator of its own: the same draws at every pass."""
    for place, module in enumerate(noise_modules(model)):
        module.generator = torch.Generator(device=device).manual_seed(place)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Passes through the model leave its generators as they were."""
    generators = [(module, module.generator) for module in noise_modules(model)]
    try:
        yield
    finally:
        for module, generator in generators:
            module.generator = generator
