"""The data set that says nothing."""

from __future__ import annotations

import torch

from fanin.parts.data import Point


def test_one_example_to_train_on_and_none_else() -> None:
    data = Point().load()
    assert (data.name, data.classes, data.input_shape) == ("point", 1, (1,))
    assert (data.train_x.tolist(), data.train_y.tolist()) == ([[0.0]], [0])
    assert [len(x) for x in (data.val_x, data.val_y, data.test_x, data.test_y)] == [0] * 4
    moved = data.to("cpu", torch.float64)
    assert moved.train_x.dtype == torch.float64
    assert moved.train_y.dtype == torch.int64
