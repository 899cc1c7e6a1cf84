"""Names of a checkpoint as those of another model."""

from __future__ import annotations

import pytest
import torch

from fanin.errors import OptionError
from fanin.parts.initializers.renaming import checked_renaming, new_name, renamed


def test_the_first_pattern_decides_and_the_rest_keeps_its_name() -> None:
    saved = {name: torch.tensor(place) for place, name in enumerate(("a.b.c", "a.d", "e", "f.b.g"))}
    found = renamed(saved, {"a.b.*": "x.*", "a.*": "y.*", "e": "z"})
    assert {name: int(value) for name, value in found.items()} == {"x.c": 0, "y.d": 1, "z": 2, "f.b.g": 3}
    assert new_name("aba", {"ab*ba": "*"}) is None  # the * stands for no overlap


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (["a"], r"rename=\['a'\]: must be null or \{pattern: new name\}, each with one \* or none"),
        ({"a*": "b"}, r"not 'a\*': 'b'"),
        ({"a**": "b**"}, r"not 'a\*\*'"),
        ({"a": 3}, "not 'a': 3"),
    ],
)
def test_mistakes_are_one_line(value: object, line: str) -> None:
    with pytest.raises(OptionError, match=line):
        checked_renaming(value)


def test_what_matches_nothing_or_meets_is_refused() -> None:
    saved = {"a.w": torch.zeros(1), "b.w": torch.zeros(1)}
    with pytest.raises(OptionError, match=r"must be patterns that match the checkpoint's names; c\.\* not: a.w, b.w"):
        renamed(saved, {"c.*": "d.*"})
    with pytest.raises(OptionError, match=r"a name of its own; two are b\.w"):
        renamed(saved, {"a.*": "b.*"})
