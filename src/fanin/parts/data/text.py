"""Characters of a text, each to be told from those before it."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from torch import Tensor

from fanin.errors import OptionError, UserError, choice, integer
from fanin.parts.data.dataset import Dataset, Source
from fanin.parts.data.row_splits import share_of
from fanin.parts.data.storage import room_for
from fanin.process import typed_path

TEXTS = ("this", "topics")
ENCODINGS = ("one_hot", "index")


class Text(Source):
    """The next character of a text as the class, the `context` characters before it as the input.

    An example is a window $c_(i), ..., c_(i + context - 1)$ with the class $c_(i + context)$; windows begin at every
    stride-th character. A loss of cross-entropy is in nats a character. The test part are the last windows, validation
    those before them, so that what is to be told comes later than all that was learned from.

    As one_hot a window is an image [1, context, V] with a row for each character, V the number of different ones:
    recurrent models and attention read it character by character. As index it is [context] integers, for a model of
    one's own with an embedding.

    Args:
        path: of a text file in UTF-8; a relative one starts from root. null for a text that Python ships.
        root: folder that a relative path starts from; null for that in which the command was typed.
        text: which one that is: topics (its help on the language, some 500,000 characters, which change with Python's
            version) or this (Tim Peters' The Zen of Python, 856 characters).
        characters: only the first so many; null for all.
        context: characters of an input.
        stride: between the starts of two windows.
        encoding: one_hot or index.
        test_size: share of the windows, or how many of them.
        val_size: windows held out for validation; null for a tenth of those that are left.
        limit: only the first so many training examples; null for all.
        random_labels, label_noise: of a share of the training examples; see Source.

    Raises:
        OptionError: a value is out of range, or there is no such file.
        UserError: the text is too short, or no text in UTF-8.
    """

    name = "text"

    def __init__(
        self,
        *,
        path: str | None = None,
        root: str | None = None,
        text: str = "topics",
        characters: int | None = 20_000,
        context: int = 16,
        stride: int = 1,
        encoding: str = "one_hot",
        test_size: float = 0.1,
        val_size: int | None = None,
        limit: int | None = None,
        random_labels: float = 0.0,
        label_noise: float = 0.0,
    ) -> None:
        super().__init__(
            val_size=0 if val_size is None else val_size,
            limit=limit,
            random_labels=random_labels,
            label_noise=label_noise,
        )
        self.default_val_size = val_size is None
        for key, value in (("path", path), ("root", root)):
            if value is not None and not isinstance(value, str):
                raise OptionError(key, value, "a file's path or null")
        self.path, self.root, self.text = path, root, choice("text", text, TEXTS)
        self.characters = None if characters is None else integer("characters", characters, low=3)
        self.context = integer("context", context, low=1)
        self.stride = integer("stride", stride, low=1)
        self.encoding = choice("encoding", encoding, ENCODINGS)
        self.test_size = share_of("test_size", test_size)

    def load(self) -> Dataset:
        """The data set, inputs [N, 1, context, V] float32, or [N, context] int64."""
        text = self._read()[: self.characters]
        known = sorted({*text})
        if len(known) < 2 or len(text) < self.context + 2:
            told = f"{len(text)} characters, {len(known)} different ones"
            raise UserError(f"data=text: {told}; needed are two different ones and data.context={self.context} + 2")
        places = {character: place for place, character in enumerate(known)}
        indices = torch.tensor([places[one] for one in text])
        starts = torch.arange(0, len(text) - self.context, self.stride)
        size = round(self.test_size * len(starts)) if self.test_size < 1 else int(self.test_size)
        if size >= len(starts):
            raise OptionError("test_size", self.test_size, f"fewer than the {len(starts)} windows")
        rest, test = starts[: len(starts) - size], starts[len(starts) - size :]
        if self.default_val_size:
            self.val_size = len(rest) // 10
        labels = indices[self.context :]  # by the start of a window
        train, val = self.hold_out(rest, labels)
        inputs = [self._windows(indices, part, len(known)) for part in (train, val, test)]
        return Dataset(
            self.name, len(known), inputs[0], labels[train], inputs[1], labels[val], inputs[2], labels[test]
        )  # fmt: skip

    def _windows(self, indices: Tensor, starts: Tensor, known: int) -> Tensor:
        """The windows that begin at some places."""
        offsets = torch.arange(self.context)
        if self.encoding == "index":
            return indices[starts.unsqueeze(1) + offsets]
        made = room_for((len(starts), 1, self.context, known))
        for begin in range(0, len(starts), 10_000):
            some = indices[starts[begin : begin + 10_000].unsqueeze(1) + offsets]
            made[begin : begin + 10_000, 0] = torch.nn.functional.one_hot(some, known)
        return made

    def _read(self) -> str:
        if self.path is None:
            return zen() if self.text == "this" else topics()
        file = typed_path(Path(self.root or ".").expanduser()) / Path(self.path).expanduser()
        if not file.is_file():
            raise OptionError("path", self.path, "a text file, or null", f"there is no file {file}")
        try:
            return file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"data=text: {file} is no text in UTF-8 (byte {error.start}); convert it") from None


def topics() -> str:
    """Python's own help on its language, topic after topic.

    Raises:
        UserError: this Python was installed without it.
    """
    try:
        found: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        raise UserError("data.text=topics: this Python has no pydoc_data; take data.text=this or data.path") from None
    return "\n".join(found[name] for name in sorted(found))


def zen() -> str:
    """The Zen of Python, whose module prints it where it is imported; so its source is read, which has it in rot13."""
    import ast
    import codecs
    import importlib.util

    spec = importlib.util.find_spec("this")
    if spec is None or spec.origin is None:
        raise UserError("data.text=this: this Python has no module this; take data.text=topics or data.path")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    coded = next(one.value for one in ast.walk(tree) if isinstance(one, ast.Constant) and isinstance(one.value, str))
    return codecs.decode(coded, "rot13")
