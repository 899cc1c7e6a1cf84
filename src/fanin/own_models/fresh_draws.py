"""Fresh draws of a model of one's own: by the modules' `reset_parameters`, or by a function that the user gives."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fanin.errors import UserError, shortened
from fanin.own_models.layer_states import rms
from fanin.own_models.probe_pass import Loss, ProbePass
from fanin.own_models.unwrapped import checked
from fanin.own_models.whole_look import observer_of, whole_look
from fanin.probes.capture import Capture
from fanin.probes.probe import measure_profile
from fanin.probes.quantities import TABLE
from fanin.run.redraws import BANDED, Redraws, redraw_seed
from fanin.streams import torch_stream, undisturbed
from fanin.theory.bands import Band, Bands, Key, redraw_source

Redraw = Callable[..., Any]
"""Draws the parameters of the model that it is given, or takes nothing and gives a new model."""

LEVEL = 1e-5
"""The probability that a model is said to be drawn otherwise than its modules draw themselves, although it is not."""

FEWEST = 8
"""Entries from which two draws of a parameter are compared."""


class _NobodyDraws(Exception):
    """There is nothing that draws a model anew; says why."""


def fresh_draws(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    loss: Loss | None = None,
    *,
    count: int,
    redraw: Redraw | None = None,
    autocast: torch.dtype | None = None,
) -> Redraws:
    """The bands of fresh draws of a model on one batch; of its dropout masks, too.

    A draw that fails is a reason in the result, and so is a model that differs from what its modules would draw.

    Args:
        model: the network itself, unwrapped; a copy of it is drawn.
        inputs, targets, loss: see `ProbePass`.
        count: of draws.
        redraw: see `Redraw`; None for what the modules do themselves.
        autocast: the lower precision of the passes.

    Raises:
        UserError: `redraw` cannot be called, or gives another model.
    """
    device = next(model.parameters()).device
    by_modules = redraw is None
    with undisturbed(device):
        try:
            draw = _by_modules(model) if redraw is None else _by_hand(model, redraw)
            norms: list[dict[Key, float]] = []
            first: dict[str, Tensor] = {}
            kept, constant = "", True
            for place in range(count):
                seed = redraw_seed(place)
                _sow(seed, device)
                drawn = draw()
                now = dict(drawn.named_parameters())
                if place == 0:
                    if by_modules and (why := _differs(model, now)):
                        return Redraws(why=why)
                    kept = _kept(model, now) if by_modules else ""
                    first = {name: one.detach().clone() for name, one in now.items()}
                elif place == 1:
                    constant = all(torch.equal(first[name], one) for name, one in now.items())
                    if constant:
                        return Redraws(why="every draw of its weights is the same")
                norms.append(_norms(drawn, inputs, targets, loss, seed, autocast))
        except UserError:
            raise
        except _NobodyDraws as reason:
            return Redraws(why=str(reason))
        except Exception as error:  # of the user's code
            return Redraws(why=f"a redraw failed: {type(error).__name__}: {' '.join(str(error).split())}", failed=True)
    return Redraws(_bands(norms), kept)


def _by_modules(model: nn.Module) -> Callable[[], nn.Module]:
    """Every module draws itself anew, from the innermost out; buffers stay as they are."""
    drawn = copy.deepcopy(model)
    resets = [found for module in reversed(list(drawn.modules())) if (found := _reset_of(module)) is not None]
    if not resets:
        raise _NobodyDraws("no module of the model has a method reset_parameters; redraw= draws it")
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}

    def draw() -> nn.Module:
        with torch.no_grad():
            for reset in resets:
                reset()
            for name, buffer in drawn.named_buffers():
                buffer.copy_(kept[name])
        return drawn

    return draw


def _reset_of(module: nn.Module) -> Callable[[], object] | None:
    """Torch's layers call it by either name."""
    found = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    return found if callable(found) else None


def _by_hand(model: nn.Module, redraw: Redraw) -> Callable[[], nn.Module]:
    if not callable(redraw):
        raise UserError(f"redraw: a function of the model, or one that makes a new one; not {type(redraw).__name__}")
    alone = _wants(redraw) == 0
    device, modes = next(model.parameters()).device, {name: one.training for name, one in model.named_modules()}
    shapes = {name: one.shape for name, one in model.named_parameters()}
    place = None if alone else copy.deepcopy(model)

    def draw() -> nn.Module:
        with torch.no_grad():
            given = redraw() if place is None else redraw(place)
        if place is not None and not isinstance(given, nn.Module):
            given = place
        drawn = checked(given).to(device)
        if {name: one.shape for name, one in drawn.named_parameters()} != shapes:
            raise UserError("redraw: gives a model of other parameters than the one that is looked at")
        for name, module in drawn.named_modules():
            module.training = modes.get(name, module.training)
        return drawn

    return draw


def _wants(function: Callable[..., Any]) -> int:
    """How many arguments a function cannot do without."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    return sum(one.kind in kinds and one.default is inspect.Parameter.empty for one in parameters)


def _sow(seed: int, device: torch.device) -> None:
    for stream in {torch.default_generator, torch_stream(device)}:
        stream.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def _norms(
    drawn: nn.Module, inputs: Any, targets: Any, loss: Loss | None, seed: int, autocast: torch.dtype | None
) -> dict[Key, float]:
    fixed = ProbePass(drawn, Capture(drawn), inputs, targets, loss, seed=seed, autocast=autocast)
    seen = whole_look(fixed, observer_of(drawn))
    labels, values = measure_profile(seen, quantities=[TABLE[name] for name in BANDED])
    pairs = zip(labels, values[0].tolist(), strict=True)
    return {(axis, layer, quantity): value for (axis, _, layer, quantity), value in pairs}


def _bands(norms: list[dict[Key, float]]) -> Bands:
    """The bands of what every draw has; an expert that gets no example in some draws has none."""
    source = redraw_source(len(norms))
    shared = [key for key in norms[0] if key[:2] != ("module", "input") and all(key in one for one in norms)]
    bands = {key: Band.of_draws([one[key] for one in norms], source) for key in shared}
    return {key: band for key, band in bands.items() if band is not None}


def _kept(model: nn.Module, drawn: Mapping[str, Tensor]) -> str:
    """Which parameters no module has drawn, in words; "" where there are none."""
    same = [
        name
        for name, one in model.named_parameters()
        if one.numel() > 1 and torch.equal(one, drawn[name]) and bool((one != one.flatten()[0]).any())
    ]
    return f"no module draws {_listed(same)}, which stays as it is in all redraws" if same else ""


def _listed(names: Iterable[str]) -> str:
    return shortened(", ".join(names), 120)


def _differs(model: nn.Module, drawn: Mapping[str, Tensor]) -> str:
    """Which parameter is drawn otherwise than its module would draw it, in words; "" where none is."""
    pairs = [(name, one.detach(), drawn[name].detach()) for name, one in model.named_parameters()]
    for name, mine, fresh in pairs:
        if torch.equal(mine, fresh):
            continue
        p, level = same_law(_entries(mine), _entries(fresh)), LEVEL / len(pairs)
        if p < level:
            return (
                f"{name} is not drawn as its module's reset_parameters draws it (rms {rms(mine):.3g} here, "
                f"{rms(fresh):.3g} there); redraw= draws the model as you do"
            )
    return ""


def _entries(tensor: Tensor) -> NDArray[np.float64]:
    flat = tensor.flatten()
    return np.asarray(flat[:: max(1, len(flat) // 2**16)].cpu().double().numpy())


def same_law(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The p value of two samples under one law, by the distance of Kolmogorov and Smirnov; 1 for a few entries.

    >>> rng = np.random.default_rng(0)
    >>> same_law(rng.normal(size=1000), rng.normal(size=1000)) > 0.001, same_law(np.zeros(9), np.ones(9))
    (True, 0.0)
    """
    if one.std() == 0 or other.std() == 0:
        return float(np.array_equal(one, other))
    if len(one) < FEWEST:
        return 1.0
    from scipy import stats

    return float(stats.ks_2samp(one, other, method="asymp").pvalue)
