"""Some of a data set's classes, so that ten digits give a problem of two as well."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fanin.errors import OptionError


def checked_classes(classes: Sequence[int] | None, known: int) -> list[int] | None:
    """The labels to keep of 0..known-1, checked: different ones, two at least; None: all.

    Raises:
        OptionError: `classes` is something else.

    >>> checked_classes([3, 8], known=10), checked_classes(None, known=10)
    ([3, 8], None)
    """
    if classes is None:
        return None
    labels = list(classes) if isinstance(classes, Sequence) and not isinstance(classes, str) else []
    sound = all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < known for one in labels)
    if not sound or len(labels) < 2 or len({*labels}) < len(labels):
        allowed = f"null or two or more different labels, each from 0 to {known - 1}"
        raise OptionError("classes", classes, allowed, "such as classes=[0,1]")
    return labels


def keep(classes: list[int] | None, order: Tensor, labels: Tensor) -> Tensor:
    """The order's indices whose labels are among the classes, in that order.

    >>> import torch
    >>> keep([3, 8], torch.tensor([2, 0, 1]), torch.tensor([8, 5, 3]))
    tensor([2, 0])
    """
    return order if classes is None else order[torch.isin(labels[order], torch.tensor(classes))]


def renumber(classes: list[int] | None, labels: Tensor) -> Tensor:
    """Labels [n], n > 0, as their places in classes, -1 for others; as they are where classes is None.

    >>> import torch
    >>> renumber([3, 8], torch.tensor([8, 3, 5]))
    tensor([ 1,  0, -1])
    """
    if classes is None:
        return labels
    numbers = torch.full((max(int(labels.max()), *classes) + 1,), -1)
    numbers[classes] = torch.arange(len(classes))
    return numbers[labels]
