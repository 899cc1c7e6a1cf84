"""A table of the user's own: numbers and categories for inputs, classes or a number for a target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fanin.errors import OptionError, UserError, choice, counted, did_you_mean, flag, shortened
from fanin.parts.data.dataset import Dataset, Source
from fanin.parts.data.digits import stratified as stratified_split
from fanin.parts.data.row_splits import by_group, by_time, share_of, whole_groups
from fanin.parts.data.storage import room_for, rows_of
from fanin.parts.data.table import Column, Encoding, as_numbers, codes, names_of, scan, stretches, told_missing
from fanin.process import typed_path

MISSING = ("refuse", "fill", "drop")
TARGETS = ("auto", "class", "number")

FEW = 20
"""Different whole numbers in a target that still count as classes where nothing else is said."""


class Csv(Source):
    """The rows of a CSV file with a line of names: inputs [features], and a class or a number to learn.

    A column of numbers is one input; any other has one input for each of its texts, 1 where a row has that text
    (one-hot). The target is a class, numbered in the order of the sorted texts, or a number, which is learned with
    loss=squared (regression): its training mean is subtracted and its standard deviation divided out, so that the loss
    of guessing the mean is 1, and the run says R^2. Inputs are left as they are: `preprocess=standardize` scales them.

    The test part is a random share of the rows (of each class, where there are classes), or the last ones in time, or
    whole groups, so that no group is in two parts; validation is taken from the rest in the same way. The file is read
    in stretches; where the inputs are too many for the memory, they lie in a file that is mapped (see `storage`).

    Args:
        path: of the file; a relative one starts from root.
        root: folder that a relative path starts from; null for that in which the command was typed.
        target: the name of the target's column; null for the last one.
        columns: the names of the inputs' columns; null for all but the target, time and group.
        exclude: names of columns that are no inputs.
        categories: names of columns that are categories though they hold numbers, such as codes.
        target_type: class or number; auto: a class where it is text or has at most 20 different values, all of them
            whole numbers.
        standardize_target: whether a target that is a number is scaled as said above.
        missing: refuse tells what is missing and ends; fill takes the training part's mean for a number and none of the
            categories for a text, and leaves out rows without a target; drop leaves out rows that lack anything.
        separator: between cells.
        time: the name of a column of numbers or dates: the last rows in time are the test part.
        group: the name of a column whose equal values stay in one part.
        test_size: share of the rows, or how many of them.
        val_size: rows held out for validation; null for a tenth of those that are left; with groups at least so many.
        limit: only the first so many training examples; null for all.
        folds, fold, stratified, repeat: cross-validation in place of val_size; see Source. Not with time.
        random_labels, label_noise: of a share of the training examples; see Source.

    Raises:
        OptionError: a value is of a wrong kind, or names a column that is not there.
        UserError: the file cannot be read, or values are missing.
    """

    name = "csv"

    def __init__(
        self,
        *,
        path: str | None = None,
        root: str | None = None,
        target: str | None = None,
        columns: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        categories: Sequence[str] = (),
        target_type: str = "auto",
        standardize_target: bool = True,
        missing: str = "refuse",
        separator: str = ",",
        time: str | None = None,
        group: str | None = None,
        test_size: float = 0.2,
        val_size: int | None = None,
        limit: int | None = None,
        folds: int | str = 5,
        fold: int | None = None,
        stratified: bool = True,
        repeat: int = 0,
        random_labels: float = 0.0,
        label_noise: float = 0.0,
    ) -> None:
        super().__init__(
            val_size=0 if val_size is None else val_size,
            limit=limit, folds=folds, fold=fold, stratified=stratified, repeat=repeat, random_labels=random_labels,
            label_noise=label_noise,
        )  # fmt: skip
        self.default_val_size = val_size is None
        for key, value in (("path", path), ("root", root), ("target", target), ("time", time), ("group", group)):
            if value is not None and not isinstance(value, str):
                raise OptionError(key, value, "a text or null")
        self.path, self.root, self.target, self.time, self.group = path, root, target, time, group
        self.columns = None if columns is None else _names("columns", columns)
        self.exclude, self.categories = _names("exclude", exclude), _names("categories", categories)
        self.target_type = choice("target_type", target_type, TARGETS)
        self.standardize_target = flag("standardize_target", standardize_target)
        self.missing = choice("missing", missing, MISSING)
        if not isinstance(separator, str) or len(separator) != 1:
            raise OptionError("separator", separator, 'one character, such as "," or ";"')
        self.separator = separator
        self.test_size = share_of("test_size", test_size)
        if time is not None and group is not None:
            raise OptionError("group", group, "null with data.time", "a split is by time or by groups")
        if time is not None and fold is not None:
            raise OptionError("fold", fold, "null with data.time", "folds would train on what comes later")
        self._groups: NDArray[np.int64] | None = None

    def load(self) -> Dataset:
        """The data set, inputs [N, features] float32."""
        file = self._file()
        columns, target = self._chosen(file)
        wanted = list(dict.fromkeys([*columns, target, *(one for one in (self.time, self.group) if one)]))
        found, count = scan(file, self.separator, wanted, self.categories)
        encoding = Encoding([found[name] for name in columns])
        notes = self._told(found, target)
        numbers = self._is_number(found[target])
        x, values, times, groups, keep = self._read(file, found, encoding, target, count, numbers=numbers)
        rows = torch.from_numpy(np.flatnonzero(keep))
        if len(rows) < 2:
            raise UserError(f"data=csv: {file} has {counted(len(rows), 'row')} to learn from; two are needed")
        labels = torch.from_numpy(values)
        rest, test = self._split(rows, labels, times, groups, numbers=numbers)
        if self.default_val_size:
            self.val_size = len(rest) // 10
        self._groups = groups
        train, val = self.hold_out(rest, labels)
        parts = [rows_of(x, part) for part in (train, val, test)]
        if self.missing == "fill":
            _fill(parts, encoding)
        mean, std = (float(labels[train].mean()), float(labels[train].std(correction=0))) if numbers else (0.0, 1.0)
        scale = (mean, std if std > 0 else 1.0) if numbers and self.standardize_target else (0.0, 1.0)
        targets = [
            ((labels[part] - scale[0]) / scale[1]).float() if numbers else labels[part] for part in (train, val, test)
        ]
        return Dataset(
            self.name, 1 if numbers else len(found[target].categories),
            train_x=parts[0], train_y=targets[0], val_x=parts[1], val_y=targets[1], test_x=parts[2], test_y=targets[2],
            notes=notes, target_scale=scale,
        )  # fmt: skip

    def _file(self) -> Path:
        if self.path is None:
            raise OptionError("path", None, "a CSV file with a line of names", "such as data.path=table.csv")
        file = typed_path(Path(self.root or ".").expanduser()) / Path(self.path).expanduser()
        if not file.is_file():
            raise OptionError("path", self.path, "a CSV file", f"there is no file {file}")
        return file

    def _chosen(self, file: Path) -> tuple[list[str], str]:
        """The names of the inputs' columns and of the target's, all there."""
        known = names_of(file, self.separator)
        target = known[-1] if self.target is None else self.target
        named = {
            "target": [target],
            "time": [self.time] if self.time else [],
            "group": [self.group] if self.group else [],
            "columns": self.columns or [],
            "exclude": self.exclude,
            "categories": self.categories,
        }
        for key, names in named.items():
            for name in names:
                if name not in known:
                    allowed = shortened(f"one of the file's columns: {', '.join(known)}")
                    raise OptionError(key, name, allowed, did_you_mean(name, known))
        apart = {target, self.time, self.group, *self.exclude}
        columns = [name for name in known if (name not in apart if self.columns is None else name in self.columns)]
        if target in columns:
            raise OptionError("columns", self.columns, f"columns without the target {target}")
        columns = [name for name in columns if name not in self.exclude]
        if not columns:
            raise OptionError("columns", self.columns, "columns that leave an input beside the target")
        return columns, target

    def _told(self, found: dict[str, Column], target: str) -> tuple[str, ...]:
        """A line of what is missing, which the user gets; refused where that is to be."""
        told = told_missing(list(found.values()))
        if told and self.missing == "refuse":
            raise UserError(
                f"data.missing=refuse: {told}; take data.missing=fill or drop, or leave columns out by exclude"
            )
        done = {"fill": "filled by means and by no category", "drop": "their rows are left out"}.get(self.missing)
        also = ", and rows without a target left out" if self.missing == "fill" and found[target].missing else ""
        return (f"data=csv: {told}; {done}{also}",) if told else ()

    def _is_number(self, target: Column) -> bool:
        """Whether the target is a number to be estimated."""
        if self.target_type == "number" and not target.numeric:
            raise OptionError(
                "target_type", "number", f"class, for {target.name} has texts", shortened(", ".join(target.categories))
            )
        if self.target_type != "auto":
            return self.target_type == "number"
        return target.numeric and (len(target.texts) > FEW or any(float(text) % 1 for text in target.texts))

    def _read(
        self, file: Path, found: dict[str, Column], encoding: Encoding, target: str, count: int, *, numbers: bool
    ) -> tuple[Tensor, NDArray[np.generic], NDArray[np.float64] | None, NDArray[np.int64] | None, NDArray[np.bool_]]:
        """Inputs, targets, times, groups of all rows, and which rows are kept."""
        x = room_for((count, len(encoding.features)))
        values = np.zeros(count, dtype=np.float64 if numbers else np.int64)
        times = np.zeros(count) if self.time else None
        keep, groups = np.ones(count, dtype=bool), None if self.group is None else np.zeros(count, dtype=np.int64)
        numbered: dict[str, int] = {}
        start = 0
        for rows in stretches(file, self.separator, list(found)):
            here = slice(start, start + len(rows))
            x[here] = torch.from_numpy(encoding(rows))
            cells = rows[target]
            values[here] = np.nan_to_num(as_numbers(cells)) if numbers else codes(cells, found[target])
            needed = (
                list(found) if self.missing == "drop" else [target, *(one for one in (self.time, self.group) if one)]
            )
            keep[here] = rows[needed].notna().all(axis=1)
            if times is not None and self.time is not None:
                times[here] = by_time(rows[self.time])
            if groups is not None and self.group is not None:
                groups[here] = [numbered.setdefault(str(one), len(numbered)) for one in rows[self.group]]
            start += len(rows)
        return x, values, times, groups, keep

    def _split(
        self,
        rows: Tensor,
        labels: Tensor,
        times: NDArray[np.float64] | None,
        groups: NDArray[np.int64] | None,
        *,
        numbers: bool,
    ) -> tuple[Tensor, Tensor]:
        """The kept rows as (training with validation, test), each in the order in which validation is taken from it."""
        size = round(self.test_size * len(rows)) if self.test_size < 1 else int(self.test_size)
        if size >= len(rows):
            raise OptionError("test_size", self.test_size, f"fewer than the {counted(len(rows), 'row')}")
        if times is not None:
            order = rows[torch.from_numpy(np.argsort(times[rows.numpy()], kind="stable"))]
            return order[: len(order) - size], order[len(order) - size :]
        order = rows[self.split_order(len(rows))]
        if groups is not None:
            return by_group(order, torch.from_numpy(groups), size, "test_size", self.test_size)
        if numbers or not size:
            return order[: len(order) - size], order[len(order) - size :]
        some, chosen = stratified_split(self.split_order(len(rows)), labels[rows], size)
        return rows[some], rows[chosen]

    def hold_out(self, order: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As every source does; whole groups where there are some."""
        if self._groups is None:
            return super().hold_out(order, labels)
        groups = torch.from_numpy(self._groups)
        if self.fold is not None:
            order = self.dealt(order)
            classes = labels[order] if self.stratified and not labels.is_floating_point() else None
            held = whole_groups(groups[order], self.folds, self.fold, classes, self.repeat)
            return order[~held][: self.limit], order[held]
        train, val = by_group(order, groups, self.val_size, "val_size", self.val_size)
        return train[: self.limit], val


def _fill(parts: Sequence[Tensor], encoding: Encoding) -> None:
    """Put the training part's mean of a feature in the place of missing numbers; 0 where it has none."""
    means = torch.nan_to_num(parts[0].nanmean(dim=0)) if len(parts[0]) else torch.zeros(len(encoding.features))
    for part in parts:
        for start in range(0, len(part), 10_000):
            some = part[start : start + 10_000]
            some.copy_(torch.where(some.isnan(), means, some))


def _names(key: str, value: object) -> list[str]:
    """The value if it is a list of names."""
    listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not all(isinstance(one, str) for one in listed) or isinstance(value, str):
        fix = f"write {key}=[{value}]" if isinstance(value, str) else ""
        raise OptionError(key, value, "a list of columns' names", fix)
    return [str(one) for one in listed]
