"""Cross-validation: the folds of a data set as sets, their classes, and that every run sees the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_mnist import Tiny  # type: ignore[import-not-found]
from torch import Tensor

from fanin.errors import OptionError
from fanin.parts.data import Dataset, Digits, Gaussian, Mnist, Source


class Numbers(Source):
    name = "numbers"


def split(labels: Tensor, order: Tensor, folds: int, *, stratified: bool) -> list[tuple[Tensor, Tensor]]:
    sources = (Numbers(val_size=0, limit=None, folds=folds, fold=fold, stratified=stratified) for fold in range(folds))
    return [source.hold_out(order, labels) for source in sources]


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    folds=st.integers(2, 8),
    stratified=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_folds_are_disjoint_cover_all_and_share_the_classes(
    sizes: list[int], folds: int, stratified: bool, seed: int
) -> None:
    sizes = [max(*sizes, folds), *sizes]
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    whole = torch.randperm(len(labels) + 10, generator=torch.Generator().manual_seed(seed))
    labels = torch.cat([labels, labels.new_zeros(10)])[whole]  # the split may leave examples out: a test part
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed + 1))[:-10]
    parts = split(labels, order, folds, stratified=stratified)
    held = [val for _, val in parts]
    assert sorted(torch.cat(held).tolist()) == sorted(order.tolist())  # each example in one fold, once
    for train, val in parts:
        # what is not held out is trained on, both in the split's order
        places = {index: place for place, index in enumerate(order.tolist())}
        assert sorted([*train.tolist(), *val.tolist()]) == sorted(order.tolist())
        for part in (train, val):
            assert (torch.tensor([places[index] for index in part.tolist()]).diff() > 0).all()
    counts = torch.stack([labels[val].bincount(minlength=len(sizes)) for val in held])
    if stratified:
        exact = labels[order].bincount(minlength=len(sizes)) / folds
        assert ((counts - exact).abs() < 1).all()
    else:
        assert int(counts.sum(1).max() - counts.sum(1).min()) <= 1


def test_without_stratification_classes_fall_as_they_come() -> None:
    labels = torch.tensor([0] * 10 + [1] * 10)
    (_, first), (_, second) = split(labels, torch.arange(20), 2, stratified=False)
    assert (first.tolist(), second.tolist()) == ([*range(10)], [*range(10, 20)])
    (_, first), (_, second) = split(labels, torch.arange(20), 2, stratified=True)
    assert labels[first].bincount().tolist() == labels[second].bincount().tolist() == [5, 5]


def everything(data: Dataset) -> set[bytes]:
    return {x.numpy().tobytes() for x in torch.cat([data.train_x, data.val_x])}


@pytest.mark.parametrize(
    ("option", "keys"), [(Digits, {"image_size": 8}), (Gaussian, {"examples": 203, "features": 4, "test_size": 20})]
)
def test_folds_of_a_data_set(option: type[Digits] | type[Gaussian], keys: dict[str, int]) -> None:
    plain = option(**keys, val_size=10).load()  # type: ignore[arg-type]
    torch.manual_seed(1)
    loads = [option(**keys, fold=fold, folds=4, val_size=10**6).load() for fold in range(4)]  # type: ignore[arg-type]
    held: list[bytes] = [x.numpy().tobytes() for data in loads for x in data.val_x]
    assert len(held) == len({*held}) == len(plain.train_x) + len(plain.val_x)
    shares = torch.stack([data.val_y.bincount(minlength=10) for data in loads])
    assert int((shares.max(0).values - shares.min(0).values).max()) <= 1
    for data in loads:
        assert everything(data) == everything(plain)
        assert torch.equal(data.test_x, plain.test_x)
    torch.manual_seed(2)
    again = option(**keys, fold=1, folds=4, limit=7).load()  # type: ignore[arg-type]
    assert torch.equal(again.val_x, loads[1].val_x)
    assert torch.equal(again.train_x, loads[1].train_x[:7])


def test_leaving_one_out() -> None:
    """Fold i holds the i-th training example out; there are as many folds as examples."""
    keys: dict[str, Any] = {"image_size": 8, "folds": "all"}
    whole = Digits(image_size=8, val_size=0).load()
    for fold in (0, 4, 1499):
        part = Digits(**keys, fold=fold).load()
        assert torch.equal(part.val_x, whole.train_x[fold : fold + 1])
        assert torch.equal(part.train_x, torch.cat([whole.train_x[:fold], whole.train_x[fold + 1 :]]))
        assert torch.equal(part.test_y, whole.test_y)
    with pytest.raises(OptionError, match="fold=1500: must be null or an integer >= 0 and <= 1499; there are 1500 tr"):
        Digits(**keys, fold=1500).load()
    with pytest.raises(OptionError, match="folds=some: must be an integer >= 2, or all"):
        Digits(folds="some")


def test_a_repetition_deals_the_folds_anew() -> None:
    """Each repetition is a cross-validation of its own: disjoint folds that cover all, each class shared evenly."""
    keys: dict[str, Any] = {"image_size": 8, "folds": 3}
    whole = Digits(image_size=8, val_size=0).load()
    first, again, other = (
        [Digits(**keys, fold=fold, repeat=repeat).load() for fold in range(3)] for repeat in (0, 1, 2)
    )
    for parts in (first, again, other):
        together = torch.cat([part.val_x for part in parts]).flatten(1)
        assert sorted(together.tolist()) == sorted(whole.train_x.flatten(1).tolist())
        counts = torch.stack([part.val_y.bincount(minlength=10) for part in parts])
        assert (counts.amax(0) - counts.amin(0) <= 1).all()
    assert len({tuple(part.val_x[:5].flatten().tolist()) for part in (first[0], again[0], other[0])}) == 3
    twice = Digits(**keys, fold=0, repeat=1).load()
    assert torch.equal(twice.val_x, again[0].val_x)
    # Two folds of other repetitions share a third of their examples, folds of one repetition none.
    held = [{tuple(one) for one in part.val_x.flatten(1).tolist()} for part in (first[0], again[0])]
    assert abs(len(held[0] & held[1]) - 500 / 3) < 5 * (500 * 2 / 9) ** 0.5


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"repeat": 1}, r"^repeat=1: must be 0 without data.fold; or take data.fold=0,1,2,3,4$"),
        ({"repeat": 2, "folds": "all", "fold": 0}, r"^repeat=2: must be 0 with data.folds=all; which leaves each"),
        ({"repeat": -1, "fold": 0}, r"^repeat=-1: must be an integer >= 0$"),
    ],
)
def test_a_repetition_is_of_a_cross_validation(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(OptionError, match=line):
        Digits(**keys)


def test_folds_of_mnist(tiny: Tiny, tmp_path: Path) -> None:
    tiny.write(tmp_path, unpacked=True)
    loads = [Mnist(root=tmp_path, fold=fold, folds=3, stratified=False).load() for fold in range(3)]
    numbers = [round(float(x[0, 0, 1]) * 255) for data in loads for x in data.val_x]  # the second pixel tells
    assert sorted(numbers) == list(range(40))
    assert [len(data.train_y) for data in loads] == [26, 27, 27]


@pytest.mark.parametrize("fold", [5, -1, 1.0, True, "0"])
def test_a_fold_that_is_not_there(fold: object) -> None:
    with pytest.raises(OptionError) as caught:
        Gaussian(fold=fold)  # type: ignore[arg-type]
    shown = "true" if fold is True else fold
    assert str(caught.value) == f"fold={shown}: must be null or an integer >= 0 and <= 4; there are 5 folds"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(folds=1), "folds=1: must be an integer >= 2, or all"),
        (lambda: Gaussian(stratified="no"), "stratified=no: must be true or false"),  # type: ignore[arg-type]
        (
            lambda: Gaussian(examples=20, fold=0, folds=21).load(),
            "folds=21: must be at most gaussian's 20 training examples",
        ),
        (
            lambda: Gaussian(examples=20, fold=0, folds=3).load(),
            "folds=3: must be at most 2, the examples of the largest class; or take data.stratified=false",
        ),
    ],
)
def test_mistakes_give_one_line(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError) as caught:
        make()
    assert str(caught.value) == message
    assert len(Gaussian(examples=20, fold=0, folds=20, stratified=False).load().val_y) == 1
