"""One parameter held against the laws that it may follow, and what is wrong with it in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fanin.devices import widened
from fanin.own_models.rules import Parameter, torch_default
from fanin.own_models.weight_laws import Floats, Law, p_values

ORTHOGONAL = 1e-4
"""Largest entry of W W^T / gain^2 - 1 that float32 leaves of an orthogonal matrix."""

ROUNDING = 1e-6
"""Of entries of float32."""


class Fault(NamedTuple):
    """What is wrong with a parameter, in words, and how improbable it is where it is right."""

    parameter: str
    said: str
    p: float = 0.0


@dataclass
class Row:
    """What was found of one parameter."""

    parameter: Parameter
    laws: tuple[Law, ...]
    sample: Floats
    p: dict[str, float] = field(default_factory=dict)
    law: Law | None = None  # of several the one that fits best
    wrong: str = ""  # where no law of draws is needed to tell


def examined(one: Parameter, laws: tuple[Law, ...]) -> Row:
    """The tests of one parameter."""
    tensor = one.tensor.detach()
    padding = getattr(one.module, "padding_idx", None)
    if isinstance(padding, int) and one.attribute == "weight" and tensor.ndim == 2 and not bool(tensor[padding].any()):
        tensor = torch.cat([tensor[:padding], tensor[padding + 1 :]])  # torch sets this row to 0
    row = Row(one, laws, tensor.cpu().double().flatten().numpy())
    if not np.isfinite(row.sample).all():
        row.wrong = f"{int((~np.isfinite(row.sample)).sum()):,} of {len(row.sample):,} entries are not finite"
        row.sample = row.sample[:0]
    if not len(row.sample) or not laws:
        return row
    fits = []
    for law in laws:
        wrong, p = _held(row.sample, tensor, law)
        fits.append((bool(wrong), -min(p.values(), default=0.0), law, wrong, p))
    _, _, row.law, row.wrong, row.p = min(fits, key=lambda fit: fit[:2])
    return row


def _held(sample: Floats, tensor: Tensor, law: Law) -> tuple[str, dict[str, float]]:
    """What is wrong with a parameter if it followed a law, in words where no chance is in it, and p values."""
    rounding = 2 * torch.finfo(tensor.dtype).eps if tensor.is_floating_point() else 0.0
    if law.kind == "constant":
        wrong = np.abs(sample - law.mean) > rounding * abs(law.mean)
        many = f"{int(wrong.sum()):,} of {len(sample):,} entries are not {law.mean:g}"
        return (f"{law.name}: {many}" if wrong.any() else ""), {}
    if len(sample) > 1 and not sample.std():
        return f"{law.name}: all entries are {sample[0]:g}; nobody has drawn them", {}
    if law.kind == "orthogonal":
        return _orthogonal(tensor, law), {}
    return "", p_values(sample, law, rounding)


def _orthogonal(tensor: Tensor, law: Law) -> str:
    matrix = widened(tensor).flatten(1)
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    product = matrix @ matrix.T / law.scale**2
    identity = torch.eye(len(product), dtype=product.dtype, device=product.device)
    scale = float(product.diagonal().mean())
    allowed = max(ORTHOGONAL, 8 * torch.finfo(tensor.dtype).eps)
    residual = float((product - identity).abs().max())
    if residual <= allowed:
        return ""
    if float((product / scale - identity).abs().max()) <= allowed:
        return f"{law.name}: orthogonal, but of gain {law.scale * math.sqrt(scale):.4g} where {law.scale:g} is declared"
    return f"{law.name}: not orthogonal; an entry of W W^T / gain^2 is {residual:.2g} from the identity's"


def fault_of(row: Row, threshold: float) -> Fault | None:
    """What is wrong with a parameter, if something is."""
    name = row.parameter.names[0]
    smallest = min(row.p.values(), default=1.0)
    if not row.wrong and (row.law is None or smallest >= threshold):
        return None
    if row.law is not None and row.law.kind != "constant" and row.sample.std() > 0:
        others = (other for other in torch_default(row.parameter) if other.drawn and other not in row.laws)
        if any(min(p_values(row.sample, other, ROUNDING).values()) >= threshold for other in others):
            said = f"follows torch_default: nobody has drawn it from {row.law.name}"
            return Fault(name, said, 0.0 if row.wrong else smallest)
    if row.wrong or row.law is None:
        return Fault(name, row.wrong)
    test = min(row.p, key=lambda test: row.p[test])
    law, largest = row.law, float(np.abs(row.sample).max())
    centre, right = float(law.distribution.mean()), law.std
    std = float(np.sqrt(np.square(row.sample - centre).mean()))
    told = {
        "mean": f"its mean is {row.sample.mean():.3g} where {centre:.3g} is right",
        "variance": f"its standard deviation is {std:.4g}, {(std / right) ** 2:.3g} times the variance of {right:.4g}",
        "tails": f"its largest entry is {largest:.4g}, {largest / right:.3g} standard deviations",
        "shape": f"its entries are not distributed as those of a {law.kind.replace('_', ' ')} law",
    }
    if row.p.get("variance", 1.0) < threshold:
        test = "variance"
    return Fault(name, f"{row.law.name}: {told[test]} (p = {row.p[test]:.1g})", row.p[test])
