"""data=csv: its inputs against pandas' own dummies, its parts against what the rows say, its errors by their lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fanin.errors import OptionError, UserError
from fanin.parts.data import Csv, Dataset
from fanin.parts.data.storage import room_for, rows_of

Write = Callable[..., str]


@pytest.fixture
def frame() -> pd.DataFrame:
    """Forty rows of a number, a category, a day, a household and two targets; each row has a number of its own."""
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "row": np.arange(40),
            "size": rng.normal(size=40).round(3),
            "port": rng.choice(["Kiel", "Bari", "Oslo"], 40),
            "day": pd.date_range("2026-01-01", periods=40).strftime("%Y-%m-%d")[rng.permutation(40)],
            "house": rng.integers(0, 9, 40),
            "price": rng.normal(100, 20, 40).round(2),
            "sold": rng.choice(["no", "yes"], 40),
        }
    )


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a table and give its path."""

    def call(table: pd.DataFrame, **how: Any) -> str:
        table.to_csv(tmp_path / "table.csv", index=False, **how)
        return str(tmp_path / "table.csv")

    return call


def rows(data: Dataset, part: str) -> list[int]:
    """The numbers of a part's rows, which the first input has."""
    return [int(one) for one in getattr(data, f"{part}_x")[:, 0].tolist()]


def test_inputs_are_numbers_and_dummies_and_labels_the_sorted_texts(frame: pd.DataFrame, write: Write) -> None:
    data = Csv(path=write(frame), columns=["row", "size", "port"], target="sold").load()
    wanted = pd.get_dummies(frame[["row", "size", "port"]]).to_numpy(np.float32)  # of sorted categories, too
    assert data.classes == 2
    assert sorted(rows(data, "train") + rows(data, "val") + rows(data, "test")) == list(range(40))
    assert [len(getattr(data, f"{part}_x")) for part in ("train", "val", "test")] == [29, 3, 8]
    for part in ("train", "val", "test"):
        x, y, own = getattr(data, f"{part}_x"), getattr(data, f"{part}_y"), rows(data, part)
        np.testing.assert_array_equal(x.numpy(), wanted[own])
        assert y.tolist() == [["no", "yes"].index(frame.sold[row]) for row in own]
    share = (frame.sold == "yes").mean()
    assert abs(int(data.test_y.sum()) - 8 * share) <= 1  # of each class its share


def test_numbers_are_scaled_by_the_training_part_alone(frame: pd.DataFrame, write: Write) -> None:
    path = write(frame)
    data = Csv(path=path, columns=["row"], target="price").load()
    assert (data.regression, data.classes) == (True, 1)
    train = frame.price[rows(data, "train")].to_numpy()
    assert data.target_scale == pytest.approx((train.mean(), train.std()))
    for part in ("train", "val", "test"):
        wanted = (frame.price[rows(data, part)] - train.mean()) / train.std()
        np.testing.assert_allclose(getattr(data, f"{part}_y"), wanted, rtol=1e-6, atol=1e-6)
    plain = Csv(path=path, columns=["row"], target="price", standardize_target=False).load()
    np.testing.assert_allclose(plain.test_y, frame.price[rows(plain, "test")], rtol=1e-6)


@pytest.mark.parametrize("as_number", [False, True], ids=["dates", "numbers"])
def test_the_last_rows_in_time_are_the_test_part(frame: pd.DataFrame, write: Write, as_number: bool) -> None:
    if as_number:
        frame["day"] = pd.to_datetime(frame.day).astype("int64") // 10**9
    data = Csv(path=write(frame), target="sold", time="day", test_size=10, val_size=5, exclude=["price"]).load()
    days = [frame.day[rows(data, part)] for part in ("train", "val", "test")]
    assert [len(one) for one in days] == [25, 5, 10]
    assert days[0].max() < days[1].min() <= days[1].max() < days[2].min()


def test_no_group_is_in_two_parts(frame: pd.DataFrame, write: Write) -> None:
    path = write(frame)
    data = Csv(path=path, target="sold", group="house", test_size=0.25, val_size=5).load()
    houses = [{*frame.house[rows(data, part)]} for part in ("train", "val", "test")]
    assert sum(map(len, houses)) == len(set.union(*houses))
    assert len(data.test_x) >= 10
    assert len(data.val_x) >= 5
    folds = [Csv(path=path, target="sold", group="house", folds=3, fold=fold).load() for fold in range(3)]
    held = [{*frame.house[rows(one, "val")]} for one in folds]
    assert not any({*frame.house[rows(one, "train")]} & own for one, own in zip(folds, held, strict=True))
    assert sum(len(one.val_x) for one in folds) == len(folds[0].train_x) + len(folds[0].val_x)
    keys = {"path": path, "target": "sold", "group": "house", "folds": 3, "fold": 0}
    repeats = [Csv(**keys, repeat=repeat).load() for repeat in range(4)]
    others = [{*frame.house[rows(one, "val")]} for one in repeats]
    assert others[0] == held[0]
    assert len({frozenset(own) for own in others}) > 1
    assert not any({*frame.house[rows(one, "train")]} & own for one, own in zip(repeats, others, strict=True))


def test_missing_values_are_told_and_refused_filled_or_dropped(frame: pd.DataFrame, write: Write) -> None:
    frame.loc[[3, 8], "size"] = np.nan
    frame.loc[8, "port"] = None
    frame.loc[11, "sold"] = None
    path = write(frame)
    keys: dict[str, Any] = {"path": path, "columns": ["row", "size", "port"], "target": "sold"}
    with pytest.raises(UserError, match=r"4 values are missing: size \(2\), port \(1\), sold \(1\); take data.missing"):
        Csv(**keys).load()
    dropped = Csv(missing="drop", **keys).load()
    assert sorted(row for part in ("train", "val", "test") for row in rows(dropped, part)) == [
        row for row in range(40) if row not in (3, 8, 11)
    ]
    filled = Csv(missing="fill", **keys).load()
    (note,) = filled.notes
    assert note.startswith("data=csv: 4 values are missing: size (2), port (1), sold (1); filled by means")
    everything = {
        row: x
        for part in ("train", "val", "test")
        for row, x in zip(rows(filled, part), getattr(filled, f"{part}_x"), strict=True)
    }
    assert sorted(everything) == [row for row in range(40) if row != 11]  # nothing stands for a missing answer
    mean = frame["size"][rows(filled, "train")].mean()  # pandas' mean leaves missing values out
    assert float(everything[3][1]) == pytest.approx(mean, rel=1e-5)
    assert everything[8][1:].tolist() == pytest.approx([mean, 0, 0, 0], rel=1e-5)


def test_what_is_a_class_and_what_a_number(frame: pd.DataFrame, write: Write) -> None:
    path = write(frame)
    columns = ["size"]
    assert not Csv(path=path, columns=columns, target="house").load().regression  # nine whole numbers
    assert Csv(path=path, columns=columns, target="row").load().regression  # forty of them
    assert Csv(path=path, columns=columns, target="house", target_type="number").load().regression
    assert Csv(path=path, columns=columns, target="row", target_type="class", stratified=False).load().classes == 40
    coded = Csv(path=path, columns=["house"], categories=["house"], target="sold").load()
    assert coded.in_features == frame.house.nunique()


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"path": None}, r"path=null: must be a CSV file with a line of names"),
        ({"path": "nothing.csv"}, r"there is no file .*nothing.csv"),
        ({"target": "sould"}, r"target=sould: must be one of the file's columns: row, .*; did you mean sold\?"),
        ({"columns": "size"}, r"columns=size: must be a list of columns' names; write columns=\[size\]"),
        ({"columns": ["size", "sold"]}, r"columns=.*: must be columns without the target sold"),
        ({"target_type": "number"}, r"target_type=number: must be class, for sold has texts; no, yes"),
        ({"time": "port"}, r"time=port: must be a column of numbers or of dates; '\w+' is neither"),
        ({"time": "day", "group": "house"}, r"group=house: must be null with data.time"),
        ({"time": "day", "fold": 0}, r"fold=0: must be null with data.time"),
        ({"group": "house", "test_size": 39}, r"test_size=39: must be less: whole groups are taken, and all"),
        ({"group": "house", "folds": 30, "fold": 0}, r"folds=30: must be at most \d, the number of groups"),
        ({"test_size": 40}, r"test_size=40: must be fewer than the 40 rows"),
        ({"test_size": 1.5}, r"test_size=1.5: must be a share of the rows"),
        ({"separator": ";;"}, r"separator=;;: must be one character"),
    ],
)
def test_mistakes_are_one_line(frame: pd.DataFrame, write: Write, keys: dict[str, Any], line: str) -> None:
    with pytest.raises(OptionError, match=line) as caught:
        Csv(**({"path": write(frame)} | keys)).load()
    assert "\n" not in str(caught.value)


def test_too_many_texts_are_no_category(write: Write) -> None:
    table = pd.DataFrame({"name": [f"n{place}" for place in range(1200)], "y": [0, 1] * 600})
    with pytest.raises(OptionError, match="name has more than 1000 different texts; choose the columns without name"):
        Csv(path=write(table)).load()


def test_other_separators_and_quoted_cells(write: Write) -> None:
    table = pd.DataFrame({"a": [1.5, 2.0, 3.0] * 5, "b": ["x; y", "z", "z"] * 5})
    data = Csv(path=write(table, sep=";"), separator=";", val_size=0).load()
    assert (data.classes, data.in_features) == (2, 1)


def test_a_file_that_is_read_in_stretches_gives_the_same(
    frame: pd.DataFrame,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame.loc[[3, 8], "size"] = np.nan
    keys: dict[str, Any] = {"path": write(frame), "target": "price", "missing": "fill", "exclude": ["sold"]}
    whole = Csv(**keys).load()
    monkeypatch.setattr("fanin.parts.data.table.STRETCH", 7)
    monkeypatch.setattr("fanin.parts.data.storage.SHARE", 0.0)  # and all of it lies in mapped files
    pieces = Csv(**keys).load()
    for name in ("train_x", "val_x", "test_x", "train_y", "test_y"):
        torch.testing.assert_close(getattr(pieces, name), getattr(whole, name), rtol=0, atol=0)


def test_a_mapped_tensor_is_of_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = room_for((1000, 3), mapped=True)
    made[:] = torch.arange(3000.0).view(1000, 3)
    assert list(tmp_path.iterdir()) == []
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert "fanin-data-" in maps.read_text()
    monkeypatch.setattr("fanin.parts.data.storage.SHARE", 0.0)
    order = torch.randperm(1000)
    torch.testing.assert_close(rows_of(made, order), torch.arange(3000.0).view(1000, 3)[order], rtol=0, atol=0)
