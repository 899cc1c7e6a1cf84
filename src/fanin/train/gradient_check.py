"""The gradient that training takes against differences of what it minimizes, block by block, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin.parts.optimizers.derivatives import derivative
from fanin.parts.optimizers.objective import Objective, replaying
from fanin.train.learner import Batch
from fanin.train.step import Update
from fanin.train.trained_model import TrainedModel

TOLERANCE = 1e-6
"""Relative error up to which a derivative and a difference agree, beside rounding."""

ROUNDINGS = 50 * torch.finfo(torch.float64).eps
"""Rounding of a loss in float64, relative: a mean over a batch of what comes out of some layers."""

STEPS: tuple[float, ...] = tuple(torch.finfo(torch.float64).eps ** (1 / 3) * 10**power for power in range(4))
"""h: the first that rounding allows; the cube root of eps is where rounding and h^2 f'''/6 are alike for f near 1."""

DIRECTION = "direction"
"""What is in the place of an entry for a random unit vector, which has all entries of the block in it."""

AGREES, DIFFERS, KINK, TINY = "agrees", "differs", "kink", "too small"


@dataclass(frozen=True)
class Checked:
    """One derivative against its differences.

    Attributes:
        block: the name of the parameter.
        entry: its index in it, as "3,17", or DIRECTION.
        gradient: the derivative by backpropagation, penalties included.
        central: $(f(theta + h) - f(theta - h)) / (2 h)$.
        forward: $(f(theta + h) - f(theta)) / h$, whose error is of the order of h.
        h: the step.
        error: $|gradient - central|$ over the larger of both or, where that is larger, the block's root mean square.
        verdict: agrees; differs; kink, where f has no derivative within h and nothing is judged, as relu at 0; too
            small, where rounding hides it.
    """

    block: str
    entry: str
    gradient: float
    central: float
    forward: float
    h: float
    error: float
    verdict: str


def check_gradient(own: TrainedModel, batch: Batch, entries: int, generator: torch.Generator) -> list[Checked]:
    """Hold the gradient of the loss that is minimized, with its penalties, against central and forward differences.

    Of each block (a parameter that is trained) the entries with the largest derivatives, as many drawn ones, and a
    random direction. The pass is a training pass: statistics of the batch, and the same dropout masks at every look.

    Args:
        own: the network, in float64.
        batch: inputs [B, ...] and targets [B].
        entries: how many of a block, at most.
        generator: draws entries and directions.

    Returns:
        what was checked, block after block, the direction first.
    """
    own.train()
    weights, penalties = list(own.trained_weights.values()), own.method.penalties
    of = Objective(
        model=own.model,
        loss=own.method.minimized,
        penalty=(lambda: torch.stack([one.penalty(weights) for one in penalties]).sum())
        if penalties and weights
        else None,
        inputs=batch[0],
        targets=batch[1],
        train_inputs=batch[0],
        train_targets=batch[1],
        replay=replaying([own.dropout] if own.dropout is not None else []),
    )
    gradients = _gradients(own, of)
    names = [name for name, parameter in own.model.named_parameters() if parameter.requires_grad]
    blocks = zip(names, own.parameters, gradients, strict=True)
    with torch.no_grad():
        here = of.value().item()
        return [one for block in blocks for one in _block(of, *block, here, entries, generator)]


def _gradients(own: TrainedModel, of: Objective) -> list[Tensor]:
    """What a training step hands to clipping and optimizer: the loss's gradient, and the pulls of the penalties."""
    flat = derivative(of.loss(of.outputs(), of.targets, of.inputs), own.parameters)
    parts = torch.split(flat, [one.numel() for one in own.parameters])
    gradients = [part.view_as(one).clone() for part, one in zip(parts, own.parameters, strict=True)]
    by_parameter = dict(zip(map(id, own.parameters), gradients, strict=True))
    weights = list(own.trained_weights.values())
    pulled = [by_parameter[id(weight)].unsqueeze(0) for weight in weights]
    update = Update([own.method], gradients[0].device)
    update.pull([weight.detach().unsqueeze(0) for weight in weights], pulled)
    return gradients


def _block(
    of: Objective, name: str, parameter: Tensor, gradient: Tensor, here: float, entries: int, generator: torch.Generator
) -> Iterable[Checked]:
    size = math.sqrt(gradient.square().mean().item())
    h = _step(here, size)

    def along(way: Tensor) -> Callable[[float], float]:
        def value(step: float) -> float:
            kept = parameter.detach().clone()
            parameter.add_(way, alpha=step)
            found: float = of.value().item()
            parameter.copy_(kept)
            return found

        return value

    drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.device)
    way = drawn / drawn.norm()
    yield _checked(along(way), name, DIRECTION, (gradient * way).sum().item(), here, size, h)
    for at in _entries(gradient, entries, generator):
        way = torch.zeros_like(parameter)
        way.view(-1)[at] = 1
        where = ",".join(str(int(one)) for one in torch.unravel_index(torch.tensor(at), parameter.shape)) or "0"
        yield _checked(along(way), name, where, gradient.flatten()[at].item(), here, size, h)


def _step(value: float, size: float) -> float:
    """The smallest h at which rounding leaves derivatives of this size their digits; the largest where none does."""
    last = STEPS[-1] if size else STEPS[0]
    return next((h for h in STEPS if ROUNDINGS * abs(value) / h <= TOLERANCE * size), last)


def _entries(gradient: Tensor, most: int, generator: torch.Generator) -> list[int]:
    """Half of them with the largest derivatives, the others drawn."""
    count = gradient.numel()
    if count <= most:
        return list(range(count))
    largest = gradient.abs().flatten().topk((most + 1) // 2).indices.tolist()
    drawn = torch.randperm(count, generator=generator).tolist()
    return list(dict.fromkeys([*largest, *drawn]))[:most]


def _checked(
    f: Callable[[float], float], block: str, entry: str, gradient: float, here: float, size: float, h: float
) -> Checked:
    """Differences at h and at h/2 tell what a difference is worth: of a smooth f they are alike."""
    up, down, half_up, half_down = f(h), f(-h), f(h / 2), f(-h / 2)
    central, half = (up - down) / (2 * h), (half_up - half_down) / h
    jump, half_jump = (up - 2 * here + down) / h, (half_up - 2 * here + half_down) / (h / 2)
    rounding = ROUNDINGS * max(abs(here), abs(up), abs(down)) / (h / 2)
    scale = max(abs(gradient), abs(half), size)
    distance = abs(gradient - half)
    # The slopes on both sides of a smooth point come together as h shrinks, of a kink they do not; and the error of a
    # smooth function's half step is a third of the difference between the two.
    kink = abs(half_jump) > 0.75 * abs(jump) and abs(jump) > 8 * rounding + TOLERANCE * scale
    kink = kink or 4 * abs(central - half) >= distance
    verdict = AGREES
    if not distance <= TOLERANCE * scale + rounding:
        verdict = KINK if kink else _closer(f, gradient, h / 2, distance, rounding)
    elif 0 < scale < rounding:
        verdict = TINY
    error = distance / scale if scale > 0 else 0.0
    return Checked(block, entry, gradient, half, (half_up - here) / (h / 2), h / 2, error, verdict)


def _closer(f: Callable[[float], float], gradient: float, h: float, distance: float, rounding: float) -> str:
    """Whether a difference comes to the gradient as h shrinks: then there is a kink within h, as far as can be seen."""
    verdict = TINY if h > STEPS[0] else DIFFERS
    for factor in (10, 100, 1000):
        if factor * rounding > 0.2 * distance:
            break
        verdict, step = DIFFERS, h / factor
        if abs(gradient - (f(step) - f(-step)) / (2 * step)) < distance / 2:
            return KINK
    return verdict


def told_of_blocks(checked: Sequence[Checked]) -> tuple[list[str], list[str]]:
    """A line for each block whose derivatives differ, and some about all others."""
    blocks: dict[str, list[Checked]] = {}
    for one in checked:
        blocks.setdefault(one.block, []).append(one)
    wrong = []
    for name, those in blocks.items():
        if differing := [one for one in those if one.verdict == DIFFERS]:
            worst = max(differing, key=lambda one: one.error)
            where = "along a random direction" if worst.entry == DIRECTION else f"at [{worst.entry}]"
            wrong.append(
                f"{name} differs in {len(differing)} of {len(those)} derivatives, most {where}: gradient "
                f"{worst.gradient:.6g}, central difference {worst.central:.6g} (h = {worst.h:.1g}), relative error "
                f"{worst.error:.2g}"
            )
    good = [one for one in checked if one.verdict == AGREES]
    lines = [f"{len(good)} of {len(checked)} derivatives in {len(blocks)} blocks agree with central differences"]
    if good:
        worst = max(good, key=lambda one: one.error)
        lines[0] += f", relative error at most {worst.error:.1g} ({worst.block} [{worst.entry}], h = {worst.h:.1g})"
    for verdict, why in ((KINK, "with a kink within h, as of relu at 0"), (TINY, "below rounding")):
        if some := list(dict.fromkeys(one.block for one in checked if one.verdict == verdict)):
            count = sum(one.verdict == verdict for one in checked)
            more = f" and {len(some) - 3} more" if len(some) > 3 else ""
            lines.append(f"{count} not judged, {why}: {', '.join(some[:3])}{more}")
    return wrong, lines
