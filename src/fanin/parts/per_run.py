"""Parts that train R runs at once: what is a number per run, and which parts can be stacked.

A number of a part (a learning rate, say) is a float or, for tensors stacked as [R, ...], a tensor [R] with one value
per run. The helpers here take either, so that a part's code reads the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from torch import Tensor

from fanin.torch_internals import foreach_add_, foreach_addcdiv_, foreach_addcmul_, foreach_mul, foreach_mul_

Part = TypeVar("Part")

Number = float | Tensor
"""A float, or one value per run: [R]."""


def spread(numbers: Number | Sequence[Number], like: Sequence[Tensor]) -> Any:
    """A number, or one for each of `like`, in the form that torch's list operations take.

    Floats stay as they are; a tensor [R] becomes, for each of `like` [R, ...], a tensor [R, 1, ..., 1] of its type.

    >>> import torch
    >>> spread(0.1, [torch.zeros(2, 3)]), spread(torch.tensor([0.1, 0.2]), [torch.zeros(2, 3)])
    (0.1, [tensor([[0.1000],
            [0.2000]])])
    """
    each = [numbers] * len(like) if isinstance(numbers, Tensor) else numbers
    if not (isinstance(each, Sequence) and isinstance(each[0], Tensor)):
        return numbers
    made: dict[Any, Tensor] = {}  # a few numbers for many tensors of a few kinds
    for number, one in zip(each, like, strict=True):
        key = (id(number), one.ndim, one.dtype)
        if key not in made and isinstance(number, Tensor):
            made[key] = number.to(one.device, one.dtype).view(-1, *[1] * (one.ndim - 1))
    return [made[id(number), one.ndim, one.dtype] for number, one in zip(each, like, strict=True)]


def add_multiple(tensors: list[Tensor], others: list[Tensor], factor: Number) -> None:
    """tensors += factor * others, in place.

    >>> import torch
    >>> tensors = [torch.ones(2)]
    >>> add_multiple(tensors, [torch.tensor([2.0, 4.0])], 0.5)
    >>> tensors
    [tensor([2., 3.])]
    """
    if isinstance(factor, Tensor):
        foreach_addcmul_(tensors, others, spread(factor, tensors))
    else:
        foreach_add_(tensors, others, alpha=factor)


def add_square(tensors: list[Tensor], others: list[Tensor], factor: Number) -> None:
    """tensors += factor * others^2, in place.

    >>> import torch
    >>> tensors = [torch.ones(1)]
    >>> add_square(tensors, [torch.tensor([3.0])], 2.0)
    >>> tensors
    [tensor([19.])]
    """
    if isinstance(factor, Tensor):
        foreach_addcmul_(tensors, others, foreach_mul(others, spread(factor, tensors)))
    else:
        foreach_addcmul_(tensors, others, others, value=factor)


def add_ratio(tensors: list[Tensor], above: list[Tensor], below: Sequence[Tensor], factors: Sequence[Number]) -> None:
    """tensors += factors * above / below, in place, with a factor for each tensor.

    >>> import torch
    >>> tensors = [torch.ones(1)]
    >>> add_ratio(tensors, [torch.tensor([6.0])], [torch.tensor([3.0])], [0.5])
    >>> tensors
    [tensor([2.])]
    """
    if isinstance(factors[0], Tensor):
        foreach_addcdiv_(tensors, foreach_mul(above, spread(factors, tensors)), list(below))
    else:
        foreach_addcdiv_(tensors, above, list(below), cast(Sequence[float], factors))


def shrink(tensors: list[Tensor], rate: Number) -> None:
    """tensors <- (1 - rate) tensors, in place; at a rate of 0 nothing is touched.

    >>> import torch
    >>> tensors = [torch.ones(2, 1)]
    >>> shrink(tensors, torch.tensor([0.5, 0.0]))  # another rate for each of two runs
    >>> tensors
    [tensor([[0.5000],
            [1.0000]])]
    """
    if isinstance(rate, Tensor) or rate:
        foreach_mul_(tensors, spread(1 - rate, tensors))


def stackable(part: Part) -> Part:
    """Mark a class or function of parts as one that can be trained for R runs as one program.

    It is then a pure function of tensors, without a branch on their values, and holds nothing between steps but
    parameters and buffers: a model, an activation and a normalization are run under `torch.vmap`; losses get outputs
    [R, B, K]; clipping, regularizers and optimizers get tensors [R, ...] and numbers [R]. The mark is the class's own:
    a class that derives from it may hold anything, and is trained alone unless it is marked itself.
    """
    setattr(part, MARK, part)
    return part


MARK = "_stackable"


def is_stackable(part: object) -> bool:
    """Whether a class or function itself is marked as `stackable`."""
    return part is not None and getattr(part, MARK, None) is part


def program_keys(part: object, keys: Mapping[str, Any], shared: str) -> object:
    """What runs must share of an option's keys to be trained as one program; equal values for runs that do.

    A class says it itself by a static method `program_keys(keys)`, as dropout, whose probabilities may differ where
    none is 0.

    Args:
        part: the class or function of the option, None if there is none.
        keys: the option's keys and values.
        shared: of its group, where the part says nothing: "all", "numbers" (all but numbers) or "nothing".
    """
    own = getattr(part, "program_keys", None)
    if own is not None:
        return own(keys)
    if shared == "nothing":
        return None
    return {key: "a number" if shared == "numbers" and is_number(value) else value for key, value in keys.items()}


def trains_alone(part: object, keys: Mapping[str, Any]) -> bool:
    """Whether a run with this option can only be trained alone, whatever else is stackable.

    A class says it by a static method `trains_alone(keys)`, as batch=adaptive, whose runs have batches of their own.
    """
    own = getattr(part, "trains_alone", None)
    return own is not None and bool(own(keys))


def is_number(value: object) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
