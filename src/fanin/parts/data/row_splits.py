"""Rows of a table in parts: the last ones in time, or whole groups."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fanin.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd


def share_of(key: str, value: object) -> float:
    """A share in [0, 1), or a whole number of rows.

    >>> share_of("test_size", 0.2), share_of("test_size", 30)
    (0.2, 30)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0 or (value >= 1 and value % 1):
        raise OptionError(key, value, "a share of the rows, from 0 to below 1, or a whole number of them")
    return value


def by_time(cells: pd.Series[str]) -> NDArray[np.float64]:
    """Cells as times that can be ordered: numbers as they are, dates in nanoseconds; 0 for an empty cell.

    Raises:
        OptionError: a cell is neither.
    """
    import pandas as pd

    numbers = np.asarray(pd.to_numeric(cells, errors="coerce"), dtype=np.float64)
    if not np.isnan(numbers[cells.notna().to_numpy()]).any():
        return np.nan_to_num(numbers)
    dates = pd.to_datetime(cells, errors="coerce", format="ISO8601", utc=True)
    wrong = cells[dates.isna() & cells.notna()]
    if len(wrong):
        fix = f"{wrong.iloc[0]!r} is neither; write dates as 2026-01-31 or 2026-01-31T12:00"
        raise OptionError("time", str(cells.name), "a column of numbers or of dates", fix)
    return np.asarray(dates.to_numpy(dtype="datetime64[ns]").astype(np.int64), dtype=np.float64)


def by_group(order: Tensor, groups: Tensor, size: int, key: str, value: object) -> tuple[Tensor, Tensor]:
    """The order's indices as (rest, chosen): whole groups from the end, as few as give `size` indices or more.

    Args:
        order: indices [n].
        groups: of every index.
        size: how many are to be chosen at least; none for 0.
        key, value: what an error names.

    Raises:
        OptionError: nothing would be left.

    >>> by_group(torch.tensor([0, 1, 2, 3]), torch.tensor([5, 6, 6, 7]), 2, "val_size", 2)
    (tensor([0]), tensor([1, 2, 3]))
    """
    taken: set[int] = set()
    sizes = Counter(groups[order].tolist())
    count = 0
    for group in reversed(groups[order].tolist()):
        if count >= size:
            break
        if group not in taken:
            taken.add(group)
            count += sizes[group]
    if len(taken) == len(sizes):
        raise OptionError(key, value, f"less: whole groups are taken, and all {len(sizes)} of them would be")
    chosen = torch.isin(groups[order], torch.tensor(sorted(taken), dtype=torch.int64))
    return order[~chosen], order[chosen]


def whole_groups(groups: Tensor, folds: int | str, fold: int, classes: Tensor | None = None, repeat: int = 0) -> Tensor:
    """Which of the examples, given by their groups [n], are in a fold that no group is partly in; bool [n].

    Args:
        groups: of each example.
        folds: k, or all: a fold for each group.
        fold: which one.
        classes: of each example, where folds are to have each class's share as nearly as whole groups allow.
        repeat: of a repeated cross-validation; above 0 groups are dealt out at random, whatever their classes, for what
            is nearest to the shares is one and the same each time.

    Raises:
        OptionError: there are more folds than groups.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold  # takes a second

    count = len({*groups.tolist()})
    wanted = count if isinstance(folds, str) else folds
    if wanted > count:
        raise OptionError("folds", folds, f"at most {count}, the number of groups")
    if fold >= wanted:
        raise OptionError("fold", fold, f"null or an integer >= 0 and <= {wanted - 1}", f"there are {wanted} groups")
    plain = repeat > 0 or classes is None or isinstance(folds, str)
    shuffled = GroupKFold(wanted, shuffle=repeat > 0, random_state=repeat or None)
    splitter = shuffled if plain else StratifiedGroupKFold(wanted)
    with warnings.catch_warnings():  # a class with fewer examples than folds is missing from some of them
        warnings.simplefilter("ignore", UserWarning)
        held = [held for _, held in splitter.split(groups, classes, groups)][fold]
    chosen = torch.zeros(len(groups), dtype=torch.bool)
    chosen[torch.from_numpy(held)] = True
    return chosen
