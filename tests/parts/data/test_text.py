"""data=text: every window against the text itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fanin.errors import OptionError, UserError
from fanin.parts.data import Text

WORDS = "she sells sea shells by the sea shore; the shells she sells are sea shells, I am sure"


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "rhyme.txt").write_text(WORDS, encoding="utf-8")
    return str(tmp_path / "rhyme.txt")


@pytest.mark.parametrize("encoding", ["one_hot", "index"])
def test_a_window_is_told_from_and_the_next_character_told(file: str, encoding: str) -> None:
    data = Text(path=file, context=5, encoding=encoding, val_size=7, test_size=0.2).load()
    known = sorted({*WORDS})
    assert data.classes == len(known)
    read, labels = "", ""
    for part in ("train", "val", "test"):
        x, y = getattr(data, f"{part}_x"), getattr(data, f"{part}_y")
        if encoding == "one_hot":
            assert x.shape[1:] == (1, 5, len(known))
            assert x.sum(-1).eq(1).all()
            x = x[:, 0].argmax(-1)
        read += "".join(known[window[0]] for window in x.tolist())
        labels += "".join(known[label] for label in y.tolist())
    assert (read, labels) == (WORDS[:-5], WORDS[5:])  # in order: the test part is the end
    assert [len(data.val_y), len(data.test_y)] == [7, round(0.2 * (len(WORDS) - 5))]
    assert data.integers == (encoding == "index")


def test_strides_and_limits(file: str) -> None:
    data = Text(path=file, context=4, stride=3, characters=40, val_size=0, test_size=0).load()
    known = sorted({*WORDS[:40]})
    assert [known[label] for label in data.train_y.tolist()] == [WORDS[i + 4] for i in range(0, 36, 3)]


def test_python_ships_texts_and_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    data = Text(text="this", context=2, val_size=0, test_size=0).load()
    assert len(data.train_y) == 856 - 2
    assert capsys.readouterr().out == ""
    assert Text(text="topics", characters=2000, context=8).load().classes > 26


def test_mistakes_are_one_line(file: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"there is no file .*nothing.txt"):
        Text(path=str(tmp_path / "nothing.txt")).load()
    (tmp_path / "latin").write_bytes("für".encode("latin-1"))
    with pytest.raises(UserError, match=r"is no text in UTF-8 \(byte 1\); convert it"):
        Text(path=str(tmp_path / "latin")).load()
    with pytest.raises(
        UserError, match=rf"{len(WORDS)} characters, \d+ different ones; needed are .* data.context={len(WORDS)} \+ 2"
    ):
        Text(path=file, context=len(WORDS)).load()
    with pytest.raises(OptionError, match=f"test_size=80: must be fewer than the {len(WORDS) - 16} windows"):
        Text(path=file, test_size=80).load()


def test_mapped_windows_are_the_same(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Text(path=file).load()
    monkeypatch.setattr("fanin.parts.data.storage.SHARE", 0.0)
    torch.testing.assert_close(Text(path=file).load().train_x, whole.train_x, rtol=0, atol=0)
